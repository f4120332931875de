//! An idle core takes no turns, and a core that has work does not sleep.

use bytes::Bytes;
use engine::config::Io;
use net::client::ClientConnection;
use net::limits::Limits;

use crate::drivers::{Alone, ask};
use crate::echo::{LATER, SPIN, TURNS};

/// What the core has to do beside: timeouts of its connections, and the news of the test itself.
const TURNS_BESIDE: u64 = 20;

fn number(wire: &mut ClientConnection, operation: u8, argument: u64) -> u64 {
    let reply = ask(wire, operation, argument, Bytes::new());
    u64::from_le_bytes(reply[..].try_into().expect("eight bytes"))
}

fn an_idle_core_takes_no_turns(io: Io) {
    let alone = Alone::start(io, Limits::default());
    let mut wire = alone.wire();
    let before = number(&mut wire, TURNS, 0);
    ask(&mut wire, LATER, 500, Bytes::new());
    let turns = number(&mut wire, TURNS, 0) - before;
    assert!(
        (2..=TURNS_BESIDE).contains(&turns),
        "{turns} turns in half a second without news"
    );
    alone.stop();
}

fn a_busy_core_does_not_sleep(io: Io) {
    const SPINS: u64 = 20_000;
    let alone = Alone::start(io, Limits::default());
    let mut wire = alone.wire();
    let sleeps = number(&mut wire, SPIN, SPINS);
    assert!(
        sleeps < SPINS / 100,
        "slept {sleeps} times in {SPINS} turns that had work"
    );
    alone.stop();
}

mod glommio {
    #[test]
    fn an_idle_core_takes_no_turns() {
        super::an_idle_core_takes_no_turns(super::Io::Glommio);
    }
    #[test]
    fn a_busy_core_does_not_sleep() {
        super::a_busy_core_does_not_sleep(super::Io::Glommio);
    }
}

mod threads {
    #[test]
    fn an_idle_core_takes_no_turns() {
        super::an_idle_core_takes_no_turns(super::Io::Threads);
    }
    #[test]
    fn a_busy_core_does_not_sleep() {
        super::a_busy_core_does_not_sleep(super::Io::Threads);
    }
}
