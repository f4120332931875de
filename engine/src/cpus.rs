//! Which CPU each core of a node is pinned to, if any.
//!
//! - Named CPUs are taken as named; one that this process may not use is an error.
//! - Otherwise cores are pinned only where the host has a CPU for every core of every node of the layout
//!   that lives on it: two cores pinned to one CPU are slower than two that float.
//! - A node that is alone on its host begins with the CPU which its disk interrupts (decision 93).

mod interrupts;

use std::path::Path;

use crate::config::{Layout, Options};
use crate::error::EngineError;
use raft::ids::NodeId;

/// The CPU of each core, in order, for a node whose log lies in `folder`.
///
/// # Errors
/// `Pin` for a named CPU that this process may not use.
pub(crate) fn choose(
    layout: &Layout,
    node: NodeId,
    options: &Options,
    folder: &Path,
) -> Result<Vec<Option<usize>>, EngineError> {
    let usable = core_affinity::get_core_ids().unwrap_or_default();
    let usable: Vec<usize> = usable.into_iter().map(|core| core.id).collect();
    let named = options.cpus.as_deref();
    let near = || interrupts::processor_of(folder);
    choose_from(&usable, near, layout, node, named)
        .map_err(|(core, cpu)| EngineError::Pin { core, cpu })
}

fn choose_from(
    usable: &[usize],
    near: impl FnOnce() -> Option<usize>,
    layout: &Layout,
    node: NodeId,
    named: Option<&[usize]>,
) -> Result<Vec<Option<usize>>, (u16, usize)> {
    if let Some(named) = named {
        let checked = (0..layout.cores).zip(named).map(|(core, &cpu)| {
            if usable.contains(&cpu) {
                Ok(Some(cpu))
            } else {
                Err((core, cpu))
            }
        });
        return checked.collect();
    }
    let cores = usize::from(layout.cores);
    let own = layout
        .nodes
        .iter()
        .find(|known| known.id == node.0)
        .map(|known| known.address.ip());
    let mut neighbours = layout
        .nodes
        .iter()
        .filter(|known| Some(known.address.ip()) == own);
    let nodes = neighbours.clone().count();
    let rank = neighbours.position(|known| known.id == node.0).unwrap_or(0);
    if usable.len() < nodes * cores {
        return Ok(vec![None; cores]);
    }
    let mut order = usable.to_vec();
    // Nodes that share a host may have different disks, and must not share a CPU.
    if nodes == 1
        && let Some(near) = near()
    {
        order.sort_by_key(|&cpu| cpu != near);
    }
    Ok(order[rank * cores..][..cores]
        .iter()
        .copied()
        .map(Some)
        .collect())
}

#[cfg(test)]
mod tests {
    use raft::ids::NodeId;

    use super::choose_from;
    use crate::config::{Layout, NodeAddress};

    /// Nodes 1 and 2 on one host, node 3 on another, two cores each.
    fn layout() -> Layout {
        let node = |id, address: &str| {
            let address = address.parse().expect("an address");
            NodeAddress { id, address }
        };
        let nodes = vec![
            node(1, "10.0.0.1:7000"),
            node(2, "10.0.0.1:7010"),
            node(3, "10.0.0.2:7000"),
        ];
        Layout::new(1, nodes, 2, 1)
    }

    fn check(
        usable: &[usize],
        near: Option<usize>,
        node: u32,
        named: Option<&[usize]>,
        expected: Result<[Option<usize>; 2], (u16, usize)>,
    ) {
        let chosen = choose_from(usable, || near, &layout(), NodeId(node), named);
        assert_eq!(chosen, expected.map(Vec::from));
    }

    #[test]
    fn neighbours_on_one_host_never_share_a_cpu() {
        check(&[0, 1, 4, 5], Some(4), 1, None, Ok([Some(0), Some(1)]));
        check(&[0, 1, 4, 5], Some(1), 2, None, Ok([Some(4), Some(5)]));
        check(&[0, 1], None, 3, None, Ok([Some(0), Some(1)]));
    }

    #[test]
    fn a_node_alone_on_its_host_begins_where_its_disk_interrupts() {
        check(&[0, 1, 4, 5], Some(4), 3, None, Ok([Some(4), Some(0)]));
        check(&[0, 1, 4, 5], Some(7), 3, None, Ok([Some(0), Some(1)]));
    }

    #[test]
    fn where_cpus_are_too_few_cores_float() {
        check(&[0, 1, 2], Some(1), 1, None, Ok([None, None]));
        check(&[0], Some(0), 3, None, Ok([None, None]));
        check(&[], Some(0), 3, None, Ok([None, None]));
    }

    #[test]
    fn named_cpus_are_taken_or_refused() {
        check(
            &[0, 1, 2],
            Some(1),
            2,
            Some(&[2, 0]),
            Ok([Some(2), Some(0)]),
        );
        check(&[0, 1, 2], Some(1), 2, Some(&[2, 7]), Err((1, 7)));
    }
}
