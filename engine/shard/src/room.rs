//! Room: whether a log that has none is about to get some, so that clients wait and are not told that the storage is full.
//!
//! What gives the log room is a file that was finished: an image, a sealed stretch, a stretch in the object store. While
//! such work goes on and nothing of it fails, what is asked waits, and a queue that is full says busy; the storage is full
//! only where nothing came of it for a while, or something refused it.

use raft::ids::Time;

use crate::limits;

/// One for the files of a shard, one for its store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    /// When something last came nearer to its end.
    at: Option<Time>,
    /// The last that was tried failed.
    has_failed: bool,
}

impl Room {
    /// A piece of a file was handed over.
    pub(crate) fn goes(&mut self, now: Time) {
        if !self.has_failed {
            self.at = Some(now);
        }
    }

    /// A file is durable, or in the store.
    pub(crate) fn made(&mut self, now: Time) {
        (self.at, self.has_failed) = (Some(now), false);
    }

    /// The disk or the store did not take one.
    pub(crate) fn fails(&mut self) {
        (self.at, self.has_failed) = (None, true);
    }

    /// It is worth waiting.
    pub(crate) fn comes(&self, now: Time) -> bool {
        self.at
            .is_some_and(|at| now.since(at) < limits::ROOM_PATIENCE_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_while_files_do_and_nothing_fails() {
        let late = |at: Time| at.plus(limits::ROOM_PATIENCE_NS);
        let mut room = Room::default();
        assert!(!room.comes(Time(0)), "nothing was ever made");
        room.goes(Time(1));
        assert!(room.comes(Time(2)));
        assert!(!room.comes(late(Time(1))), "it takes too long");
        room.fails();
        room.goes(Time(3));
        assert!(!room.comes(Time(3)), "the same may fail again");
        room.made(Time(4));
        assert!(room.comes(Time(5)));
        room.goes(late(Time(4)));
        assert!(room.comes(late(Time(5))));
    }
}
