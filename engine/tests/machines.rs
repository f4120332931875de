//! The ledger behind its door, as small as a node's limits say.

use engine::door::with_sessions;
use engine::{GroupId, Limits};
use ledger::ledger::Ledger;
use shard::sessions::Sessions;

/// The machine of a group.
pub(crate) fn bank(group: GroupId, limits: Limits) -> Sessions<Ledger> {
    let limits = ledger::limits::Limits {
        accounts_max: limits.accounts_max as usize,
        transfers_max: limits.transfers_max as usize,
        ..ledger::limits::Limits::default()
    };
    with_sessions(group, Ledger::new(limits).expect("small limits"))
}
