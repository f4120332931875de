//! What one load thread has counted and timed in the measured window.
//!
//! - Recorded per request, merged once at the end; no other thread looks at it meanwhile.

use crate::stages::latencies;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Most departures whose gaps are kept for the test of the arrival process.
const GAPS_MAX: usize = 20_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Requests that leave later than this, by the generator's own fault, are late.
const LATE_NS: u64 = 1_000_000;

/// The instants of a run, in nanoseconds of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// The load begins.
    pub(crate) begin: u64,
    /// The measured window begins.
    pub(crate) open: u64,
    /// It ends; no request leaves from here on.
    pub(crate) close: u64,
    /// Replies that are not here by then will not be waited for.
    pub(crate) give_up: u64,
}

impl Timeline {
    /// Whether the instant lies in the measured window.
    pub(crate) fn measures(&self, instant: u64) -> bool {
        (self.open..self.close).contains(&instant)
    }

    fn second_of(&self, instant: u64) -> usize {
        ((instant - self.open) / SECOND_NS) as usize
    }

    fn seconds(&self) -> usize {
        (self.close - self.open).div_ceil(SECOND_NS) as usize
    }
}

/// How a request came to leave when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    /// When it was meant to leave.
    pub(crate) intended: u64,
    /// When it could: the same, or later where every window was full.
    pub(crate) ready: u64,
}

/// Counts and times of one load thread.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    timeline: Timeline,
    /// From intended instant to reply, of requests meant for the window.
    pub(crate) e2e: Histogram<u64>,
    /// The part of it that the server did not have the request: from departure to reply, less the server's time.
    pub(crate) outside: Histogram<u64>,
    /// From `ready` to departure.
    pub(crate) lag: Histogram<u64>,
    /// `e2e` by second of reply, where an interval log is wanted.
    pub(crate) intervals: Vec<Histogram<u64>>,
    /// Transfers acknowledged in each second of the window.
    pub(crate) by_second: Vec<u64>,
    /// Transfers acknowledged in the window.
    pub(crate) accepted: u64,
    /// Requests answered in the window.
    pub(crate) requests: u64,
    /// Transfers refused in the window, by the ledger's status.
    pub(crate) refused: BTreeMap<u32, u64>,
    /// Transfers of whole requests refused, by the request's status.
    pub(crate) refused_requests: BTreeMap<u8, u64>,
    /// Requests that left for the window.
    pub(crate) departed: u64,
    /// Of these, those that were late by the generator's own fault.
    pub(crate) late: u64,
    /// Of these, those that had to wait for a free place in a window.
    pub(crate) held: u64,
    /// Requests of the schedule that never left.
    pub(crate) dropped: u64,
    /// Gaps between departures, the first ones of the window.
    pub(crate) gaps: Vec<u64>,
    last_departure: Option<u64>,
    /// Replies that said "busy" or "not available".
    pub(crate) busy: u64,
    /// Replies that named another leader or core.
    pub(crate) not_leader: u64,
    /// Connections made again.
    pub(crate) reconnects: u64,
}

impl Tally {
    /// Nothing yet. `intervals`: whether to keep a histogram per second.
    pub(crate) fn new(timeline: Timeline, intervals: bool) -> Self {
        let seconds = timeline.seconds();
        Self {
            timeline,
            e2e: latencies(),
            outside: latencies(),
            lag: latencies(),
            intervals: if intervals {
                vec![latencies(); seconds]
            } else {
                Vec::new()
            },
            by_second: vec![0; seconds],
            accepted: 0,
            requests: 0,
            refused: BTreeMap::new(),
            refused_requests: BTreeMap::new(),
            departed: 0,
            late: 0,
            held: 0,
            dropped: 0,
            gaps: Vec::new(),
            last_departure: None,
            busy: 0,
            not_leader: 0,
            reconnects: 0,
        }
    }

    /// The window it counts in.
    pub(crate) fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// A request leaves for the first time.
    pub(crate) fn departs(&mut self, departure: Departure, at: u64) {
        if !self.timeline.measures(departure.intended) {
            return;
        }
        let lag = at.saturating_sub(departure.ready);
        self.lag.saturating_record(lag.max(1));
        self.departed += 1;
        self.late += u64::from(lag > LATE_NS);
        self.held += u64::from(departure.ready > departure.intended);
        if let Some(last) = self.last_departure
            && self.gaps.len() < GAPS_MAX
        {
            self.gaps.push(at - last);
        }
        self.last_departure = Some(at);
    }

