//! The proof of one replica: looks every transfer and every account up, and compares.
//!
//! - One request at a time of at most as many ids as a full batch; the answer comes in the order asked.

use crate::acks::{Due, StreamLog};
use crate::control::{Control, Question};
use crate::error::{BenchError, ProtocolFault};
use crate::options::BATCH_MAX;
use crate::progress::Phase;
use crate::target::Target;
use crate::ticker::Ticker;
use crate::verdict::Finding;
use crate::workload::{BatchKey, ID_SIZE, Move, RECORD_SIZE, Workload, account_id};
use ledger::audit::Audit;
use ledger::id_index::id_hash;
use ledger::instruction::operation::{AUDIT, LOOKUP_ACCOUNTS, LOOKUP_TRANSFERS};
use net::request::{Consistency, Status};
use std::mem::discriminant;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use zerocopy::FromBytes;

/// Most findings of one kind kept per replica.
const FINDINGS_MAX: usize = 3;
/// How often, and how many times, a busy replica is asked again.
const AGAIN_NS: u64 = 5_000_000;
const AGAIN_MAX: u32 = 2_000;

/// What to ask one replica for.
pub(crate) struct Inquiry<'a> {
    pub(crate) target: &'a Target,
    pub(crate) workload: &'a Workload,
    pub(crate) logs: &'a [StreamLog],
    /// Position of the node.
    pub(crate) node: usize,
}

/// What one replica holds, compared with what it should.
#[derive(Debug, Default)]
pub(crate) struct NodeTally {
    pub(crate) lost: u64,
    pub(crate) altered: u64,
    pub(crate) refused_but_present: u64,
    pub(crate) duplicates: u64,
    pub(crate) conserved: bool,
    /// By group, of each transfer in doubt, in order: whether it is here.
    pub(crate) doubtful: Vec<Vec<bool>>,
    pub(crate) findings: Vec<Finding>,
}

/// A transfer asked for.
struct Expected {
    key: BatchKey,
    position: u32,
    due: Due,
}

/// What the transfers found in a group add up to.
struct Sums {
    found: u64,
    /// Sum of the hashes of their ids, as the ledger sums them.
    ids: u128,
    /// Debits and credits by account.
    balances: Vec<(u128, u128)>,
}

