//! What each client of the speed table does: one request in flight, thousands of transfers in each.
//!
//! - Closed loop, as in the peer's own benchmark: a client's next request leaves when the last was answered.
//! - The requests of a client follow from its number alone, so every run moves the same money.
//! - Everything must be created; one refusal ends the program.

use std::collections::VecDeque;
use std::time::Instant;

use futures_lite::future::block_on;
use hdrhistogram::Histogram;
use tigerbeetle as tb;

use crate::Cluster;

/// Events of a full request.
pub const BATCH_MAX: u64 = 8_189;

/// Reservations that a client leaves open, at most.
const OPEN_MAX: usize = 100_000;

/// What the clients of one run do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Transfers in a request.
    pub batch: u64,
    /// Accounts, numbered from 1.
    pub accounts: u64,
    /// Transfers of each client.
    pub per_client: u64,
    /// Ids are random, where they else rise.
    pub has_random_ids: bool,
    /// Of a hundred transfers: how many are pending or post one.
    pub pending_percent: u64,
    /// How accounts are chosen; uniformly, if there is none.
    pub zipf: Option<Zipf>,
}

impl Load {
    /// Moves all of a client's transfers; how long each request took, in nanoseconds.
    ///
    /// # Panics
    /// If a transfer is refused or no answer comes.
    #[must_use]
    pub fn run(&self, client: u64, connection: &tb::Client) -> Histogram<u64> {
        let mut times = Histogram::new(3).expect("three digits");
        let mut dice = Dice::of(client);
        let mut open = VecDeque::new();
        let mut transfers = Vec::new();
        let mut sent = 0;
        while sent < self.per_client {
            let count = self.batch.min(self.per_client - sent);
            transfers.clear();
            transfers.extend(
                (1..=count).map(|at| self.transfer(client, sent + at, &mut dice, &mut open)),
            );
            let began = Instant::now();
            let told = block_on(connection.create_transfers(&transfers)).expect("an answer");
            let nanos =
                u64::try_from(began.elapsed().as_nanos()).expect("a run is shorter than 500 years");
            times.record(nanos).expect("the histogram grows");
            let refused = told
                .iter()
                .find(|result| result.status != tb::CreateTransferStatus::Created);
            assert!(refused.is_none(), "a transfer was refused: {refused:?}");
            sent += count;
        }
        times
    }

    /// Looks as many accounts up, one in a request; how long each took, in nanoseconds.
    ///
    /// # Panics
    /// If no answer comes, or another one than the account.
    #[must_use]
    pub fn look(&self, client: u64, connection: &tb::Client) -> Histogram<u64> {
        let mut times = Histogram::new(3).expect("three digits");
        let mut dice = Dice::of(client);
        for _ in 0..self.per_client {
            let id = u128::from(dice.below(self.accounts) + 1);
            let began = Instant::now();
            let found = block_on(connection.lookup_accounts(&[id])).expect("an answer");
            let nanos =
                u64::try_from(began.elapsed().as_nanos()).expect("a run is shorter than 500 years");
            times.record(nanos).expect("the histogram grows");
            assert!(
                found.len() == 1 && found[0].id == id,
                "the account is there"
            );
        }
        times
    }

    fn transfer(
        &self,
        client: u64,
        number: u64,
        dice: &mut Dice,
        open: &mut VecDeque<u128>,
    ) -> tb::Transfer {
        let id = if self.has_random_ids {
            u128::from(dice.draw()) << 64 | u128::from(dice.draw())
        } else {
            u128::from(number) << 32 | u128::from(client + 1)
        };
        // All three, so that every index has something to do, as in the peer's benchmark.
        let transfer = tb::Transfer {
            id,
            code: 1,
            user_data_128: dice.draw().into(),
            user_data_64: dice.draw(),
            user_data_32: (dice.draw() >> 32) as u32 | 1,
            ..Default::default()
        };
        let drawn = if self.pending_percent > 0 {
            dice.below(100)
        } else {
            100
        };
        let posts = drawn < self.pending_percent / 2
            || (drawn < self.pending_percent && open.len() >= OPEN_MAX);
        if posts && let Some(pending_id) = open.pop_front() {
            return tb::Transfer {
                pending_id,
                flags: tb::TransferFlags::PostPendingTransfer,
                amount: u128::MAX,
                code: 0,
                ..transfer
            };
        }
        let flags = if drawn < self.pending_percent {
            open.push_back(id);
            tb::TransferFlags::Pending
        } else {
            transfer.flags
        };
        let (debit, credit) = self.two_accounts(dice);
        tb::Transfer {
            debit_account_id: debit,
            credit_account_id: credit,
            amount: 1,
            ledger: 1,
            flags,
            ..transfer
        }
    }

