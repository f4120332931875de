//! Random schedules: loss, duplication, reordering, slow disks, crashes, cuts, restarts, compaction, changes.
//!
//! - Every step is checked by all invariants; in the end, when faults stop, the group agrees and goes on.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::schedule::{self, Event};

/// A schedule that prints on one line, ready to be pasted into a test.
#[derive(Clone)]
struct Events(Vec<Event>);

impl core::fmt::Debug for Events {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for event in &self.0 {
            write!(f, "{event:?}, ")?;
        }
        Ok(())
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => any::<u16>().prop_map(Event::Deliver),
        2 => any::<u16>().prop_map(Event::Duplicate),
        2 => any::<u16>().prop_map(Event::Lose),
        15 => any::<u8>().prop_map(Event::Complete),
        8 => (1..12_u8).prop_map(Event::Pass),
        10 => any::<u8>().prop_map(Event::Propose),
        2 => any::<u8>().prop_map(Event::Crash),
        3 => any::<u8>().prop_map(Event::Restart),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Sever(a, b)),
        1 => Just(Event::Heal),
        2 => any::<u8>().prop_map(Event::Compact),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Transfer(a, b)),
        3 => any::<u8>().prop_map(Event::Read),
        2 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Member(a, b)),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Event::Sizes(a, b)),
        1 => any::<u8>().prop_map(Event::Campaign),
        3 => any::<u16>().prop_map(Event::QuorumRead),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Event::LoseEntries(a, b)),
        2 => Just(Event::Renew),
        4 => any::<u16>().prop_map(Event::Tell),
    ]
}

/// As many cases as the environment asks for (`QUORATE_CASES`), otherwise `usual`, from a fixed seed.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("QUORATE_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let seed = std::env::var("QUORATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(usual),
        rng_seed: RngSeed::Fixed(seed.unwrap_or(1)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_schedule_is_safe_and_recovers(
        count in 1..=5_u32,
        leases in any::<bool>(),
        events in proptest::collection::vec(event(), 0..400).prop_map(Events),
    ) {
        schedule::check(count, leases, &events.0);
    }

    #[test]
    fn any_bytes_are_a_schedule(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        schedule::check_bytes(&bytes);
    }
}
