//! The workload `bank`: a teller opens accounts and moves money between them, looks things up, and asks again for what
//! was done long ago.
//!
//! - Ids are unique in the run; a retry carries the same bytes.
//! - All kinds of transfers come up: plain, chains, reservations, posts, voids, refused ones, small and large batches.

use std::collections::BTreeMap;

use bytes::Bytes;
use ledger::account::{Account, AccountFlags};
use ledger::instruction::operation;
use ledger::status::{CreateResult, CreateTransferStatus};
use ledger::transfer::{Transfer, TransferFlags};
use net::request::Consistency;
use shard::history::ENTRIES;
use shard::sessions::REGISTER;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64, U128};

use crate::chance::Chance;
use crate::history::{Done, Request};
use crate::machine::is_write;
use crate::told;
use crate::verdict::Scope;

/// Accounts of each group.
const ACCOUNTS: u64 = 12;
/// Requests that a teller remembers of each group.
const REMEMBERED: usize = 64;

/// One per client.
#[derive(Debug)]
pub struct Teller {
    chance: Chance,
    client: usize,
    cluster: usize,
    groups: u64,
    requests: u64,
    transfers: u64,
    /// Now and then it has its session registered.
    pub registers: bool,
    desks: BTreeMap<u64, Desk>,
}

/// What a teller knows of a group.
#[derive(Debug, Default)]
struct Desk {
    has_accounts: bool,
    /// The newest index of an answer.
    newest: u64,
    /// Transfers that exist.
    known: Vec<u128>,
    /// Reservations that nobody posted or voided, as far as is known.
    reserved: Vec<u128>,
    /// Writes that were answered.
    written: Vec<(u8, Bytes)>,
}

impl Teller {
    /// The teller of a client of a cluster.
    #[must_use]
    pub fn new(client: usize, cluster: usize, groups: u64, seed: u64) -> Self {
        let chance = Chance::named(seed.wrapping_add(client as u64), "teller");
        Self {
            chance,
            client,
            cluster,
            groups,
            requests: 0,
            transfers: 0,
            registers: false,
            desks: BTreeMap::new(),
        }
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        let group = self.chance.below(self.groups);
        self.next_for(group)
    }

    /// The next request to this group.
    pub fn next_for(&mut self, group: u64) -> Request {
        let has_accounts = self.desks.entry(group).or_default().has_accounts;
        let draw = self.chance.below(100);
        let (operation, payload) = match draw {
            _ if !has_accounts => (operation::CREATE_ACCOUNTS, accounts(group)),
            0..=54 => (operation::CREATE_TRANSFERS, self.batch(group, 4)),
            55..=57 => (operation::CREATE_TRANSFERS, self.batch(group, 120)),
            58..=71 => (operation::LOOKUP_ACCOUNTS, self.account_ids(group)),
            72..=83 => (operation::LOOKUP_TRANSFERS, self.transfer_ids(group)),
            84..=86 => (operation::AUDIT, Bytes::new()),
            87 => (ENTRIES, told::question(self.old_index(group))),
            88 if self.registers && group == 0 => {
                let origin = self.client as u32 % 3;
                (REGISTER, Bytes::copy_from_slice(&origin.to_le_bytes()))
            }
            88..=89 => (operation::PULSE, Bytes::new()),
            _ => self.again(group),
        };
        let mut request = self.request(group, operation, payload);
        request.is_repeat = has_accounts && draw >= 90;
        request
    }

    /// A write to this group that is sure to be one.
    pub fn write_to(&mut self, group: u64) -> Request {
        let payload = self.batch(group, 2);
        let mut request = self.request(group, operation::CREATE_TRANSFERS, payload);
        request.is_once = false;
        request
    }

    fn request(&mut self, group: u64, operation: u8, payload: Bytes) -> Request {
        self.requests += 1;
        // A history is told by whoever is asked.
        let is_local = operation == ENTRIES || !is_write(operation) && self.chance.permille(200);
        Request {
            number: (self.client as u64 + 1) << 32 | self.requests,
            scope: Scope {
                cluster: self.cluster,
                group,
            },
            operation,
            payload,
            consistency: if is_local {
                Consistency::Local
            } else {
                Consistency::Linearizable
            },
            is_once: self.chance.permille(100),
            is_repeat: false,
        }
    }

    /// Learns from an answer.
    pub fn learn(&mut self, done: &Done) {
        let desk = self.desks.entry(done.request.scope.group).or_default();
        desk.newest = desk.newest.max(done.index);
        match done.request.operation {
            operation::CREATE_ACCOUNTS => desk.has_accounts = true,
            operation::CREATE_TRANSFERS => desk.learn(&done.request.payload, &done.reply),
            _ => return,
        }
        let written = (done.request.operation, done.request.payload.clone());
        remember(&mut desk.written, written, self.chance.roll());
    }

    /// Something that was done before, bytes and all.
    fn again(&mut self, group: u64) -> (u8, Bytes) {
        let written = &self.desks.entry(group).or_default().written;
        if written.is_empty() {
            return (operation::CREATE_ACCOUNTS, accounts(group));
        }
        written[self.chance.place(written.len())].clone()
    }

