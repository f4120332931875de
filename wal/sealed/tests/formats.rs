//! The worked examples of docs/formats-sealed.md are what is written, byte by byte.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use sealed::{Codec, OwnedEntry, SegmentSpec};

use crate::support::segment_file;

/// Two entries of two terms, not compressed.
fn segment() -> Vec<u8> {
    let entry = |index: u64, payload: &[u8]| OwnedEntry {
        index,
        term: index - 4,
        time: 0x1000 + index,
        head: b"head".to_vec(),
        payload_crc: crc32fast::hash(payload),
        payload: payload.to_vec(),
    };
    let spec = SegmentSpec {
        codec: Codec::Plain,
        key_ids: vec![0xEE],
        ..SegmentSpec::new(0x11, 4)
    };
    segment_file(&spec, &[entry(5, b"hello, quorum"), entry(6, b"")], 1 << 20)
}

/// Sixteen bytes a line, lines of zeros left out.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (nth, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|&byte| byte != 0) {
            write!(text, "{:05}", nth * 16).expect("a string takes all");
            for byte in line {
                write!(text, " {byte:02x}").expect("a string takes all");
            }
            text.push('\n');
        }
    }
    text
}

/// The bytes named between two marks of the document, by offset.
fn documented(text: &str, example: &str) -> BTreeMap<usize, u8> {
    let mark = |end: &str| format!("<!-- {example}, worked example: {end} -->");
    let begin = text
        .find(&mark("begin"))
        .expect("the document marks the example");
    let end = text
        .find(&mark("end"))
        .expect("the document marks the example");
    let mut bytes = BTreeMap::new();
    for line in text[begin..end].lines() {
        let hex = line.split("  ").next().unwrap_or_default();
        let mut words = hex.split(' ');
        let offset = words.next().filter(|word| word.len() == 5);
        if let Some(offset) = offset.and_then(|word| word.parse::<usize>().ok()) {
            let line = words.filter_map(|word| u8::from_str_radix(word, 16).ok());
            bytes.extend(line.enumerate().map(|(nth, byte)| (offset + nth, byte)));
        }
    }
    bytes
}

fn check(example: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats-sealed.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let documented = documented(&text, example);
    let mut said = vec![0; bytes.len()];
    for (offset, byte) in documented {
        assert!(offset < said.len(), "{example}: {offset} is behind the end");
        said[offset] = byte;
    }
    assert!(
        said == bytes,
        "{example}: the document differs from these {} bytes:\n{}",
        bytes.len(),
        dump(bytes)
    );
}

#[test]
fn the_examples_of_the_document_are_what_is_written() {
    check("a segment", &segment());
}

/// What no document can show byte by byte: compressed files are the same for ever, or replicas would differ.
#[test]
fn compressed_files_are_the_same_bytes_as_ever() {
    let entries = crate::support::entries(99, 1, 40);
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
    let segment = |codec| {
        let spec = crate::support::segment_spec(codec, true, 16 << 10);
        hash(&segment_file(&spec, &entries, 1 << 20))
    };
    let found = [
        segment(Codec::Plain),
        segment(Codec::Lz4),
        segment(Codec::Zstd(1)),
        segment(Codec::Zstd(9)),
    ];
    assert_eq!(found, GOLDEN);
}

/// A change here is a new format, or a compressor that writes other bytes: see decision 21.
const GOLDEN: [&str; 4] = [
    "5435d4db7188d533",
    "3c38d8a9e6936fa0",
    "eec82a1fda467e18",
    "23cb96fc3c5ddc26",
];
