//! What a process may hold in memory: fixed for its cores and groups, and so much for each byte that its groups agreed on.
//!
//! - A ledger keeps what it is told: its state may grow with the commands of its group, and by nothing else.
//! - Each state is judged by itself too: no other's unused budget hides what it should not have.

use crate::plan::Plan;
use crate::verdict::{Broken, Scope};
use crate::world::World;

/// What each core may hold for connections and queues.
const CORE_BYTES: u64 = 8 << 20;
/// What each group may hold beside its window and its state: entries under way.
const GROUP_BYTES: u64 = 2 << 20;
/// What a state may hold that was told nothing: tables that were begun, an image in the making.
const STATE_BYTES: u64 = 256 << 10;
/// What a state may hold for each byte of a command. A transfer of 128 bytes is kept in a row of 128 and the balances of 64
/// after it, and with a reservation in a slot of 144, a heap and an index besides.
const STATE_BYTES_PER_BYTE: u64 = 3;

/// What a state may hold whose group agreed on commands of so many bytes.
const fn of_state(agreed_bytes: u64) -> u64 {
    STATE_BYTES + STATE_BYTES_PER_BYTE * agreed_bytes
}

/// What a process may hold beside its states.
const fn of_process(plan: &Plan, groups: u64) -> u64 {
    plan.cores as u64 * CORE_BYTES + groups * (GROUP_BYTES + plan.window_bytes as u64)
}

impl World {
    /// Every state and every process is within its budget.
    pub(crate) fn budgets(&mut self) -> Result<(), Broken> {
        for node in &mut self.nodes {
            let mut most = of_process(&self.plan, node.groups);
            let (cluster, number) = (node.cluster, node.number);
            for replica in node.cores.iter().flat_map(|core| core.shard.replicas()) {
                let group = replica.group.0;
                let scope = Scope { cluster, group };
                let bytes = replica.machine.bytes() as u64;
                let allowed = of_state(self.chronicle.agreed_bytes(scope));
                most += allowed;
                if bytes > allowed {
                    return Err(Broken::StateOverBudget {
                        scope,
                        node: number,
                        bytes,
                        most: allowed,
                    });
                }
            }
            let bytes = node.memory();
            self.memory_max = self.memory_max.max((bytes * 1000 / most, bytes, most));
            if bytes > most {
                let node = number;
                return Err(Broken::OverBudget { node, bytes, most });
            }
        }
        Ok(())
    }
}
