"""The official Python client against real processes: create, look up, query, two-phase, errors, threads, a killed leader.

check.py CLUSTER_BINARY [--old]; with --old the client is older than what is served, and has to be told so.
"""

import subprocess
import sys
import threading
import time

import tigerbeetle as tb

CREATED_ACCOUNT = None
CREATED_TRANSFER = None


class Cluster:
    """The helper process that starts and kills nodes."""

    def __init__(self, binary, replicas, groups):
        self.process = subprocess.Popen([binary, str(replicas), str(groups)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.addresses = self.process.stdout.readline().strip()
        assert self.addresses, "the cluster starts"

    def order(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=120)


def account(id, ledger, flags=0):
    return tb.Account(id=id, debits_pending=0, debits_posted=0, credits_pending=0, credits_posted=0, user_data_128=0,
                      user_data_64=0, user_data_32=0, ledger=ledger, code=1, flags=flags, timestamp=0)


def transfer(id, ledger, debit, credit, amount=1, flags=0, pending_id=0, code=1):
    return tb.Transfer(id=id, debit_account_id=debit, credit_account_id=credit, amount=amount, pending_id=pending_id,
                       user_data_128=0, user_data_64=0, user_data_32=0, timeout=0, ledger=ledger, code=code,
                       flags=flags, timestamp=0)


def statuses(results):
    return [result.status.name for result in results]


def everything(binary, groups):
    with Cluster(binary, 1, groups) as cluster, tb.ClientSync(cluster_id=7, replica_addresses=cluster.addresses) as client:
        created = client.create_accounts([account(id, 1 + id % 3) for id in range(1, 10)])
        assert statuses(created) == ["CREATED"] * 9, created
        assert [found.id for found in client.lookup_accounts([3, 99, 1])] == [3, 1]
        told = client.create_transfers([transfer(1, 1, 3, 6), transfer(2, 2, 1, 4), transfer(3, 1, 3, 99),
                                        transfer(4, 2, 1, 4, 5, tb.TransferFlags.PENDING)])
        assert statuses(told) == ["CREATED", "CREATED", "CREDIT_ACCOUNT_NOT_FOUND", "CREATED"], told
        post = transfer(5, 0, 0, 0, 5, tb.TransferFlags.POST_PENDING_TRANSFER, 4, 0)
        assert statuses(client.create_transfers([post])) == ["CREATED"]
        assert statuses(client.create_transfers([post])) == ["EXISTS"]
        chain = [transfer(6, 2, 1, 4, flags=tb.TransferFlags.LINKED), transfer(7, 2, 1, 99)]
        assert statuses(client.create_transfers(chain)) == ["LINKED_EVENT_FAILED", "CREDIT_ACCOUNT_NOT_FOUND"]
        query = tb.QueryFilter(user_data_128=0, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=0,
                               timestamp_max=0, limit=10, flags=0)
        assert [found.id for found in client.query_transfers(query)] != []
        assert len(client.query_accounts(query)) == 9
        of_account = tb.AccountFilter(account_id=1, user_data_128=0, user_data_64=0, user_data_32=0, code=0,
                                      timestamp_min=0, timestamp_max=0, limit=10,
                                      flags=tb.AccountFilterFlags.DEBITS | tb.AccountFilterFlags.CREDITS)
        assert [found.id for found in client.get_account_transfers(of_account)] == [2, 4, 5]
        assert client.lookup_accounts([1])[0].debits_posted == 6
        failures = []

        def work(number):
            try:
                for at in range(25):
                    told = client.create_transfers([transfer(1000 * (number + 1) + at, 2, 1, 4)])
                    assert statuses(told) == ["CREATED"], told
            except BaseException as failure:  # told to the main thread
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=180)
        assert not failures, failures
        assert client.lookup_accounts([1])[0].debits_posted == 106


def rules(binary):
    flags, account_flags = tb.TransferFlags, tb.AccountFlags
    with Cluster(binary, 1, 1) as cluster, tb.ClientSync(cluster_id=7, replica_addresses=cluster.addresses) as client:
        imported = account(9, 1, account_flags.IMPORTED)
        imported.timestamp = 1000
        assert statuses(client.create_accounts([imported])) == ["CREATED"]
        accounts = [account(1, 1, account_flags.HISTORY), account(2, 1),
                    account(3, 1, account_flags.DEBITS_MUST_NOT_EXCEED_CREDITS)]
        assert statuses(client.create_accounts(accounts)) == ["CREATED"] * 3
        told = client.create_transfers([
            transfer(1, 1, 3, 1), transfer(2, 1, 1, 3, 50), transfer(3, 1, 3, 2, 1000, flags.BALANCING_DEBIT),
            transfer(4, 1, 2, 1, 0, flags.PENDING | flags.CLOSING_DEBIT), transfer(5, 1, 2, 1),
        ])
        assert statuses(told) == ["EXCEEDS_CREDITS", "CREATED", "CREATED", "CREATED", "DEBIT_ACCOUNT_ALREADY_CLOSED"], told
        assert client.lookup_transfers([3])[0].amount == 50
        assert account_flags.CLOSED in client.lookup_accounts([2])[0].flags
        void = transfer(6, 0, 0, 0, 0, flags.VOID_PENDING_TRANSFER, 4, 0)
        assert statuses(client.create_transfers([void, transfer(5, 1, 2, 1)])) == ["CREATED", "ID_ALREADY_FAILED"]
        assert account_flags.CLOSED not in client.lookup_accounts([2])[0].flags
        short = transfer(7, 1, 1, 2, 5, flags.PENDING)
        short.timeout = 1
        assert statuses(client.create_transfers([short])) == ["CREATED"]
        deadline = time.monotonic() + 120
        while client.lookup_accounts([1])[0].debits_pending != 0:
            assert time.monotonic() < deadline, "it expires"
            time.sleep(0.05)
        of_account = tb.AccountFilter(account_id=1, user_data_128=0, user_data_64=0, user_data_32=0, code=0,
                                      timestamp_min=0, timestamp_max=0, limit=10,
                                      flags=tb.AccountFilterFlags.DEBITS | tb.AccountFilterFlags.CREDITS)
        balances = [(found.debits_pending, found.debits_posted) for found in client.get_account_balances(of_account)]
        assert balances == [(0, 50), (0, 50), (0, 50), (5, 50)], balances


def killed_leader(binary):
    with Cluster(binary, 3, 1) as cluster, tb.ClientSync(cluster_id=7, replica_addresses=cluster.addresses) as client:
        assert statuses(client.create_accounts([account(1, 1), account(2, 1)])) == ["CREATED"] * 2
        failures, done, stop = [], [0] * 4, threading.Event()

        def work(number):
            try:
                while not stop.is_set():
                    # Not even "exists": a request that is sent again is answered as the first time.
                    id = (number + 1 << 64) + done[number] + 1
                    assert statuses(client.create_transfers([transfer(id, 1, 1, 2)])) == ["CREATED"], id
                    done[number] += 1
            except BaseException as failure:  # told to the main thread
                failures.append(failure)

        def wait_for_more(more):
            want, deadline = sum(done) + more, time.monotonic() + 180
            while sum(done) < want and not failures:
                assert time.monotonic() < deadline, "requests are answered"
                time.sleep(0.01)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            wait_for_more(100)
            leader = cluster.order("leader")
            assert cluster.order("kill " + leader) == "killed"
            wait_for_more(100)
            assert cluster.order("start " + leader) == "started"
        wait_for_more(100)
        stop.set()
        for thread in threads:
            thread.join(timeout=180)
        assert not failures, failures
        assert client.lookup_accounts([1])[0].debits_posted == sum(done)


def too_old(binary):
    with Cluster(binary, 1, 1) as cluster:
        client = tb.ClientSync(cluster_id=7, replica_addresses=cluster.addresses)
        try:
            client.create_accounts([account(1, 1)])
        except Exception as told:
            assert "RELEASE_TOO_LOW" in str(told).upper().replace(" ", "_"), told
            print("python: a client that is too old is told so")
            return
        raise AssertionError("a client of 0.16 was served")


if __name__ == "__main__":
    if "--old" in sys.argv:
        too_old(sys.argv[1])
    else:
        everything(sys.argv[1], 1)
        everything(sys.argv[1], 3)
        rules(sys.argv[1])
        killed_leader(sys.argv[1])
        print("python: create, look up, query, two-phase, linked, errors, limits, balancing, closing, imports, expiry, history,"
              " threads, a killed leader: ok")
