//! What is asked of a replica besides proposals: reads, transfers of leadership, changes of configuration.
//!
//! - Only a leader takes changes and transfers; reads are forwarded by followers.
//! - One configuration change at a time, after an entry of the leader's own term (rule Q2).
//! - A transfer ends when the target leads, or at its deadline: then proposals resume.

use crate::change::{Change, ChangeError, Transition};
use crate::durability::Class;
use crate::effects::Made;
use crate::ids::{Index, NodeId, ReadId, Time};
use crate::leading::Transfer;
use crate::membership::{Member, Membership};
use crate::message::{Body, Message};
use crate::quorum::Quorum;
use crate::raft::{ProposeError, Raft};

/// A change of members, and perhaps of quorum sizes with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipChange {
    /// Members that join, leave or change their capacity.
    pub changes: Vec<Change>,
    /// The quorum sizes of the new voters. `None`: the old sizes when their number stays, or majorities.
    pub quorum: Option<Quorum>,
    /// By which way.
    pub transition: Transition,
}

/// Why a configuration was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconfigureError {
    /// As for any proposal.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// A change is under way, or this leader has committed nothing of its own yet: try again.
    #[error("a configuration change is under way")]
    Pending,
    /// There is no such change.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// To lower the commit size, an election quorum of voters must be up to date: too few are.
    #[error("too few voters are up to date")]
    Lagging,
}

/// Why leadership is not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This replica does not lead.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who does.
        leader: Option<NodeId>,
    },
    /// Another transfer is under way.
    #[error("another transfer is under way")]
    Transferring,
    /// The target may not lead, is damaged or silent, or needs a snapshot.
    #[error("the target cannot lead")]
    Unfit,
}

impl Raft {
    /// Begins a linearizable read. The answer comes in `Effects::reads`: apply up to its index, then read.
    pub fn read(&mut self, now: Time) -> Result<ReadId, ProposeError> {
        self.now = self.now.max(now);
        let id = ReadId(self.next_read);
        let covered =
            self.lease_until().is_some_and(|until| self.now < until) || self.reads_at_once();
        match self.leading.as_deref_mut() {
            Some(leading) => {
                if leading.reads.len() >= self.config.max_reads {
                    return Err(ProposeError::Busy);
                }
                let known = self.commit >= leading.first_own;
                #[cfg(feature = "mutants")]
                let known =
                    known || self.config.mutant == Some(crate::mutants::Mutant::ReadBeforeOwnEntry);
                if known && covered {
                    self.mail.open().answers.push((id, Ok(self.commit)));
                } else {
                    leading.reads.begin(None, id, known.then_some(self.commit));
                }
            }
            None => {
                let leader = self
                    .leader
                    .ok_or(ProposeError::NotLeader { leader: None })?;
                if self.mail.forwarded() >= self.config.max_reads {
                    return Err(ProposeError::Busy);
                }
                let deadline = self.now.plus(self.config.election_timeout);
                self.mail.forward(id, deadline);
                self.mail.post(
                    leader,
                    Message {
                        term: self.term,
                        body: Body::Read { id },
                    },
                );
            }
        }
        self.next_read += 1;
        Ok(id)
    }

