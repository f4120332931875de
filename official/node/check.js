// The official Node client against real processes: create, look up, query, two-phase, linked, errors, a killed leader.
// check.js CLUSTER_BINARY

const { spawn } = require('node:child_process');
const readline = require('node:readline');
const assert = require('node:assert');
const tb = require('tigerbeetle-node');

class Cluster {
  static async start(replicas, groups) {
    const cluster = new Cluster();
    cluster.process = spawn(process.argv[2], [String(replicas), String(groups)], { stdio: ['pipe', 'pipe', 'inherit'] });
    cluster.lines = readline.createInterface({ input: cluster.process.stdout })[Symbol.asyncIterator]();
    cluster.addresses = (await cluster.lines.next()).value.split(',');
    return cluster;
  }

  async order(words) {
    this.process.stdin.write(words + '\n');
    return (await this.lines.next()).value;
  }

  async end() {
    const ended = new Promise((resolve) => this.process.on('exit', resolve));
    this.process.stdin.end();
    await ended;
  }
}

const account = (id, ledger) => ({
  id, debits_pending: 0n, debits_posted: 0n, credits_pending: 0n, credits_posted: 0n, user_data_128: 0n,
  user_data_64: 0n, user_data_32: 0, reserved: 0, ledger, code: 1, flags: 0, timestamp: 0n,
});

const transfer = (id, ledger, debit, credit, more = {}) => ({
  id, debit_account_id: debit, credit_account_id: credit, amount: 1n, pending_id: 0n, user_data_128: 0n,
  user_data_64: 0n, user_data_32: 0, timeout: 0, ledger, code: 1, flags: 0, timestamp: 0n, ...more,
});

const CREATED = tb.CreateTransferStatus.created;
const statuses = (results) => results.map((result) => result.status);

async function everything(groups) {
  const cluster = await Cluster.start(1, groups);
  const client = tb.createClient({ cluster_id: 7n, replica_addresses: cluster.addresses });
  const accounts = [account(1n, 1), account(2n, 1), account(3n, 2), account(4n, 2)];
  assert.deepStrictEqual(statuses(await client.createAccounts(accounts)), Array(4).fill(tb.CreateAccountStatus.created));
  assert.deepStrictEqual((await client.lookupAccounts([4n, 9n, 1n])).map((found) => found.id), [4n, 1n]);
  const told = await client.createTransfers([
    transfer(1n, 1, 1n, 2n), transfer(2n, 2, 3n, 4n), transfer(3n, 2, 3n, 9n),
    transfer(4n, 1, 1n, 2n, { amount: 7n, flags: tb.TransferFlags.pending }),
  ]);
  assert.deepStrictEqual(statuses(told), [CREATED, CREATED, tb.CreateTransferStatus.credit_account_not_found, CREATED]);
  const resolve = transfer(5n, 0, 0n, 0n, { amount: 7n, pending_id: 4n, code: 0, flags: tb.TransferFlags.post_pending_transfer });
  assert.deepStrictEqual(statuses(await client.createTransfers([resolve])), [CREATED]);
  const chain = [transfer(6n, 1, 1n, 2n, { flags: tb.TransferFlags.linked }), transfer(7n, 1, 1n, 9n)];
  assert.deepStrictEqual(statuses(await client.createTransfers(chain)),
    [tb.CreateTransferStatus.linked_event_failed, tb.CreateTransferStatus.credit_account_not_found]);
  const [one] = await client.lookupAccounts([1n]);
  assert.strictEqual(one.debits_posted, 8n);
  const query = { user_data_128: 0n, user_data_64: 0n, user_data_32: 0, ledger: 0, code: 0, timestamp_min: 0n, timestamp_max: 0n, limit: 10, flags: 0 };
  assert.strictEqual((await client.queryTransfers(query)).length, 4);
  assert.strictEqual((await client.queryAccounts(query)).length, 4);
  // Many at once: the client puts them into one message, batch by batch.
  const many = Array.from({ length: 100 }, (_, at) => client.createTransfers([transfer(1000n + BigInt(at), 1, 1n, 2n)]));
  for (const results of await Promise.all(many)) assert.deepStrictEqual(statuses(results), [CREATED]);
  client.destroy();
  await cluster.end();
}

