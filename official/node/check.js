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

async function killedLeader() {
  const cluster = await Cluster.start(3, 1);
  const client = tb.createClient({ cluster_id: 7n, replica_addresses: cluster.addresses });
  await client.createAccounts([account(1n, 1), account(2n, 1)]);
  let leader;
  for (let at = 1n; at <= 200n; at += 1n) {
    if (at === 70n) {
      leader = await cluster.order('leader');
      assert.strictEqual(await cluster.order('kill ' + leader), 'killed');
    }
    if (at === 140n) assert.strictEqual(await cluster.order('start ' + leader), 'started');
    assert.deepStrictEqual(statuses(await client.createTransfers([transfer(at, 1, 1n, 2n)])), [CREATED], String(at));
  }
  const [one] = await client.lookupAccounts([1n]);
  assert.strictEqual(one.debits_posted, 200n);
  client.destroy();
  await cluster.end();
}

(async () => {
  await everything(1);
  await everything(3);
  await killedLeader();
  console.log('node: create, look up, query, two-phase, linked, errors, many at once, a killed leader: ok');
  process.exit(0);
})().catch((failure) => {
  console.error(failure);
  process.exit(1);
});