    fn reads_at_once(&self) -> bool {
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::ReadWithoutRound) {
            return true;
        }
        false
    }

    /// Until when reads need no round; `None` without a lease.
    pub(crate) fn lease_until(&self) -> Option<Time> {
        let drift = self.config.lease_drift?;
        let from = self.leading.as_deref()?.reads.lease_from()?;
        Some(from.plus(self.config.election_timeout - drift))
    }

    pub(crate) fn on_read(&mut self, from: NodeId, id: ReadId) {
        let max = self.config.max_reads;
        let mut refused = true;
        if let Some(leading) = self.leading.as_deref_mut()
            && leading.reads.len() < max
            && leading.peer(from).is_some()
        {
            let known = self.commit >= leading.first_own;
            leading
                .reads
                .begin(Some(from), id, known.then_some(self.commit));
            refused = false;
        }
        if refused {
            let body = Body::ReadReply { id, index: None };
            self.mail.post(
                from,
                Message {
                    term: self.term,
                    body,
                },
            );
        }
    }

    pub(crate) fn on_read_reply(&mut self, id: ReadId, index: Option<Index>) {
        let answer = index.ok_or(crate::effects::ReadAborted);
        self.mail.answered(id, answer);
    }

    /// Answers the reads that a quorum has confirmed.
    pub(crate) fn settle_reads(&mut self) {
        let Some(leading) = self.leading.as_deref_mut() else {
            return;
        };
        let round = leading.confirmed_round();
        let (letters, term) = (self.mail.open(), self.term);
        leading
            .reads
            .confirmed(round, |from, id, index| match from {
                None => letters.answers.push((id, Ok(index))),
                Some(to) => {
                    let body = Body::ReadReply {
                        id,
                        index: Some(index),
                    };
                    letters.outbox.push((to, Message { term, body }));
                }
            });
    }

    /// Hands leadership over to `to` as soon as it has the whole log; until then, and for at most an
    /// election timeout, nothing is proposed.
    pub fn transfer(&mut self, to: NodeId, now: Time) -> Result<(), TransferError> {
        self.now = self.now.max(now);
        let leader = self.leader;
        let fit = self.membership().member(to).is_some_and(Member::may_lead);
        let deadline = self.now.plus(self.config.election_timeout);
        let Some(leading) = self.leading.as_deref_mut() else {
            return Err(TransferError::NotLeader { leader });
        };
        if leading.transfer.is_some() {
            return Err(TransferError::Transferring);
        }
        let id = self.config.id;
        let able = leading
            .peer(to)
            .is_some_and(|progress| progress.live && !progress.damaged && !progress.installs());
        if !fit || !able || to == id {
            return Err(TransferError::Unfit);
        }
        leading.transfer = Some(Box::new(Transfer {
            to,
            deadline,
            told: false,
        }));
        self.continue_transfer(to);
        Ok(())
    }

    /// The member acknowledged more: perhaps it is the one that is to lead.
    pub(crate) fn continue_transfer(&mut self, node: NodeId) {
        let last = self.log.last_index();
        let Some(leading) = self.leading.as_deref_mut() else {
            return;
        };
        if leading.transfer.is_none() {
            return;
        }
        let matched = leading.peer(node).map(|progress| progress.matched);
        let Some(transfer) = leading.transfer.as_mut() else {
            return;
        };
        if transfer.to == node && !transfer.told && matched == Some(last) {
            transfer.told = true;
            leading.reads.revoke();
            self.mail.post(
                node,
                Message {
                    term: self.term,
                    body: Body::TimeoutNow,
                },
            );
        }
    }

    /// Changes members. Leader only; one change at a time.
    pub fn change_membership(
        &mut self,
        change: &MembershipChange,
    ) -> Result<Index, ReconfigureError> {
        self.reconfigure(|newest| newest.next(&change.changes, change.quorum, change.transition))
    }

    /// Leaves a joint configuration that was entered with `Transition::JointExplicit`.
    pub fn leave_joint(&mut self) -> Result<Index, ReconfigureError> {
        self.reconfigure(Membership::leave_joint)
    }

    /// Changes the quorum sizes, in one step that meets the old ones (rules Q3 and Q4). Lowering the commit
    /// size asks for an election quorum of up-to-date voters (rule Q5).
    pub fn change_quorum(&mut self, quorum: Quorum) -> Result<Index, ReconfigureError> {
        if quorum.commit() < self.newest().quorum().commit() {
            let commit = self.commit;
            let up_to_date = |node: NodeId| {
                self.leading.as_deref().is_some_and(|leading| {
                    leading
                        .peers
                        .iter()
                        .any(|peer| peer.node == node && peer.live && peer.held() >= commit)
                })
            };
            if self.leading.is_some() && !self.newest().is_election_quorum(up_to_date) {
                return Err(ReconfigureError::Lagging);
            }
        }
        #[cfg(feature = "mutants")]
        if self.config.mutant == Some(crate::mutants::Mutant::IncompatibleQuorumStep) {
            return self.reconfigure(|newest| {
                let mut next = newest.clone();
                next.generation += 1;
                next.quorum = quorum;
                Ok(next)
            });
        }
        self.reconfigure(|newest| newest.with_quorum(quorum))
    }

    /// Changes the durability classes.
    pub fn change_classes(&mut self, classes: &[Class]) -> Result<Index, ReconfigureError> {
        self.reconfigure(|newest| {
            let mut next = newest.clone().with_classes(classes.to_vec())?;
            next.generation += 1;
            Ok(next)
        })
    }

    fn reconfigure(
        &mut self,
        next: impl FnOnce(&Membership) -> Result<Membership, ChangeError>,
    ) -> Result<Index, ReconfigureError> {
        let Some(leading) = self.leading.as_deref() else {
            return Err(ProposeError::NotLeader {
                leader: self.leader,
            }
            .into());
        };
        if leading.transfer.is_some() {
            return Err(ProposeError::Transferring.into());
        }
        if !self.may_change_configuration() {
            return Err(ReconfigureError::Pending);
        }
        let next = next(self.newest())?;
        let index = self.append_made(Made::Configuration(next));
        self.on_own_log_durable();
        Ok(index)
    }

    /// The highest index stored as widely as durability class `class` asks, as this leader knows. Class 0
    /// is the commit index; so is every class at a follower, which answers no clients.
    #[must_use]
    pub fn durable_index(&self, class: u8) -> Index {
        let Some(leading) = self.leading.as_deref() else {
            return self.commit;
        };
        let Some(at) = usize::from(class).checked_sub(1) else {
            return self.commit;
        };
        let Some(class) = self.membership().classes().get(at) else {
            return self.commit;
        };
        let held = |node: NodeId| {
            let found = leading.peers.iter().find(|progress| progress.node == node);
            found.map_or(Index(0), crate::progress::Progress::held)
        };
        class.durable_index(self.membership(), self.config.id, self.commit, held)
    }
}
