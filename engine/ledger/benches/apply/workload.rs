//! What is applied: accounts, ids and kinds of transfers, from a fixed seed.

use ledger::account::{Account, AccountFlags};
use ledger::transfer::{Transfer, TransferFlags};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use zerocopy::IntoBytes;

/// Which accounts deal with each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accounts {
    /// Any with any.
    Uniform,
    /// Some far more often than others: Zipf with exponent 0.99.
    Zipf,
    /// Every transfer debits the same one.
    OneHot,
}

/// How clients choose transfer ids.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// 1, 2, 3.
    Counting,
    /// Milliseconds on top, random below, rising within a millisecond, as TigerBeetle's clients do.
    TimeBased,
    /// Any 128 bits.
    Random,
}

/// What kinds of transfers there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Without flags.
    Plain,
    /// Without flags and without user data.
    Bare,
    /// Without flags, between accounts that keep their history.
    History,
    /// 30 % are two-phase: a reservation, and later a post or a void.
    TwoPhase,
    /// 70 % plain, 20 % two-phase with timeouts, 5 % linked in pairs, 2 % balancing, 2 % retries, 1 %
    /// refused; a tenth of the accounts has a limit or keeps its history.
    Mix,
}

/// A row of the table.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) accounts: usize,
    choice: Accounts,
    ids: Ids,
    kind: Kind,
    /// Millions a second that the issue asks for.
    pub(crate) goal: f64,
    /// Do rows leave memory?
    pub(crate) chapters: bool,
}

impl Case {
    pub(crate) const fn new(
        name: &'static str,
        accounts: usize,
        choice: Accounts,
        ids: Ids,
        kind: Kind,
        goal: f64,
    ) -> Self {
        Self {
            name,
            accounts,
            choice,
            ids,
            kind,
            goal,
            chapters: false,
        }
    }

    pub(crate) const fn with_chapters(mut self) -> Self {
        self.chapters = true;
        self
    }
}

