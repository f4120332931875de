//! When to dial which peer: who dials whom, and how long to wait after a failure.
//!
//! - The lower node id dials the higher: a pair of cores has one connection.
//! - Pauses double from failure to failure up to a bound, with jitter, and fall back after a handshake that worked.
//! - Dice and time are arguments: the same seed and the same past give the same future.

use std::net::SocketAddr;

use crate::dice::Dice;
use crate::handshake::dials;
use crate::limits::Limits;
use crate::refusal::Refusal;

/// The peers this core dials. One per core.
#[derive(Debug)]
pub struct Dialer {
    targets: Vec<Target>,
    pause_min: u64,
    pause_max: u64,
    dice: Dice,
}

#[derive(Debug)]
struct Target {
    node: u32,
    address: SocketAddr,
    /// When to dial; `None` while a connection is being made or is there.
    due_at: Option<u64>,
    failures: u32,
    refusal: Option<Refusal>,
}

/// How it stands with a peer that this core dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// Its node.
    pub node: u32,
    /// Where it is dialled.
    pub address: SocketAddr,
    /// Dials that failed since the last handshake that worked.
    pub failures: u32,
    /// Why the last handshake failed, if it got that far.
    pub refusal: Option<Refusal>,
}

impl Dialer {
    /// The dialer of node `own`; all peers it is to dial are due at `now`. `seed` decides the jitter.
    pub fn new(
        own: u32,
        peers: &[(u32, SocketAddr)],
        limits: &Limits,
        seed: u64,
        now: u64,
    ) -> Dialer {
        let targets = peers
            .iter()
            .filter(|(node, _)| dials(own, *node))
            .map(|&(node, address)| Target {
                node,
                address,
                due_at: Some(now),
                failures: 0,
                refusal: None,
            })
            .collect();
        Dialer {
            targets,
            pause_min: limits.redial_ns_min,
            pause_max: limits.redial_ns_max,
            dice: Dice::new(seed),
        }
    }

    /// The next peer to dial, if one is due. It is not due again until `lost` is told.
    pub fn next_due(&mut self, now: u64) -> Option<(u32, SocketAddr)> {
        let target = self
            .targets
            .iter_mut()
            .find(|target| target.due_at.is_some_and(|due| due <= now))?;
        target.due_at = None;
        Some((target.node, target.address))
    }

    /// When the next peer is due.
    pub fn next_due_at(&self) -> Option<u64> {
        self.targets.iter().filter_map(|target| target.due_at).min()
    }

    /// The handshake with `node` worked.
    pub fn opened(&mut self, node: u32) {
        if let Some(target) = self.target(node) {
            target.failures = 0;
            target.refusal = None;
        }
    }

    /// `node` refused, or was refused.
    pub fn refused(&mut self, node: u32, refusal: Refusal) {
        if let Some(target) = self.target(node) {
            target.refusal = Some(refusal);
        }
    }

    /// The connection to `node` is gone, or never came to be: dial again after a pause.
    pub fn lost(&mut self, node: u32, now: u64) {
        let (pause_min, pause_max) = (self.pause_min, self.pause_max);
        let chance = self.dice.roll();
        let Some(target) = self.target(node) else {
            return;
        };
        let doubled = 1u64
            .checked_shl(target.failures)
            .map_or(u64::MAX, |factor| pause_min.saturating_mul(factor));
        let pause = doubled.min(pause_max).max(1);
        target.failures = target.failures.saturating_add(1);
        // Half of the pause is certain, so that a crowd neither storms nor spins.
        target.due_at = Some(now.saturating_add(pause / 2 + chance % (pause - pause / 2)));
    }

    /// `node` has moved: from the next dial on it is found at `address`.
    pub fn moved(&mut self, node: u32, address: SocketAddr) {
        if let Some(target) = self.target(node) {
            target.address = address;
        }
    }

    /// How it stands with each peer, for reports.
    pub fn report(&self) -> impl Iterator<Item = PeerReport> {
        self.targets.iter().map(
            |&Target {
                 node,
                 address,
                 failures,
                 refusal,
                 ..
             }| PeerReport {
                node,
                address,
                failures,
                refusal,
            },
        )
    }

    fn target(&mut self, node: u32) -> Option<&mut Target> {
        self.targets.iter_mut().find(|target| target.node == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialer(seed: u64) -> Dialer {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let limits = Limits {
            redial_ns_min: 100,
            redial_ns_max: 1000,
            ..Limits::default()
        };
        Dialer::new(
            2,
            &[(1, address(1)), (3, address(3)), (4, address(4))],
            &limits,
            seed,
            50,
        )
    }

    #[test]
    fn the_lower_dials_the_higher_once() {
        let mut dialer = dialer(1);
        assert_eq!(dialer.next_due(49), None);
        assert_eq!(dialer.next_due(50).map(|due| due.0), Some(3));
        assert_eq!(dialer.next_due(50).map(|due| due.0), Some(4));
        assert_eq!(dialer.next_due(u64::MAX), None);
        assert_eq!(dialer.next_due_at(), None);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_fall_back() {
        let mut dialer = dialer(7);
        let mut now = 50;
        for bound in [100, 200, 400, 800, 1000, 1000, 1000] {
            while dialer.next_due(now).is_some() {}
            dialer.lost(3, now);
            let pause = dialer.next_due_at().expect("it is due again") - now;
            assert!(
                (bound / 2..bound).contains(&pause),
                "pause {pause} of {bound}"
            );
            now += pause;
        }
        dialer.refused(3, Refusal::ShuttingDown);
        let report = dialer.report().next().expect("node 3");
        assert_eq!(
            (report.failures, report.refusal),
            (7, Some(Refusal::ShuttingDown))
        );
        assert_eq!(dialer.next_due(now).map(|due| due.0), Some(3));
        dialer.opened(3);
        dialer.lost(3, now);
        assert!(dialer.next_due_at().expect("it is due again") < now + 100);
        for _ in 0..100 {
            dialer.lost(3, now);
        }
        assert!(dialer.next_due_at().expect("no overflow") <= now + 1000);
    }

    #[test]
    fn one_seed_one_future() {
        let futures = [7, 7, 8].map(|seed| {
            let mut dialer = dialer(seed);
            dialer.lost(3, 50);
            dialer.lost(4, 50);
            dialer
                .targets
                .iter()
                .map(|target| target.due_at)
                .collect::<Vec<_>>()
        });
        assert_eq!(futures[0], futures[1]);
        assert_ne!(futures[0], futures[2]);
    }
}
