//! The survey: bytes are sent there and back between the machines of every cluster, and what they take must be what the
//! map says.
//!
//! - Pings travel through the very network of the run, before anything has happened in it, as a copy of it.
//! - A mean that differs by more than one percent fails the run.

use crate::door;
use crate::network::{End, Machine, Network, Taken};
use crate::verdict::Broken;
use crate::world::World;

/// Pings of each pair.
const PINGS: u64 = 8;
/// How far the mean may be off, in permille.
const OFF_PERMILLE_MAX: u64 = 10;

/// Compares observed with mapped round trips between all nodes of each cluster.
///
/// # Errors
/// The first pair that is off the map.
pub fn survey(world: &World) -> Result<(), Broken> {
    let topology = &world.plan.asked.topology;
    if topology.sites.len() < 2 {
        return Ok(());
    }
    let machines = world.nodes.len();
    let network = Network::new(machines, world.plan.seed);
    let mut sites = vec![0; machines];
    for (cluster, layout) in topology.clusters.iter().enumerate() {
        let members = world.nodes.iter().filter(|node| node.cluster == cluster);
        members
            .zip(&layout.sites)
            .for_each(|(node, site)| sites[node.number] = *site);
    }
    for machine in 0..machines {
        network.listen(door::address(machine, 0), machine, machine);
        for other in 0..machines {
            let link = world.network.link(machine, other);
            network.change(machine, other, |copy| *copy = link);
        }
    }
    let mut now = 0;
    for node in &world.nodes {
        for other in node
            .members
            .iter()
            .copied()
            .filter(|other| *other > node.number)
        {
            let injected = 2 * topology.way_ns(sites[node.number], sites[other]);
            let observed = observe(&network, node.number, other, &mut now);
            if observed.abs_diff(injected) * 1000 > injected * OFF_PERMILLE_MAX {
                return Err(Broken::OffTheMap {
                    from: topology.sites[sites[node.number]].clone(),
                    to: topology.sites[sites[other]].clone(),
                    injected_us: injected / 1000,
                    observed_us: observed / 1000,
                });
            }
        }
    }
    Ok(())
}

/// The mean of a few pings, in nanoseconds.
fn observe(network: &Network, one: Machine, other: Machine, now: &mut u64) -> u64 {
    let near = network
        .dial(one, one, door::address(other, 0))
        .expect("the machine listens");
    let far = wait(network, now, || {
        network.accept(door::address(other, 0)).map(|(end, _)| end)
    });
    // The stream is there when its first byte may follow.
    ping(network, near, far, now);
    let began = *now;
    for _ in 0..PINGS {
        ping(network, near, far, now);
    }
    network.close(near, false);
    network.close(far, false);
    (*now - began) / PINGS
}

fn ping(network: &Network, near: End, far: End, now: &mut u64) {
    for (from, to) in [(near, far), (far, near)] {
        assert_eq!(network.write(from, &[7]), 1, "an idle stream takes a byte");
        let mut space = [0];
        wait(network, now, || {
            (network.read(to, &mut space) == Taken::Bytes(1)).then_some(())
        });
    }
}

/// Lets time go on from wake to wake until something is there.
fn wait<T>(network: &Network, now: &mut u64, mut look: impl FnMut() -> Option<T>) -> T {
    let mut wakes = Vec::new();
    loop {
        if let Some(found) = look() {
            return found;
        }
        network.take_wakes(&mut wakes);
        wakes.retain(|(at, _)| *at > *now);
        let next = wakes
            .iter()
            .map(|(at, _)| *at)
            .min()
            .expect("what is under way arrives");
        *now = next;
        network.advance(next);
    }
}