/// Makes the bodies of a case.
pub(crate) struct Generator<'a> {
    case: &'a Case,
    dice: ChaCha8Rng,
    made: u128,
    batch: u128,
    id_base: u128,
    /// Cumulated weights of the accounts, if the choice is not uniform.
    weights: Vec<f64>,
    /// Reservations that wait for their second phase.
    open: Vec<u128>,
    last: Transfer,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(case: &'a Case) -> Self {
        let mut weights = Vec::new();
        if case.choice == Accounts::Zipf {
            let mut sum = 0.0;
            for rank in 1..=case.accounts {
                sum += (rank as f64).powf(-0.99);
                weights.push(sum);
            }
        }
        let dice = ChaCha8Rng::seed_from_u64(42);
        let (made, batch, id_base, open, last) = (0, 0, 0, Vec::new(), Transfer::default());
        Self {
            case,
            dice,
            made,
            batch,
            id_base,
            weights,
            open,
            last,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.dice.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// The body of a command that creates so many accounts.
    pub(crate) fn accounts(&mut self, first: usize, count: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(count * 128);
        for id in first..first + count {
            let flags = match (self.case.kind, id % 20) {
                (Kind::History, _) | (Kind::Mix, 0) => AccountFlags::HISTORY,
                (Kind::Mix, 1) => AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
                _ => AccountFlags::NONE,
            };
            let account = Account {
                id: (id as u128 + 1).into(),
                ledger: 1.into(),
                code: 1.into(),
                flags: flags.0.into(),
                ..Account::default()
            };
            body.extend_from_slice(account.as_bytes());
        }
        body
    }

    fn account(&mut self) -> u128 {
        let rank = match self.case.choice {
            Accounts::Zipf => {
                let unit = (self.dice.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
                let target = unit * self.weights.last().copied().unwrap_or(1.0);
                self.weights.partition_point(|weight| *weight < target) as u64
            }
            Accounts::Uniform | Accounts::OneHot => self.below(self.case.accounts as u64),
        };
        // Popular accounts are not neighbours in memory: ranks are dealt over the rows.
        1 + u128::from(rank.wrapping_mul(0x9E37_79B1) % self.case.accounts as u64)
    }

    fn id(&mut self) -> u128 {
        self.made += 1;
        match self.case.ids {
            Ids::Counting => self.made,
            Ids::Random => {
                (u128::from(self.dice.next_u64()) << 64 | u128::from(self.dice.next_u64())).max(1)
            }
            Ids::TimeBased => self.id_base + self.made,
        }
    }

    /// Writes the body of a command that creates so many transfers.
    pub(crate) fn transfers(&mut self, count: usize, body: &mut Vec<u8>) {
        body.clear();
        self.batch += 1;
        let random = u128::from(self.dice.next_u64()) << 15;
        self.id_base = (1_790_000_000_000 + self.batch * 2) << 80 | random;
        for place in 0..count {
            let transfer = self.transfer(place + 1 == count);
            body.extend_from_slice(transfer.as_bytes());
            self.last = transfer;
        }
    }

    fn transfer(&mut self, last_of_batch: bool) -> Transfer {
        let roll = self.below(1_000);
        match self.case.kind {
            Kind::TwoPhase if roll < 150 => self.reservation(0),
            Kind::TwoPhase if roll < 300 => self.resolution(),
            Kind::Mix => match roll {
                0..100 => self.reservation(30),
                100..200 => self.resolution(),
                200..225 if !last_of_batch => self.flagged(TransferFlags::LINKED),
                225..245 => self.flagged(TransferFlags::BALANCING_DEBIT),
                // A retry of a linked event could leave a chain open.
                245..265 if !self.last.flags().has(TransferFlags::LINKED) => self.last,
                265..275 => Transfer {
                    code: 0.into(),
                    ..self.flagged(TransferFlags::NONE)
                },
                _ => self.flagged(TransferFlags::NONE),
            },
            _ => self.flagged(TransferFlags::NONE),
        }
    }

    fn flagged(&mut self, flags: TransferFlags) -> Transfer {
        let debit = if self.case.choice == Accounts::OneHot {
            1
        } else {
            self.account()
        };
        let mut credit = self.account();
        while credit == debit {
            credit = 1 + u128::from(self.below(self.case.accounts as u64));
        }
        let amount = u128::from(1 + self.below(10_000));
        let marked = u128::from(self.case.kind != Kind::Bare);
        Transfer {
            id: self.id().into(),
            debit_account_id: debit.into(),
            credit_account_id: credit.into(),
            amount: amount.into(),
            user_data_128: (u128::from(self.dice.next_u64()) * marked).into(),
            user_data_64: (self.dice.next_u64() * marked as u64).into(),
            user_data_32: (self.dice.next_u32() * marked as u32).into(),
            ledger: 1.into(),
            code: 1.into(),
            flags: flags.0.into(),
            ..Transfer::default()
        }
    }

    fn reservation(&mut self, timeout: u32) -> Transfer {
        let transfer = Transfer {
            timeout: timeout.into(),
            ..self.flagged(TransferFlags::PENDING)
        };
        self.open.push(transfer.id.get());
        transfer
    }

    fn resolution(&mut self) -> Transfer {
        if self.open.len() < 1_000 {
            return self.reservation(30);
        }
        let place = self.below(self.open.len() as u64) as usize;
        let pending_id = self.open.swap_remove(place);
        let posts = self.below(4) > 0;
        let flags = if posts {
            TransferFlags::POST_PENDING_TRANSFER
        } else {
            TransferFlags::VOID_PENDING_TRANSFER
        };
        Transfer {
            id: self.id().into(),
            pending_id: pending_id.into(),
            amount: if posts { u128::MAX } else { 0 }.into(),
            flags: flags.0.into(),
            ..Transfer::default()
        }
    }
}
