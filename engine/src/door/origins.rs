//! Where clients come from, and how many sessions may be asked for from one place in a time.
//!
//! - An origin is an IPv4 address, or the network of an IPv6 one: its lower 64 bits are everybody's own choice.
//! - What is remembered is bounded, and forgotten when it says nothing more than its absence would.

use std::net::IpAddr;

use raft::ids::Time;
use rustc_hash::FxHashMap;

use crate::door::limits::{
    ORIGINS_MAX, REGISTER_EVERY_NS, REGISTERS_PER_GUEST, REGISTERS_PER_ORIGIN,
};

/// A place that clients come from; 0 is a client's own process, which asks the groups itself.
pub type Origin = u32;

/// Where a client with this address comes from; never 0.
#[must_use]
pub fn origin_of(address: IpAddr) -> Origin {
    let folded = match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let network = (address.to_bits() >> 64) as u64;
            (network.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
        }
    };
    folded.max(1)
}

/// Sessions that origins may still ask for. One per door.
#[derive(Debug, Default)]
pub struct Allowances {
    /// When the origin will have asked for nothing, as it were: each session puts it off.
    spent_until: FxHashMap<Origin, Time>,
}

impl Allowances {
    /// May one more session be asked for? If so, it is counted.
    pub fn take(&mut self, origin: Origin, now: Time) -> bool {
        if self.spent_until.len() >= ORIGINS_MAX {
            self.spent_until.retain(|_, until| *until > now);
        }
        let known = self.spent_until.contains_key(&origin);
        if !known && self.spent_until.len() >= ORIGINS_MAX {
            return false;
        }
        let until = self.spent_until.entry(origin).or_insert(now);
        let from = (*until).max(now);
        let fits = from.since(now) + REGISTER_EVERY_NS <= REGISTERS_PER_ORIGIN * REGISTER_EVERY_NS;
        if fits {
            *until = from.plus(REGISTER_EVERY_NS);
        }
        fits
    }
}

const _: () = assert!(
    REGISTERS_PER_ORIGIN >= REGISTERS_PER_GUEST as u64,
    "one connection may have all that it may have"
);

#[cfg(test)]
mod tests {
    use raft::ids::Time;

    use super::{Allowances, origin_of};
    use crate::door::limits::{ORIGINS_MAX, REGISTER_EVERY_NS, REGISTERS_PER_ORIGIN};

    fn origin(address: &str) -> u32 {
        origin_of(address.parse().expect("an address"))
    }

    #[test]
    fn an_origin_is_an_address_or_a_network() {
        assert_eq!(origin("10.0.0.1"), origin("::ffff:10.0.0.1"));
        assert_ne!(origin("10.0.0.1"), origin("10.0.0.2"));
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::9"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_ne!(origin("0.0.0.0"), 0);
    }

    #[test]
    fn an_origin_has_its_burst_then_its_rate_and_nobody_elses() {
        let mut allowances = Allowances::default();
        let taken = |allowances: &mut Allowances, origin, now| {
            (0..10_000)
                .take_while(|_| allowances.take(origin, Time(now)))
                .count() as u64
        };
        assert_eq!(taken(&mut allowances, 1, 5), REGISTERS_PER_ORIGIN);
        assert_eq!(taken(&mut allowances, 2, 5), REGISTERS_PER_ORIGIN);
        assert_eq!(taken(&mut allowances, 1, 5 + REGISTER_EVERY_NS - 1), 0);
        assert_eq!(taken(&mut allowances, 1, 5 + 3 * REGISTER_EVERY_NS), 3);
        let later = 5 + 1000 * REGISTERS_PER_ORIGIN * REGISTER_EVERY_NS;
        assert_eq!(taken(&mut allowances, 1, later), REGISTERS_PER_ORIGIN);
    }

    #[test]
    fn what_is_remembered_of_origins_is_bounded() {
        let mut allowances = Allowances::default();
        let most = ORIGINS_MAX as u32;
        assert!((1..=most).all(|origin| allowances.take(origin, Time(0))));
        assert!(
            !allowances.take(most + 1, Time(0)),
            "more than are remembered"
        );
        assert!(allowances.take(most + 1, Time(REGISTER_EVERY_NS)));
    }
}