    fn two_accounts(&self, dice: &mut Dice) -> (u128, u128) {
        let mut draw = || match &self.zipf {
            Some(zipf) => zipf.draw(dice),
            None => dice.below(self.accounts),
        };
        let debit = draw();
        let mut credit = draw();
        if credit == debit {
            credit = (debit + 1) % self.accounts;
        }
        (u128::from(debit + 1), u128::from(credit + 1))
    }
}

/// A client with an open session.
///
/// # Panics
/// If no answer comes.
#[must_use]
pub fn connect(addresses: &str) -> tb::Client {
    let client = tb::Client::new(Cluster::ID, addresses).expect("addresses that it understands");
    block_on(client.lookup_accounts(&[1])).expect("an answer");
    client
}

/// Opens the accounts of a run.
///
/// # Panics
/// If one is refused.
pub fn create_accounts(client: &tb::Client, count: u64, flags: tb::AccountFlags) {
    let ids: Vec<u128> = (1..=u128::from(count)).collect();
    for ids in ids.chunks(BATCH_MAX as usize) {
        let account = |&id: &u128| tb::Account {
            id,
            ledger: 1,
            code: 1,
            flags,
            ..Default::default()
        };
        let accounts: Vec<tb::Account> = ids.iter().map(account).collect();
        let told = block_on(client.create_accounts(&accounts)).expect("an answer");
        let created =
            |result: &tb::CreateAccountResult| result.status == tb::CreateAccountStatus::Created;
        assert!(
            told.len() == ids.len() && told.iter().all(created),
            "an account was refused"
        );
    }
}

/// Looks every account up: what was debited is what was credited; without two-phase transfers, each moved 1.
///
/// # Panics
/// If it is not so.
pub fn prove(client: &tb::Client, moved: u64, load: &Load) {
    let ids: Vec<u128> = (1..=u128::from(load.accounts)).collect();
    let (mut debits, mut credits, mut pending) = (0, 0, [0, 0]);
    for ids in ids.chunks(BATCH_MAX as usize) {
        let found = block_on(client.lookup_accounts(ids)).expect("an answer");
        assert_eq!(found.len(), ids.len(), "every account is there");
        for account in found {
            debits += account.debits_posted;
            credits += account.credits_posted;
            pending[0] += account.debits_pending;
            pending[1] += account.credits_pending;
        }
    }
    assert_eq!(debits, credits, "money is conserved");
    assert_eq!(
        pending[0], pending[1],
        "what is reserved is reserved on both sides"
    );
    if load.pending_percent == 0 {
        assert_eq!(debits, u128::from(moved), "every transfer moved, once");
    }
}

/// Numbers that look random and are the same in every run (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of a client.
    #[must_use]
    pub fn of(client: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ client.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `most`.
    pub fn below(&mut self, most: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(most)) >> 64) as u64
    }
}

/// Accounts by popularity, through the table of their summed shares.
#[derive(Clone, Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// So many accounts; the share of the one of rank r is 1 / r^exponent.
    #[must_use]
    pub fn new(accounts: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let share = |rank: u64| {
            sum += (rank as f64).powf(-exponent);
            sum
        };
        Self((1..=accounts).map(share).collect())
    }

    fn draw(&self, dice: &mut Dice) -> u64 {
        let whole = self.0.last().expect("there are accounts");
        let drawn = dice.draw() as f64 / u64::MAX as f64 * whole;
        let rank = self
            .0
            .partition_point(|sum| *sum < drawn)
            .min(self.0.len() - 1);
        // Popular accounts lie apart, as they do in life.
        (rank as u64).wrapping_mul(0x9e37_79b1) % self.0.len() as u64
    }
}
