//! What an operator may ask of a group, by the replica that leads it: hand over leadership, change members or quorums.
//!
//! - Between two turns; what follows from it leaves with the next one.
//! - The core judges every request: what is not safe is refused, and nothing has changed.

use net::transport::Transport;
use raft::ids::{GroupId, Index, NodeId, Time};
use raft::quorum::Quorum;
use raft::raft::{ProposeError, Raft};
use raft::requests::{MembershipChange, ReconfigureError, TransferError};
use raft::state_machine::StateMachine;
use wal::Device;

use crate::shard::{Shard, carriers};
use crate::stages::decide::{self, Carriers};

impl<D: Device, T: Transport, M: StateMachine> Shard<D, T, M> {
    /// Hands the group's leadership to another node.
    ///
    /// # Errors
    /// If this replica does not lead, or the other cannot.
    pub fn transfer(&mut self, group: GroupId, to: NodeId, now: Time) -> Result<(), TransferError> {
        self.command(group, now, |raft| raft.transfer(to, now))
            .unwrap_or(Err(TransferError::NotLeader { leader: None }))
    }

    /// Changes the group's members. The index of the configuration's entry.
    ///
    /// # Errors
    /// If this replica does not lead, a change is under way, or there is no such change.
    pub fn change_membership(
        &mut self,
        group: GroupId,
        change: &MembershipChange,
        now: Time,
    ) -> Result<Index, ReconfigureError> {
        self.command(group, now, |raft| raft.change_membership(change))
            .unwrap_or(Err(unknown()))
    }

    /// Leaves a joint configuration that was to be left by hand.
    ///
    /// # Errors
    /// As for [`Shard::change_membership`].
    pub fn leave_joint(&mut self, group: GroupId, now: Time) -> Result<Index, ReconfigureError> {
        self.command(group, now, Raft::leave_joint)
            .unwrap_or(Err(unknown()))
    }

    /// Changes the group's quorum sizes, in one step that meets the old ones.
    ///
    /// # Errors
    /// As for [`Shard::change_membership`].
    pub fn change_quorum(
        &mut self,
        group: GroupId,
        quorum: Quorum,
        now: Time,
    ) -> Result<Index, ReconfigureError> {
        self.command(group, now, |raft| raft.change_quorum(quorum))
            .unwrap_or(Err(unknown()))
    }

    /// Asks the group's core, and carries what follows; `None` if the core holds no such group.
    fn command<R>(
        &mut self,
        group: GroupId,
        now: Time,
        question: impl FnOnce(&mut Raft) -> R,
    ) -> Option<R> {
        let slot = *self.slots.get(&group)?;
        let replica = &mut self.replicas[slot as usize];
        let answer = question(&mut replica.raft);
        decide::carry(replica, slot, &mut carriers!(self), now);
        Some(answer)
    }
}

/// A group that is not here is not led here.
fn unknown() -> ReconfigureError {
    ReconfigureError::Propose(ProposeError::NotLeader { leader: None })
}