    /// An entry that is there or was, old ones as often as new ones.
    fn old_index(&mut self, group: u64) -> u64 {
        let newest = self.desks.entry(group).or_default().newest;
        1 + self.chance.below(newest.max(1))
    }

    fn account_ids(&mut self, group: u64) -> Bytes {
        let count = self.chance.between(1, ACCOUNTS);
        // One too many: an account that does not exist.
        let ids: Vec<U128> = (0..count)
            .map(|_| U128::new(account_id(group, self.chance.below(ACCOUNTS + 1))))
            .collect();
        Bytes::copy_from_slice(ids.as_bytes())
    }

    fn transfer_ids(&mut self, group: u64) -> Bytes {
        let known = &self.desks.entry(group).or_default().known;
        let mut ids = vec![U128::new(u128::from(self.chance.roll()) << 64 | 7)];
        if !known.is_empty() {
            ids.extend(
                (0..self.chance.between(1, 8))
                    .map(|_| U128::new(known[self.chance.place(known.len())])),
            );
        }
        Bytes::copy_from_slice(ids.as_bytes())
    }

    fn batch(&mut self, group: u64, most: u64) -> Bytes {
        let count = self.chance.between(1, most);
        let mut batch: Vec<Transfer> = (0..count).map(|_| self.transfer(group)).collect();
        if count > 1 && self.chance.permille(150) {
            for transfer in &mut batch[..count as usize - 1] {
                transfer.flags = U16::new(transfer.flags.get() | TransferFlags::LINKED.0);
            }
        }
        Bytes::copy_from_slice(batch.as_bytes())
    }

    fn transfer(&mut self, group: u64) -> Transfer {
        self.transfers += 1;
        let chance = &mut self.chance;
        let debit = chance.below(ACCOUNTS);
        // Now and then both sides are the same: a refusal that is an outcome.
        let credit = (debit + chance.below(ACCOUNTS)) % ACCOUNTS;
        let mut transfer = Transfer {
            id: U128::new(
                u128::from(group + 1) << 96
                    | (self.client as u128 + 1) << 64
                    | u128::from(self.transfers),
            ),
            debit_account_id: U128::new(account_id(group, debit)),
            credit_account_id: U128::new(account_id(group, credit)),
            amount: U128::new(u128::from(chance.between(1, 1000))),
            user_data_64: U64::new(chance.roll()),
            ledger: U32::new(1),
            code: U16::new(7),
            ..Transfer::default()
        };
        let reserved = &mut self.desks.entry(group).or_default().reserved;
        match chance.below(10) {
            0 | 1 => {
                transfer.flags = U16::new(TransferFlags::PENDING.0);
                transfer.timeout = U32::new(u32::try_from(chance.below(4)).expect("small"));
            }
            2 if !reserved.is_empty() => {
                let way = [
                    TransferFlags::POST_PENDING_TRANSFER,
                    TransferFlags::VOID_PENDING_TRANSFER,
                ];
                let way = chance.pick(&way);
                let whole = if way == TransferFlags::POST_PENDING_TRANSFER {
                    u128::MAX
                } else {
                    0
                };
                let place = chance.place(reserved.len());
                transfer = Transfer {
                    id: transfer.id,
                    pending_id: U128::new(reserved.swap_remove(place)),
                    amount: U128::new(whole),
                    flags: U16::new(way.0),
                    ..Transfer::default()
                };
            }
            _ => {}
        }
        transfer
    }
}

impl Desk {
    fn learn(&mut self, payload: &[u8], reply: &[u8]) {
        let Ok(transfers) = <[Transfer]>::ref_from_bytes(payload) else {
            return;
        };
        let Ok(results) = <[CreateResult]>::ref_from_bytes(reply) else {
            return;
        };
        for (transfer, result) in transfers.iter().zip(results) {
            if result.transfer_status() == Some(CreateTransferStatus::Created) {
                let id = transfer.id.get();
                remember(&mut self.known, id, id as u64);
                if transfer.flags.get() & TransferFlags::PENDING.0 != 0 {
                    remember(&mut self.reserved, id, id as u64);
                }
            }
        }
    }
}

fn account_id(group: u64, number: u64) -> u128 {
    u128::from(group + 1) << 64 | u128::from(number + 1)
}

/// The accounts of a group; one of them may not be overdrawn.
fn accounts(group: u64) -> Bytes {
    let account = |number| Account {
        id: U128::new(account_id(group, number)),
        ledger: U32::new(1),
        code: U16::new(3),
        flags: U16::new(match number {
            0 => AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS.0,
            1 => AccountFlags::HISTORY.0,
            _ => 0,
        }),
        ..Account::default()
    };
    let all: Vec<Account> = (0..ACCOUNTS).map(account).collect();
    Bytes::copy_from_slice(all.as_bytes())
}

fn remember<T>(list: &mut Vec<T>, item: T, roll: u64) {
    if list.len() < REMEMBERED {
        list.push(item);
    } else {
        let place = usize::try_from(roll % REMEMBERED as u64).expect("small");
        list[place] = item;
    }
}
