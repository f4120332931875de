//! Before the load: waits until every replica answers and every group is led, and creates the accounts.

use crate::clock::{Clock, nanos};
use crate::control::{Control, Question};
use crate::error::{BenchError, ProtocolFault};
use crate::options::BATCH_MAX;
use crate::progress::{Phase, Progress};
use crate::status;
use crate::target::Target;
use crate::ticker::Ticker;
use crate::workload::{RECORD_SIZE, Workload};
use ledger::instruction::operation::CREATE_ACCOUNTS;
use ledger::status::{CreateAccountStatus, CreateResult};
use net::request::{Consistency, Status};
use std::time::Duration;
use zerocopy::FromBytes;

/// How often the replicas are asked.
const ASK_NS: u64 = 20_000_000;
/// Most missing things that an error tells.
const MISSING_MAX: usize = 8;

/// Looks after the processes of a run: an error ends it.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(Phase) -> Result<(), BenchError>;

/// One connection to each core of each node, where there is one.
pub(crate) struct Observers<'a> {
    target: &'a Target,
    connections: Vec<Option<Control>>,
}

impl<'a> Observers<'a> {
    /// No connection yet.
    pub(crate) fn new(target: &'a Target) -> Self {
        let count = target.nodes.len() * target.cores as usize;
        Self {
            target,
            connections: (0..count).map(|_| None).collect(),
        }
    }

    /// The connection to this core of the node at this position, made where there is none.
    pub(crate) fn connection(
        &mut self,
        node: usize,
        core: u32,
    ) -> Result<&mut Control, BenchError> {
        let place = &mut self.connections[node * self.target.cores as usize + core as usize];
        match place {
            Some(control) => Ok(control),
            None => Ok(place.insert(Control::connect(self.target, node, core)?)),
        }
    }

    /// Asks a core of a node; a connection that fails is made anew the next time.
    pub(crate) fn ask<T>(
        &mut self,
        node: usize,
        core: u32,
        ask: impl FnOnce(&mut Control) -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let answer = self.connection(node, core).and_then(ask);
        if answer.is_err() {
            self.connections[node * self.target.cores as usize + core as usize] = None;
        }
        answer
    }

    /// The status of each core of the node at this position.
    pub(crate) fn statuses(&mut self, node: usize) -> Result<Vec<status::Status>, BenchError> {
        (0..self.target.cores)
            .map(|core| self.ask(node, core, Control::status))
            .collect()
    }
}

