//! Whether a thread that has nothing to do looks once more or sleeps: after news more is near, and a wake-up costs more than a look.
//!
//! - Awake at most so long after the last news; without news never: an idle node costs nothing.
//! - Before each further look the processor is offered to others. Whoever takes it for long needs it more: then sleep.

use std::thread;

use raft::ids::Time;

use crate::clock::SystemClock;

/// An offer of the processor that takes longer than this was taken by somebody with work of his own.
const CROWDED_NS: u64 = 50_000;

/// How long one thread stays awake. One per core, one per door.
#[derive(Debug)]
pub(crate) struct Wakeful {
    most: u64,
    until: Time,
}

impl Wakeful {
    /// Awake at most `most` nanoseconds after the last news; 0: never.
    pub(crate) fn new(most: u64) -> Self {
        let until = Time(0);
        Self { most, until }
    }

    /// There was news.
    pub(crate) fn stirred(&mut self, now: Time) {
        self.until = now.plus(self.most);
    }

    /// Has others run between two turns of a thread that has more to do: what it waits for may need this very processor.
    pub(crate) fn give_way() {
        thread::yield_now();
    }

    /// Has others run, then says whether to look again before sleeping until `due`.
    pub(crate) fn looks_again(&mut self, due: Option<Time>) -> bool {
        let now = SystemClock.now();
        let until = due.map_or(self.until, |due| due.min(self.until));
        if now >= until {
            return false;
        }
        Self::give_way();
        if SystemClock.now().since(now) >= CROWDED_NS {
            self.until = Time(0);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use raft::ids::Time;

    use super::Wakeful;
    use crate::clock::SystemClock;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn without_news_it_sleeps() {
        assert!(!Wakeful::new(HOUR).looks_again(None));
    }

    #[test]
    fn who_is_never_to_stay_awake_sleeps_after_news_too() {
        let mut never = Wakeful::new(0);
        never.stirred(SystemClock.now());
        assert!(!never.looks_again(None));
    }

    #[test]
    fn what_is_due_is_not_overslept() {
        let mut wakeful = Wakeful::new(HOUR);
        wakeful.stirred(SystemClock.now());
        assert!(!wakeful.looks_again(Some(Time(1))));
    }

    #[test]
    fn after_news_it_looks_again_until_its_time_is_over() {
        // A crowded machine may take the first offers; it comes to a look at last.
        let mut wakeful = Wakeful::new(HOUR);
        let looks = std::iter::repeat_with(|| {
            wakeful.stirred(SystemClock.now());
            wakeful.looks_again(None)
        });
        assert!(looks.into_iter().any(|looks| looks));
        let mut brief = Wakeful::new(1);
        brief.stirred(Time(1));
        assert!(!brief.looks_again(None));
    }
}
