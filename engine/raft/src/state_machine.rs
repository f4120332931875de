//! What a group agrees about: the face that a replicated state machine shows to its shard.

use crate::ids::Index;

/// One committed entry, lent for the time of the call. The bytes are those that the client sent.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Position in the group's log.
    pub index: Index,
    /// The leader's wall clock when it proposed the entry, in nanoseconds since the Unix epoch.
    /// Not monotone across leaders: a machine that needs monotone time takes the maximum itself.
    pub time: u64,
    /// What to do; its meaning is the machine's.
    pub operation: u8,
    /// The request's body.
    pub payload: &'a [u8],
}

/// A deterministic machine: its state after an entry is a function of the log up to that entry alone.
///
/// No clock, no dice, no floats, no iteration over hash maps: two replicas at one index must have one
/// digest (docs/architecture.md, idea 10).
pub trait StateMachine {
    /// May this request enter the log? Checked by the leader before it proposes, so that a malformed
    /// body costs no entry. Returns a reply to send instead, or `Ok` to go on. Must not change state.
    fn admit(&self, operation: u8, payload: &[u8]) -> Result<Admission, Refusal>;

    /// Applies one committed entry and appends the reply to `reply`. Never fails: what a customer did
    /// wrong is an outcome inside the reply.
    fn apply(&mut self, command: Command<'_>, reply: &mut Vec<u8>);

    /// Answers a read-only request from the state as it stands.
    fn query(&self, operation: u8, payload: &[u8], reply: &mut Vec<u8>);

    /// The state hash: equal on two replicas that applied the same entries.
    fn digest(&self) -> u128;
}

/// How an admitted request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Through the log.
    Write,
    /// Answered by `query` once the replica may answer at the asked consistency.
    Read,
}

/// Why a request may not enter the log. The number travels to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The operation is unknown to this machine.
    UnknownOperation,
    /// The body has a wrong length, count or a reserved bit.
    MalformedBody,
    /// The machine has reached a limit it was given and would have to refuse every event.
    Full,
}