/// Waits until every replica answers and every group has a leader: its position, by group.
pub(crate) fn wait_for_leaders(
    observers: &mut Observers,
    clock: Clock,
    limit: Duration,
    progress: &mut dyn Progress,
    watch: Watch,
) -> Result<Vec<usize>, BenchError> {
    let target = observers.target;
    progress.begin(Phase::Start, target.groups.into());
    let deadline = clock.now().saturating_add(nanos(limit));
    let ticker = Ticker::every(ASK_NS)?;
    loop {
        watch(Phase::Start)?;
        if progress.cancelled() {
            return Err(BenchError::Cancelled {
                during: Phase::Start,
            });
        }
        let mut leaders: Vec<Option<usize>> = vec![None; target.groups as usize];
        let mut missing = Vec::new();
        for node in 0..target.nodes.len() {
            match observers.statuses(node) {
                Ok(statuses) => note_leaders(node, &statuses, &mut leaders),
                Err(error @ BenchError::Connection { .. }) => missing.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let leaderless = (0..).zip(&leaders).filter(|(_, leader)| leader.is_none());
        missing
            .extend(leaderless.map(|(group, _): (u32, _)| format!("group {group} has no leader")));
        progress.advance(leaders.iter().flatten().count() as u64, 0);
        if missing.is_empty() {
            return Ok(leaders.into_iter().flatten().collect());
        }
        if clock.now() > deadline {
            let more = missing.len().saturating_sub(MISSING_MAX);
            missing.truncate(MISSING_MAX);
            let more = if more > 0 {
                format!("; and {more} more")
            } else {
                String::new()
            };
            let missing = missing.join("; ") + &more;
            return Err(BenchError::Late {
                phase: Phase::Start,
                limit,
                missing,
            });
        }
        ticker.wait();
    }
}

fn note_leaders(node: usize, statuses: &[status::Status], leaders: &mut [Option<usize>]) {
    for (&group, status) in statuses.iter().flat_map(|status| &status.groups) {
        if status.leads
            && let Some(leader) = leaders.get_mut(group as usize)
        {
            *leader = Some(node);
        }
    }
}

/// Creates the accounts of every group, following its leader where that moves.
pub(crate) fn create_accounts(
    observers: &mut Observers,
    workload: &Workload,
    leaders: &mut [usize],
    clock: Clock,
    limit: Duration,
    progress: &mut dyn Progress,
    watch: Watch,
) -> Result<(), BenchError> {
    let per_group = workload.accounts();
    progress.begin(Phase::Accounts, u64::from(per_group) * leaders.len() as u64);
    let ticker = Ticker::every(ASK_NS)?;
    let mut done = 0;
    for (group, leader) in (0u32..).zip(leaders) {
        let mut from = 0;
        let mut deadline = clock.now().saturating_add(nanos(limit));
        while from < per_group {
            if progress.cancelled() {
                return Err(BenchError::Cancelled {
                    during: Phase::Accounts,
                });
            }
            let count = (per_group - from).min(BATCH_MAX);
            if try_accounts(observers, workload, group, leader, from, count)? {
                from += count;
                done += u64::from(count);
                progress.advance(done, 0);
                deadline = clock.now().saturating_add(nanos(limit));
                continue;
            }
            watch(Phase::Accounts)?;
            if clock.now() > deadline {
                let missing = format!("group {group} takes no accounts");
                return Err(BenchError::Late {
                    phase: Phase::Accounts,
                    limit,
                    missing,
                });
            }
            ticker.wait();
        }
    }
    Ok(())
}

/// Creates some accounts: whether it is done. Where another node leads, `leader` is changed.
fn try_accounts(
    observers: &mut Observers,
    workload: &Workload,
    group: u32,
    leader: &mut usize,
    from: u32,
    count: u32,
) -> Result<bool, BenchError> {
    let target = observers.target;
    let question = Question {
        group,
        operation: CREATE_ACCOUNTS,
        consistency: Consistency::Linearizable,
    };
    let asked = observers.ask(*leader, target.core_of(group), |control| {
        let bulk = count as usize * RECORD_SIZE;
        let reply = control.ask(question, bulk, |records| {
            workload.fill_accounts(group, from, records)
        })?;
        let is_done = reply.status == Status::Ok;
        let refused = if is_done {
            first_refused(control.records(), count)
        } else {
            Ok(None)
        };
        let refused = refused.map_err(|fault| control.fault(fault))?;
        Ok((reply, refused, control.node()))
    });
    let (reply, refused, node) = match asked {
        Ok(answer) => answer,
        Err(BenchError::Connection { .. }) => {
            *leader = target.next_node(*leader);
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    match reply.status {
        Status::Ok => match refused {
            None => Ok(true),
            Some(status) => Err(BenchError::AccountRefused {
                node,
                group,
                status,
            }),
        },
        Status::NotLeader | Status::ShuttingDown => {
            *leader = target
                .position(reply.leader)
                .unwrap_or(target.next_node(*leader));
            Ok(false)
        }
        Status::Busy | Status::Unavailable => Ok(false),
        status => Err(BenchError::Refused {
            node,
            what: "accounts",
            status,
        }),
    }
}

/// The first status that tells of no account.
fn first_refused(results: &[u8], count: u32) -> Result<Option<u32>, ProtocolFault> {
    let wanted = count as usize * size_of::<CreateResult>();
    let whole = <[CreateResult]>::ref_from_bytes(results).ok();
    let results =
        whole
            .filter(|whole| whole.len() == count as usize)
            .ok_or(ProtocolFault::Length {
                found: results.len(),
                wanted,
            })?;
    let there = [
        CreateAccountStatus::Created.number(),
        CreateAccountStatus::Exists.number(),
    ];
    Ok(results
        .iter()
        .map(|result| result.status.get())
        .find(|status| !there.contains(status)))
}
