//! What is durable here, what is on its way to the disk, and which messages wait for it.
//!
//! - Requests are numbered; completing one completes all earlier ones.
//! - `durable` never exceeds the log's end. When the log is cut, every request in flight is cut too: a late
//!   completion for an overwritten entry acknowledges nothing.
//! - A withheld message leaves when the request that carries its term and vote has completed.

use core::hash::{Hash, Hasher};

use crate::effects::{Append, HardState, Made, Persist};
use crate::ids::{Index, NodeId, PersistSeq};
use crate::message::Message;
use crate::rare::Rare;
use crate::ring::Ring;

/// One replica's dealings with its disk.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Storage {
    durable: Index,
    /// First index to append with the next request; 0: none.
    append_from: Index,
    issued: PersistSeq,
    done: PersistSeq,
    /// The request that carries the present term and vote.
    hard_state_seq: PersistSeq,
    hard_state_dirty: bool,
    made: Rare<(Index, Made)>,
    withheld: Rare<(PersistSeq, NodeId, Message)>,
    in_flight: Ring<(PersistSeq, Index), 2>,
}

impl Hash for Storage {
    /// Numbers of requests count from the last one: how many came before does not matter.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ago = |seq: PersistSeq| self.issued.0 - seq.0.min(self.issued.0);
        (
            self.durable,
            self.append_from,
            ago(self.done),
            self.hard_state_dirty,
        )
            .hash(state);
        (ago(self.hard_state_seq).min(ago(self.done) + 1), &self.made).hash(state);
        for at in 0..self.in_flight.len() {
            self.in_flight
                .get(at)
                .map(|(seq, last)| (ago(*seq), last))
                .hash(state);
        }
        for (seq, to, message) in &self.withheld {
            (ago(*seq), to, message).hash(state);
        }
    }
}

impl Storage {
    /// Everything up to `last` was read back from the disk.
    pub(crate) fn restored(last: Index) -> Self {
        Self {
            durable: last,
            ..Self::default()
        }
    }

    /// The last index known to be durable.
    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    /// Term or vote changed. What waited for the old ones is obsolete.
    pub(crate) fn hard_state_changed(&mut self) {
        self.hard_state_dirty = true;
        self.withheld.clear();
    }

    /// The present term and vote are durable.
    pub(crate) fn holds_hard_state(&self) -> bool {
        !self.hard_state_dirty && self.hard_state_seq <= self.done
    }

    /// Entries were appended to the log from `first` on.
    pub(crate) fn appended(&mut self, first: Index) {
        if self.append_from == Index(0) || first < self.append_from {
            self.append_from = first;
        }
    }

    /// The core itself made the entry.
    pub(crate) fn made(&mut self, index: Index, made: Made) {
        self.made.push((index, made));
    }

    /// The log was cut: `from` and everything after it is gone.
    pub(crate) fn truncated(&mut self, from: Index) {
        let last = from.prev();
        self.durable = self.durable.min(last);
        self.cap(last);
        self.made.retain(|(index, _)| *index < from);
        if self.append_from >= from {
            self.append_from = Index(0);
        }
    }

    /// A snapshot that ends at `last` is durable and replaced the log up to there.
    pub(crate) fn installed(&mut self, last: Index) {
        self.durable = self.durable.max(last);
        if self.append_from <= last {
            self.append_from = Index(0);
        }
        self.made.retain(|(index, _)| *index > last);
    }

    fn cap(&mut self, last: Index) {
        for (_, upto) in self.in_flight.iter_mut() {
            *upto = (*upto).min(last);
        }
    }

    /// Keeps a message until the present term and vote are durable.
    pub(crate) fn withhold(&mut self, to: NodeId, message: Message) {
        let seq = if self.hard_state_dirty {
            PersistSeq(self.issued.0 + 1)
        } else {
            self.hard_state_seq
        };
        // One of a kind for each node: asking again and again does not pile up answers.
        let kind = core::mem::discriminant(&message.body);
        let same = |(_, node, old): &&mut (PersistSeq, NodeId, Message)| {
            *node == to && core::mem::discriminant(&old.body) == kind
        };
        match self.withheld.iter_mut().find(same) {
            Some(old) => *old = (seq, to, message),
            None => self.withheld.push((seq, to, message)),
        }
    }

    /// There is something to make durable.
    pub(crate) fn wants(&self) -> bool {
        self.hard_state_dirty || self.append_from > Index(0)
    }

    /// What is to be made durable since the last request: written into `into`, where it is to stand.
    #[inline]
    pub(crate) fn request(
        &mut self,
        hard_state: HardState,
        last: Index,
        into: &mut Option<Persist>,
    ) {
        self.issued.0 += 1;
        let seq = self.issued;
        let persist = into.insert(Persist {
            seq,
            hard_state: None,
            append: None,
        });
        if self.hard_state_dirty {
            persist.hard_state = Some(hard_state);
            self.hard_state_dirty = false;
            self.hard_state_seq = seq;
        }
        if self.append_from > Index(0) {
            persist.append = Some(Append {
                first: self.append_from,
                last,
                made: core::mem::take(&mut self.made),
            });
            self.append_from = Index(0);
            self.in_flight.push((seq, last));
        }
    }

    /// The request `seq` and all earlier ones are durable.
    #[inline]
    pub(crate) fn persisted(&mut self, seq: PersistSeq) {
        assert!(seq <= self.issued, "only what was asked for completes");
        self.done = self.done.max(seq);
        while let Some((_, upto)) = self.in_flight.front().copied().filter(|(at, _)| *at <= seq) {
            self.in_flight.pop();
            self.durable = self.durable.max(upto);
        }
    }

    /// Messages wait for the disk.
    #[inline]
    pub(crate) fn withholds(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// Hands out the messages whose request has completed.
    pub(crate) fn release(&mut self, send: &mut Vec<(NodeId, Message)>) {
        let done = self.done;
        self.withheld.edit(|withheld| {
            let released = withheld.extract_if(.., |(at, _, _)| *at <= done);
            send.extend(released.map(|(_, to, message)| (to, message)));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(storage: &mut Storage, first: u64, last: u64) -> PersistSeq {
        storage.appended(Index(first));
        let mut persist = None;
        storage.request(HardState::default(), Index(last), &mut persist);
        persist.expect("something to append").seq
    }

    #[test]
    fn a_late_completion_for_an_overwritten_entry_acknowledges_nothing() {
        let mut storage = Storage::restored(Index(2));
        let old = request(&mut storage, 3, 5);
        storage.truncated(Index(4));
        let new = request(&mut storage, 4, 6);
        storage.persisted(old);
        assert_eq!(storage.durable(), Index(3));
        storage.persisted(new);
        assert_eq!(storage.durable(), Index(6));
    }

    #[test]
    fn a_later_completion_implies_the_earlier_ones() {
        let mut storage = Storage::restored(Index(0));
        request(&mut storage, 1, 1);
        request(&mut storage, 2, 4);
        let last = request(&mut storage, 5, 5);
        storage.persisted(last);
        assert_eq!(storage.durable(), Index(5));
    }
}
