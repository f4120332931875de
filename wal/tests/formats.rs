//! The worked example of docs/formats.md is what the log writes, byte by byte.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use wal::device::memory::MemoryDisk;
use wal::{Identity, Kind, Lsn, Options, Record, Wal};

const SEGMENT_BYTES: u64 = 64 << 10;
const BEGIN: &str = "<!-- the log, worked example: begin -->";
const END: &str = "<!-- the log, worked example: end -->";

/// The log of the example: opened once at time 1, one entry appended.
fn example() -> Vec<u8> {
    let identity = Identity {
        cluster: 0x11,
        node: 2,
        log: 3,
    };
    let disk = MemoryDisk::new(SEGMENT_BYTES, 0);
    let options = Options::small(identity, 4096);
    let (mut wal, _) = Wal::open(disk.device(), options, 1, &mut |_| {}).expect("a new log opens");
    let payload = b"hello, quorum";
    let record = Record {
        group: 4,
        index: 5,
        term: 6,
        kind: Kind::Entry,
        head: b"head",
        payload,
        payload_crc: crc32fast::hash(payload),
    };
    assert_eq!(wal.append(&record), Ok(Lsn(1)));
    assert_eq!(wal.submit(2), 1);
    assert_eq!(wal.poll(3).durable, Lsn(1));
    disk.image()[&0].clone()
}

/// Sixteen bytes a line, lines of zeros left out.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (nth, line) in bytes
        .chunks(16)
        .enumerate()
        .filter(|(_, line)| line.iter().any(|&byte| byte != 0))
    {
        write!(text, "{:05}", nth * 16).expect("a string takes all");
        for byte in line {
            write!(text, " {byte:02x}").expect("a string takes all");
        }
        text.push('\n');
    }
    text
}

/// The bytes named in the document, by offset.
fn documented(text: &str) -> BTreeMap<usize, u8> {
    let begin = text.find(BEGIN).expect("the document marks the example");
    let end = text.find(END).expect("the document marks the example");
    let mut bytes = BTreeMap::new();
    for line in text[begin..end].lines() {
        let hex = line.split("  ").next().unwrap_or_default();
        let mut words = hex.split(' ');
        let Some(offset) = words
            .next()
            .filter(|word| word.len() == 5)
            .and_then(|word| word.parse::<usize>().ok())
        else {
            continue;
        };
        let line = words.filter_map(|word| u8::from_str_radix(word, 16).ok());
        bytes.extend(
            line.enumerate()
                .map(|(nth, byte): (usize, u8)| (offset + nth, byte)),
        );
    }
    bytes
}

#[test]
fn the_worked_example_is_what_is_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats.md");
    let text = std::fs::read_to_string(path).expect("the document is part of the repository");
    let documented = documented(&text);
    let written = example();
    let expected: BTreeMap<usize, u8> = written
        .into_iter()
        .enumerate()
        .filter(|(_, byte)| *byte != 0)
        .collect();
    let documented_set: BTreeMap<usize, u8> = documented
        .into_iter()
        .filter(|(_, byte)| *byte != 0)
        .collect();
    assert!(
        documented_set == expected,
        "the log writes:\n{}",
        dump(&example())
    );
}
