//! The interval log: histograms as text lines that HdrHistogram's tools read in any language.
//!
//! - One line per interval and tag; the tag is the name of the stage. The maximum column is in milliseconds.
//! - Servers' stages are one interval, the whole window; the client's are one per second.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use std::io;
use std::time::{Duration, SystemTime};

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Name of the stage.
    pub stage: String,
    /// From the start of the log to that of the interval.
    pub start: Duration,
    /// Length of the interval.
    pub length: Duration,
    /// What was recorded, in nanoseconds.
    pub histogram: Histogram<u64>,
}

/// Writes the log.
pub fn write(
    out: &mut impl io::Write,
    started: SystemTime,
    intervals: &[Interval],
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("quorate bench: nanoseconds; the column of maxima is in milliseconds");
    builder
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(1e6);
    let mut log = builder.begin_log_with(out, &mut serializer)?;
    for interval in intervals {
        // A tag is a word without commas and blanks; stages are named so.
        let tag = Tag::new(&interval.stage);
        let written =
            log.write_histogram(&interval.histogram, interval.start, interval.length, tag);
        written.map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::stages::latencies;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn what_is_written_is_read() {
        let mut histogram = latencies();
        histogram.record_n(1_500_000, 1000).expect("in bounds");
        let interval = |stage: &str, second| Interval {
            stage: stage.to_owned(),
            start: Duration::from_secs(second),
            length: Duration::from_secs(1),
            histogram: histogram.clone(),
        };
        let mut bytes = Vec::new();
        let intervals = [
            interval("client.e2e", 0),
            interval("client.e2e", 1),
            interval("persist", 0),
        ];
        write(&mut bytes, Clock::start().started(), &intervals).expect("to memory");
        let text = str::from_utf8(&bytes).expect("a text");
        assert!(
            text.lines()
                .any(|line| line.starts_with("Tag=persist,0.000,1.000,1.5")),
            "{text}"
        );
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(line) = entry.expect("well-formed") {
                tags.push(line.tag().expect("each has one").as_str().to_owned());
                let encoded = base64(line.encoded_histogram());
                let read: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut encoded.as_slice())
                    .expect("a histogram");
                assert_eq!(read.len(), 1000);
            }
        }
        assert_eq!(tags, ["client.e2e", "client.e2e", "persist"]);
    }

    fn base64(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => Some(byte - b'A'),
            b'a'..=b'z' => Some(byte - b'a' + 26),
            b'0'..=b'9' => Some(byte - b'0' + 52),
            b'+' => Some(62),
            b'/' => Some(63),
            _ => None,
        };
        let sixes: Vec<u8> = text.bytes().filter_map(value).collect();
        let mut bytes = Vec::new();
        for four in sixes.chunks(4) {
            let word = four
                .iter()
                .fold(0u32, |word, &six| (word << 6) | u32::from(six))
                << (6 * (4 - four.len()));
            bytes.extend_from_slice(&word.to_be_bytes()[1..four.len()]);
        }
        bytes
    }
}