async function rules() {
  const cluster = await Cluster.start(1, 1);
  const client = tb.createClient({ cluster_id: 7n, replica_addresses: cluster.addresses });
  const { AccountFlags: A, TransferFlags: F, CreateTransferStatus: S } = tb;
  const imported = { ...account(9n, 1), flags: A.imported, timestamp: 1000n };
  assert.deepStrictEqual(statuses(await client.createAccounts([imported])), [tb.CreateAccountStatus.created]);
  const limited = { ...account(3n, 1), flags: A.debits_must_not_exceed_credits };
  const accounts = [{ ...account(1n, 1), flags: A.history }, account(2n, 1), limited];
  assert.deepStrictEqual(statuses(await client.createAccounts(accounts)), Array(3).fill(tb.CreateAccountStatus.created));
  const told = await client.createTransfers([
    transfer(1n, 1, 3n, 1n), transfer(2n, 1, 1n, 3n, { amount: 50n }),
    transfer(3n, 1, 3n, 2n, { amount: 1000n, flags: F.balancing_debit }),
    transfer(4n, 1, 2n, 1n, { amount: 0n, flags: F.pending | F.closing_debit }), transfer(5n, 1, 2n, 1n),
  ]);
  assert.deepStrictEqual(statuses(told), [S.exceeds_credits, CREATED, CREATED, CREATED, S.debit_account_already_closed]);
  assert.strictEqual((await client.lookupTransfers([3n]))[0].amount, 50n);
  assert.ok((await client.lookupAccounts([2n]))[0].flags & A.closed);
  const reopen = transfer(6n, 0, 0n, 0n, { amount: 0n, pending_id: 4n, code: 0, flags: F.void_pending_transfer });
  assert.deepStrictEqual(statuses(await client.createTransfers([reopen, transfer(5n, 1, 2n, 1n)])), [CREATED, S.id_already_failed]);
  assert.ok(!((await client.lookupAccounts([2n]))[0].flags & A.closed));
  const short = transfer(7n, 1, 1n, 2n, { amount: 5n, timeout: 1, flags: F.pending });
  assert.deepStrictEqual(statuses(await client.createTransfers([short])), [CREATED]);
  const deadline = Date.now() + 120000;
  while ((await client.lookupAccounts([1n]))[0].debits_pending !== 0n) {
    assert.ok(Date.now() < deadline, 'it expires');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const filter = { account_id: 1n, user_data_128: 0n, user_data_64: 0n, user_data_32: 0, code: 0, timestamp_min: 0n,
    timestamp_max: 0n, limit: 10, flags: tb.AccountFilterFlags.debits | tb.AccountFilterFlags.credits };
  const balances = (await client.getAccountBalances(filter)).map((found) => [found.debits_pending, found.debits_posted]);
  assert.deepStrictEqual(balances, [[0n, 50n], [0n, 50n], [0n, 50n], [5n, 50n]]);
  client.destroy();
  await cluster.end();
}

async function killedLeader() {
  const cluster = await Cluster.start(3, 1);
  const client = tb.createClient({ cluster_id: 7n, replica_addresses: cluster.addresses });
  await client.createAccounts([account(1n, 1), account(2n, 1)]);
  // Several at once, each one request after the other, while leaders die.
  const done = [0n, 0n, 0n, 0n];
  let stop = false;
  const work = async (number) => {
    while (!stop) {
      const id = (BigInt(number + 1) << 64n) + done[number] + 1n;
      // Not even "exists": a request that is sent again is answered as the first time.
      assert.deepStrictEqual(statuses(await client.createTransfers([transfer(id, 1, 1n, 2n)])), [CREATED], String(id));
      done[number] += 1n;
    }
  };
  const sum = () => done.reduce((one, other) => one + other);
  const workers = Promise.all(done.map((_, number) => work(number)));
  const waitForMore = async (more) => {
    const [want, deadline] = [sum() + more, Date.now() + 180000];
    const pause = () => new Promise((resolve) => setTimeout(resolve, 10));
    while (sum() < want) {
      assert.ok(Date.now() < deadline, 'requests are answered');
      await Promise.race([pause(), workers]);
    }
  };
  for (let round = 0; round < 2; round += 1) {
    await waitForMore(100n);
    const leader = await cluster.order('leader');
    assert.strictEqual(await cluster.order('kill ' + leader), 'killed');
    await waitForMore(100n);
    assert.strictEqual(await cluster.order('start ' + leader), 'started');
  }
  await waitForMore(100n);
  stop = true;
  await workers;
  const [one] = await client.lookupAccounts([1n]);
  assert.strictEqual(one.debits_posted, sum());
  client.destroy();
  await cluster.end();
}

(async () => {
  await everything(1);
  await everything(3);
  await rules();
  await killedLeader();
  console.log('node: create, look up, query, two-phase, linked, errors, limits, balancing, closing, imports, expiry, history, many at once, a killed leader: ok');
  process.exit(0);
})().catch((failure) => {
  console.error(failure);
  process.exit(1);
});
