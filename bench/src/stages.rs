//! Histograms of a run: the client's own, and those that the servers keep per stage.
//!
//! - Values are nanoseconds. Names are the servers'; the same name of several cores is one histogram.
//! - The frame's arrival and the six verbs of a turn are consecutive parts of a batch's life on its leader and must add up to
//!   `server.e2e`; every other name is shown and not added.
//!
//! A server's answer is a sequence of: length of the name (u16), name, length of the histogram (u32),
//! histogram in HdrHistogram's V2 encoding; integers little-endian.

use crate::error::ProtocolFault;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use std::collections::BTreeMap;

/// The parts of a batch's life on its leader, in order.
pub const CHAIN: [&str; 7] = [
    "arrive",
    "receive",
    "decide",
    "persist",
    "replicate",
    "apply",
    "reply",
];
/// From the first byte of a request to the last of its reply, on the leader.
pub const SERVER_E2E: &str = "server.e2e";
/// From the intended instant of a request to its reply, at the client.
pub const CLIENT_E2E: &str = "client.e2e";
/// From the instant a request could have left to the instant it did, at the client.
pub const CLIENT_LAG: &str = "client.lag";
/// Lateness of a timer that should fire each millisecond.
pub const HICCUP: &str = "hiccup";

/// Most names in one answer.
const NAMES_MAX: usize = 1024;
/// Longest latency recorded; longer ones count as this.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// An empty histogram for latencies up to an hour, three digits exact.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are valid")
}

/// Histograms by name.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    by_name: BTreeMap<String, Histogram<u64>>,
}

impl Stages {
    /// Reads a server's answer.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, ProtocolFault> {
        let mut stages = Self::default();
        for _ in 0..NAMES_MAX {
            if bytes.is_empty() {
                return Ok(stages);
            }
            let name_len = u16::from_le_bytes(*take(&mut bytes)?);
            let name = take_slice(&mut bytes, usize::from(name_len))?;
            let name = str::from_utf8(name).map_err(|_| ProtocolFault::Histograms)?;
            let len = u32::from_le_bytes(*take(&mut bytes)?);
            let mut encoded = take_slice(&mut bytes, len as usize)?;
            let histogram = Deserializer::new()
                .deserialize(&mut encoded)
                .map_err(|_| ProtocolFault::Histograms)?;
            stages.add(name, &histogram);
        }
        Err(ProtocolFault::Histograms)
    }

    /// Adds a histogram to the one of this name.
    pub fn add(&mut self, name: &str, histogram: &Histogram<u64>) {
        let merged = self.by_name.entry(name.to_owned()).or_insert_with(|| {
            let mut empty = Histogram::new_from(histogram);
            empty.auto(true);
            empty
        });
        merged.add(histogram).expect("it resizes as needed");
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Stages) {
        for (name, histogram) in &other.by_name {
            self.add(name, histogram);
        }
    }

    /// What was recorded since `earlier` was taken from the same servers. A server that has restarted
    /// in between has fewer values than before: then its histogram is left as it is.
    pub fn since(mut self, earlier: &Stages) -> Stages {
        for (name, histogram) in &mut self.by_name {
            if let Some(before) = earlier.by_name.get(name) {
                let mut rest = histogram.clone();
                if rest.subtract(before).is_ok() {
                    *histogram = rest;
                }
            }
        }
        self.by_name.retain(|_, histogram| !histogram.is_empty());
        self
    }

    /// The histogram of this name.
    pub fn get(&self, name: &str) -> Option<&Histogram<u64>> {
        self.by_name.get(name)
    }

    /// All of them: the chain in its order, then the others by name.
    pub fn ordered(&self) -> impl Iterator<Item = (&str, &Histogram<u64>)> {
        let chain = CHAIN
            .iter()
            .filter_map(|name| Some((*name, self.by_name.get(*name)?)));
        let others = self
            .by_name
            .iter()
            .map(|(name, histogram)| (name.as_str(), histogram));
        chain.chain(others.filter(|(name, _)| !CHAIN.contains(name)))
    }

    /// Share of `server.e2e` that no stage of the chain accounts for, in percent; negative where stages
    /// overlap. `None` without both.
    pub fn unaccounted_pct(&self) -> Option<f64> {
        let total = sum(self.get(SERVER_E2E)?);
        let parts: Vec<f64> = CHAIN
            .iter()
            .filter_map(|name| self.get(name))
            .map(sum)
            .collect();
        (total > 0.0 && !parts.is_empty())
            .then(|| (1.0 - parts.iter().sum::<f64>() / total) * 100.0)
    }
}

/// Sum of all values, as near as the buckets tell.
pub fn sum(histogram: &Histogram<u64>) -> f64 {
    histogram.mean() * histogram.len() as f64
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], ProtocolFault> {
    let (head, rest) = bytes.split_first_chunk().ok_or(ProtocolFault::Histograms)?;
    *bytes = rest;
    Ok(head)
}

fn take_slice<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], ProtocolFault> {
    let (head, rest) = bytes
        .split_at_checked(len)
        .ok_or(ProtocolFault::Histograms)?;
    *bytes = rest;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2Serializer};

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("valid");
        for &value in values {
            histogram.record(value).expect("in bounds");
        }
        histogram
    }

    fn answer(stages: &[(&str, &[u64])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, values) in stages {
            let mut encoded = Vec::new();
            V2Serializer::new()
                .serialize(&histogram(values), &mut encoded)
                .expect("to memory");
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((encoded.len() as u32).to_le_bytes());
            bytes.extend(encoded);
        }
        bytes
    }

    #[test]
    fn cores_merge_and_the_past_is_taken_out() {
        let early = Stages::parse(&answer(&[("persist", &[100])])).expect("valid");
        let mut late =
            Stages::parse(&answer(&[("persist", &[100, 200]), ("apply", &[50])])).expect("valid");
        late.merge(&Stages::parse(&answer(&[("persist", &[300])])).expect("valid"));
        let window = late.since(&early);
        assert_eq!(window.get("persist").map(|h| h.len()), Some(2));
        let names: Vec<&str> = window.ordered().map(|(name, _)| name).collect();
        assert_eq!(names, ["persist", "apply"], "the order of the chain");
    }

    #[test]
    fn what_no_stage_explains_is_told() {
        let stages = answer(&[
            ("persist", &[600]),
            ("apply", &[300]),
            (SERVER_E2E, &[1000]),
            ("wal.queue", &[99]),
        ]);
        let unaccounted = Stages::parse(&stages)
            .expect("valid")
            .unaccounted_pct()
            .expect("both are there");
        assert!((9.0..11.0).contains(&unaccounted), "{unaccounted}");
        assert_eq!(Stages::default().unaccounted_pct(), None);
    }

    #[test]
    fn a_damaged_answer_is_an_error() {
        let whole = answer(&[("persist", &[100, 200])]);
        for len in 1..whole.len() {
            assert!(Stages::parse(&whole[..len]).is_err(), "cut at {len}");
        }
        for at in (0..whole.len()).step_by(5) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x80;
            // Any answer will do, as long as it is one.
            let _ = Stages::parse(&damaged);
        }
    }
}