impl Inquiry<'_> {
    /// Asks for all groups. `asked` counts transfers; `stop` ends it early with an error.
    pub(crate) fn run(
        &self,
        asked: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<NodeTally, BenchError> {
        let mut tally = NodeTally {
            conserved: true,
            ..NodeTally::default()
        };
        let mut controls: Vec<Control> = (0..self.target.cores)
            .map(|core| Control::connect(self.target, self.node, core))
            .collect::<Result<_, _>>()?;
        for group in 0..self.target.groups {
            let control = &mut controls[self.target.core_of(group) as usize];
            tally.doubtful.push(Vec::new());
            let sums = self.transfers(group, control, &mut tally, asked, stop)?;
            self.accounts(group, control, &sums, &mut tally)?;
            self.audit(group, control, &sums, &mut tally)?;
        }
        Ok(tally)
    }

    fn transfers(
        &self,
        group: u32,
        control: &mut Control,
        tally: &mut NodeTally,
        asked: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<Sums, BenchError> {
        let mut sums = Sums {
            found: 0,
            ids: 0,
            balances: vec![(0, 0); self.workload.accounts() as usize],
        };
        let mut expected = Vec::with_capacity(BATCH_MAX as usize);
        let of_group = |log: &&StreamLog| log.group() == group;
        for log in self.logs.iter().filter(of_group) {
            for (key, fate) in log.batches() {
                for position in 0..self.workload.batch() {
                    expected.push(Expected {
                        key,
                        position,
                        due: log.due(key, fate, position),
                    });
                    if expected.len() == BATCH_MAX as usize {
                        self.look_up(group, control, &mut expected, &mut sums, tally)?;
                        asked.fetch_add(u64::from(BATCH_MAX), Ordering::Relaxed);
                        if stop.load(Ordering::Relaxed) {
                            return Err(BenchError::Cancelled {
                                during: Phase::Proof,
                            });
                        }
                    }
                }
            }
        }
        self.look_up(group, control, &mut expected, &mut sums, tally)?;
        Ok(sums)
    }

    /// Looks these transfers up, and forgets them.
    fn look_up(
        &self,
        group: u32,
        control: &mut Control,
        expected: &mut Vec<Expected>,
        sums: &mut Sums,
        tally: &mut NodeTally,
    ) -> Result<(), BenchError> {
        if expected.is_empty() {
            return Ok(());
        }
        let fill = |ids: &mut [u8]| {
            for (id, expected) in ids.as_chunks_mut::<ID_SIZE>().0.iter_mut().zip(&*expected) {
                *id = self
                    .workload
                    .transfer_id(expected.key, expected.position)
                    .to_le_bytes();
            }
        };
        let node = control.node();
        let records = ask(
            control,
            group,
            LOOKUP_TRANSFERS,
            expected.len() * ID_SIZE,
            fill,
        )?;
        let mut records = chunks(records)
            .map_err(|fault| BenchError::Protocol { node, fault })?
            .iter()
            .peekable();
        for expected in expected.drain(..) {
            let id = self.workload.transfer_id(expected.key, expected.position);
            let record = records.next_if(|record| record[..ID_SIZE] == id.to_le_bytes());
            self.judge(group, node, &expected, record, sums, tally);
        }
        match records.len() {
            0 => Ok(()),
            // Records that were not asked for, or in another order.
            left => {
                let fault = ProtocolFault::Length {
                    found: left * RECORD_SIZE,
                    wanted: 0,
                };
                Err(BenchError::Protocol { node, fault })
            }
        }
    }

    fn judge(
        &self,
        group: u32,
        node: u32,
        expected: &Expected,
        record: Option<&[u8; RECORD_SIZE]>,
        sums: &mut Sums,
        tally: &mut NodeTally,
    ) {
        let id = || {
            format!(
                "{:032x}",
                self.workload.transfer_id(expected.key, expected.position)
            )
        };
        if expected.due == Due::Either {
            tally.doubtful[group as usize].push(record.is_some());
        }
        let Some(record) = record else {
            if expected.due == Due::Present {
                tally.lost += 1;
                tally.find(Finding::Lost {
                    node,
                    group,
                    id: id(),
                });
            }
            return;
        };
        let moved = self.workload.transfer(expected.key, expected.position);
        sums.add(
            self.workload.transfer_id(expected.key, expected.position),
            moved,
        );
        if !self.workload.is_stored_as(group, moved, record) {
            tally.altered += 1;
            tally.find(Finding::Altered {
                node,
                group,
                id: id(),
            });
        }
        if expected.due == Due::Absent {
            tally.refused_but_present += 1;
            tally.find(Finding::RefusedButPresent {
                node,
                group,
                id: id(),
            });
        }
    }

    /// Compares each account's balance with the sum of its transfers.
    fn accounts(
        &self,
        group: u32,
        control: &mut Control,
        sums: &Sums,
        tally: &mut NodeTally,
    ) -> Result<(), BenchError> {
        let node = control.node();
        for (from, part) in (0u32..)
            .step_by(BATCH_MAX as usize)
            .zip(sums.balances.chunks(BATCH_MAX as usize))
        {
            let fill = |ids: &mut [u8]| {
                for (number, id) in (from..).zip(ids.as_chunks_mut::<ID_SIZE>().0) {
                    *id = account_id(group, number).to_le_bytes();
                }
            };
            let records = ask(control, group, LOOKUP_ACCOUNTS, part.len() * ID_SIZE, fill)?;
            let mut records = chunks(records)
                .map_err(|fault| BenchError::Protocol { node, fault })?
                .iter()
                .peekable();
            for (account, balance) in (from..).zip(part) {
                let id = account_id(group, account).to_le_bytes();
                let record = records.next_if(|record| record[..ID_SIZE] == id);
                if !record.is_some_and(|record| has_balance(record, *balance)) {
                    tally.conserved = false;
                    tally.find(Finding::Balance {
                        node,
                        group,
                        account,
                    });
                }
            }
        }
        Ok(())
    }

    /// Compares what the replica says of the whole group with what was found.
    fn audit(
        &self,
        group: u32,
        control: &mut Control,
        sums: &Sums,
        tally: &mut NodeTally,
    ) -> Result<(), BenchError> {
        let node = control.node();
        let answer = ask(control, group, AUDIT, 0, |_| {})?;
        let (found, wanted) = (answer.len(), size_of::<Audit>());
        let fault = BenchError::Protocol {
            node,
            fault: ProtocolFault::Length { found, wanted },
        };
        let audit = Audit::read_from_bytes(answer).map_err(|_| fault)?;
        let counted = audit.transfers.get();
        if counted != sums.found {
            tally.duplicates += counted.saturating_sub(sums.found);
            tally.find(Finding::Count {
                node,
                group,
                counted,
                found: sums.found,
            });
        } else if audit.transfer_id_sum.get() != sums.ids {
            tally.find(Finding::Ids { node, group });
        }
        let moved = sums
            .balances
            .iter()
            .fold(0u128, |sum, (debits, _)| sum.wrapping_add(*debits));
        let (debits, credits) = (audit.debits_posted.get(), audit.credits_posted.get());
        if !audit.conserves() || debits != moved || credits != moved {
            tally.conserved = false;
            let (debits, credits) = (debits.to_string(), credits.to_string());
            tally.find(Finding::Unbalanced {
                node,
                group,
                debits,
                credits,
            });
        }
        Ok(())
    }
}

impl NodeTally {
    fn find(&mut self, finding: Finding) {
        let same = |other: &&Finding| discriminant(*other) == discriminant(&finding);
        if self.findings.iter().filter(same).count() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

impl Sums {
    fn add(&mut self, id: u128, moved: Move) {
        self.found += 1;
        self.ids = self.ids.wrapping_add(id_hash(id).into());
        self.balances[moved.debit as usize].0 += u128::from(moved.amount);
        self.balances[moved.credit as usize].1 += u128::from(moved.amount);
    }
}

/// Asks this replica alone; where it is busy, again.
fn ask(
    control: &mut Control,
    group: u32,
    operation: u8,
    bulk: usize,
    fill: impl Fn(&mut [u8]),
) -> Result<&[u8], BenchError> {
    let question = Question {
        group,
        operation,
        consistency: Consistency::Local,
    };
    let ticker = Ticker::every(AGAIN_NS)?;
    for _ in 0..AGAIN_MAX {
        let reply = control.ask(question, bulk, &fill)?;
        match reply.status {
            Status::Ok => return Ok(control.records()),
            Status::Busy | Status::Unavailable => {
                ticker.wait();
            }
            status => {
                return Err(BenchError::Refused {
                    node: control.node(),
                    what: "a local read",
                    status,
                });
            }
        }
    }
    Err(BenchError::Refused {
        node: control.node(),
        what: "a local read",
        status: Status::Busy,
    })
}

fn chunks(records: &[u8]) -> Result<&[[u8; RECORD_SIZE]], ProtocolFault> {
    let (whole, rest) = records.as_chunks::<RECORD_SIZE>();
    let wanted = whole.len() * RECORD_SIZE;
    if rest.is_empty() {
        Ok(whole)
    } else {
        Err(ProtocolFault::Length {
            found: records.len(),
            wanted,
        })
    }
}

/// Whether the account has these posted debits and credits, and nothing pending.
fn has_balance(record: &[u8; RECORD_SIZE], (debits, credits): (u128, u128)) -> bool {
    let amount =
        |at: usize| u128::from_le_bytes(*record[at..].first_chunk().expect("inside the record"));
    [amount(16), amount(32), amount(48), amount(64)] == [0, debits, 0, credits]
}
