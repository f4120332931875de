//! Neighbouring sealed files become one: what small files in the object store are joined with.
//!
//! - The result is the file that sealing all their entries at once would have made: any node makes the same bytes.
//! - Files that are damaged, or are no neighbours, are left as they are.

use std::sync::Arc;

use sealed::{Join, SegmentReader, SegmentSpec};

use crate::past::History;

/// Bytes that are joined at a time.
const BUDGET_BYTES: usize = 8 << 20;

/// These files as one, in the shape that is kept here; nothing when they cannot be.
#[must_use]
pub fn weld(files: &[Arc<Vec<u8>>], shape: &History) -> Option<Vec<u8>> {
    let open = |file: &Arc<Vec<u8>>| SegmentReader::open(file.to_vec()).ok().map(Arc::new);
    let segments: Vec<_> = files.iter().map(open).collect::<Option<_>>()?;
    let of = segments.first()?.spec();
    let mut spec = SegmentSpec::new(of.cluster, of.group);
    spec.codec = shape.codec;
    let mut join = Join::new(&segments, spec).ok()?;
    let mut out = Vec::new();
    while !join.step(BUDGET_BYTES, &mut out).ok()? {}
    Some(out)
}

#[cfg(test)]
mod tests {
    use sealed::{Codec, Entry, SegmentWriter, Taken};

    use super::*;

    fn seal(group: u64, indexes: std::ops::RangeInclusive<u64>, codec: Codec) -> Vec<u8> {
        let mut spec = SegmentSpec::new(9, group);
        spec.codec = codec;
        let mut writer = SegmentWriter::new(spec, *indexes.start()).expect("sound settings");
        let mut file = Vec::new();
        for index in indexes {
            let payload: Vec<u8> = (0..2_048).map(|at| (at / 128 * index) as u8).collect();
            let entry = Entry {
                index,
                term: 1 + index / 30,
                time: index * 10,
                head: &[3; 48],
                payload_crc: crc32fast::hash(&payload),
                payload: &payload,
            };
            while writer.append(&entry, 1 << 16, &mut file).expect("sound") != Taken::Whole {}
        }
        while !writer.finish(1 << 16, &mut file).expect("it has entries") {}
        file
    }

    fn shape(codec: Codec) -> History {
        History {
            codec,
            ..History::of(9)
        }
    }

    fn joined(files: &[Vec<u8>], codec: Codec) -> Option<Vec<u8>> {
        let files: Vec<_> = files.iter().cloned().map(Arc::new).collect();
        weld(&files, &shape(codec))
    }

    #[test]
    fn neighbours_become_the_file_that_sealing_all_of_it_would_have_made() {
        for codec in [Codec::Plain, Codec::Lz4, Codec::Zstd(1)] {
            let parts = [
                seal(4, 1..=40, codec),
                seal(4, 41..=41, codec),
                seal(4, 42..=99, codec),
            ];
            assert_eq!(joined(&parts, codec), Some(seal(4, 1..=99, codec)));
        }
        // What was sealed with other compression takes this node's.
        let parts = [seal(4, 5..=9, Codec::Plain), seal(4, 10..=20, Codec::Lz4)];
        assert_eq!(
            joined(&parts, Codec::Zstd(3)),
            Some(seal(4, 5..=20, Codec::Zstd(3)))
        );
    }

    #[test]
    fn what_is_damaged_or_no_neighbour_is_not_joined() {
        let codec = Codec::Lz4;
        let (one, two) = (seal(4, 1..=9, codec), seal(4, 10..=40, codec));
        assert_eq!(joined(&[], codec), None);
        assert_eq!(
            joined(&[one.clone(), seal(4, 11..=40, codec)], codec),
            None,
            "a gap"
        );
        assert_eq!(
            joined(&[two.clone(), one.clone()], codec),
            None,
            "out of order"
        );
        assert_eq!(
            joined(&[one.clone(), seal(5, 10..=40, codec)], codec),
            None,
            "another's"
        );
        assert_eq!(joined(&[one.clone(), b"no file".to_vec()], codec), None);
        for place in [20, two.len() / 2, two.len() - 20] {
            let mut bad = two.clone();
            bad[place] ^= 4;
            assert_eq!(joined(&[one.clone(), bad], codec), None, "byte {place}");
        }
        assert!(joined(&[one, two], codec).is_some());
    }
}