    /// A request is answered for good. `server_ns`: how long the server had it.
    pub(crate) fn answered(&mut self, departure: Departure, left: u64, at: u64, server_ns: u64) {
        if self.timeline.measures(departure.intended) {
            let e2e = at.saturating_sub(departure.intended).max(1);
            self.e2e.saturating_record(e2e);
            let outside = at.saturating_sub(left).saturating_sub(server_ns);
            self.outside.saturating_record(outside.max(1));
            if !self.intervals.is_empty() {
                let second = self.timeline.second_of(departure.intended);
                self.intervals[second].saturating_record(e2e);
            }
        }
        self.requests += u64::from(self.timeline.measures(at));
    }

    /// Transfers were acknowledged.
    pub(crate) fn accepts(&mut self, transfers: u64, at: u64) {
        if self.timeline.measures(at) {
            self.accepted += transfers;
            self.by_second[self.timeline.second_of(at)] += transfers;
        }
    }

    /// The ledger refused a transfer.
    pub(crate) fn refuses(&mut self, status: u32, at: u64) {
        if self.timeline.measures(at) {
            *self.refused.entry(status).or_default() += 1;
        }
    }

    /// A request was refused with all its transfers.
    pub(crate) fn refuses_request(&mut self, status: u8, transfers: u64, at: u64) {
        if self.timeline.measures(at) {
            *self.refused_requests.entry(status).or_default() += transfers;
        }
    }

    /// Adds what another thread has counted in the same window.
    pub(crate) fn merge(&mut self, other: Tally) {
        const SAME: &str = "all histograms have the same bounds";
        self.e2e.add(&other.e2e).expect(SAME);
        self.outside.add(&other.outside).expect(SAME);
        self.lag.add(&other.lag).expect(SAME);
        for (mine, theirs) in self.intervals.iter_mut().zip(&other.intervals) {
            mine.add(theirs).expect(SAME);
        }
        for (mine, theirs) in self.by_second.iter_mut().zip(&other.by_second) {
            *mine += theirs;
        }
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        for (status, count) in other.refused_requests {
            *self.refused_requests.entry(status).or_default() += count;
        }
        self.accepted += other.accepted;
        self.requests += other.requests;
        self.departed += other.departed;
        self.late += other.late;
        self.held += other.held;
        self.dropped += other.dropped;
        // Gaps of several threads are each exponential with the thread's own mean.
        self.gaps.extend(other.gaps);
        self.busy += other.busy;
        self.not_leader += other.not_leader;
        self.reconnects += other.reconnects;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMELINE: Timeline = Timeline {
        begin: 0,
        open: SECOND_NS,
        close: 3 * SECOND_NS,
        give_up: 4 * SECOND_NS,
    };

    fn meant(intended: u64) -> Departure {
        Departure {
            intended,
            ready: intended,
        }
    }

    #[test]
    fn latency_counts_from_the_intended_instant_and_only_in_the_window() {
        let mut tally = Tally::new(TIMELINE, true);
        for intended in [SECOND_NS - 1, SECOND_NS, 3 * SECOND_NS - 1, 3 * SECOND_NS] {
            let left = intended + 2 * LATE_NS;
            tally.departs(meant(intended), left);
            tally.answered(meant(intended), left, left + 1000, 400);
            tally.accepts(10, left + 1000);
        }
        assert_eq!(
            (tally.departed, tally.late, tally.held, tally.e2e.len()),
            (2, 2, 0, 2)
        );
        assert!(tally.e2e.min() >= 2 * LATE_NS && tally.outside.max() <= 600);
        assert_eq!(
            (tally.accepted, tally.requests),
            (20, 2),
            "by the instant of the reply"
        );
        assert_eq!(tally.by_second, [20, 0]);
        assert_eq!(
            tally
                .intervals
                .iter()
                .map(Histogram::len)
                .collect::<Vec<_>>(),
            [1, 1]
        );
    }

    #[test]
    fn a_request_held_back_by_full_windows_is_not_late() {
        let mut tally = Tally::new(TIMELINE, false);
        let departure = Departure {
            intended: SECOND_NS,
            ready: 2 * SECOND_NS,
        };
        tally.departs(departure, 2 * SECOND_NS + 5);
        tally.answered(departure, 2 * SECOND_NS + 5, 2 * SECOND_NS + 10, 0);
        assert_eq!((tally.late, tally.held), (0, 1));
        assert!(tally.e2e.max() >= SECOND_NS, "the wait counts all the same");
    }

    #[test]
    fn threads_add_up() {
        let mut one = Tally::new(TIMELINE, true);
        one.accepts(5, SECOND_NS);
        one.refuses(46, SECOND_NS);
        let mut other = one.clone();
        other.refuses_request(7, 100, SECOND_NS);
        one.merge(other);
        assert_eq!(
            (one.accepted, one.refused[&46], one.refused_requests[&7]),
            (10, 2, 100)
        );
        assert_eq!(one.by_second, [10, 0]);
    }
}
