//! Bytes of any kind, and sound objects and manifests changed anywhere behind right checksums: no reader panics.

use cold::check;
use cold::key::{DataKey, WrappedKey};
use cold::manifest::{Manifest, Retention, Stored};
use cold::object::Encoder;
use proptest::prelude::*;

use crate::driving::{GROUP, file};

const KEY: DataKey = DataKey([0x5a; 32]);

fn object(nth: u64, bytes: usize, is_secret: bool) -> Vec<u8> {
    let (segment, content) = file(nth, bytes);
    let wrapped = WrappedKey(vec![9; 40]);
    let mut encoder = Encoder::new(&segment, is_secret.then_some((&KEY, &wrapped)));
    while !encoder.step(&content, 1 << 20) {}
    encoder.finish().concat()
}

/// An edit and a snapshot of a manifest with some segments.
fn texts(count: u64) -> [Vec<u8>; 2] {
    let mut manifest = Manifest::empty(GROUP);
    for nth in 0..count {
        let (segment, _) = file(nth, 10);
        let retention = [
            Retention::Keep,
            Retention::Until(nth),
            Retention::Locked(nth),
        ];
        let retention = retention[nth as usize % 3];
        manifest.put(Stored { segment, retention }).expect("apart");
    }
    manifest.number = 3;
    let (segment, _) = file(count, 10);
    let put = Stored {
        segment,
        retention: Retention::Keep,
    };
    [
        manifest.edit(Some(put), vec![1, 11]).encode(),
        manifest.encode(),
    ]
}

fn changes() -> impl Strategy<Value = Vec<(u32, u8)>> {
    let byte = prop_oneof![any::<u8>(), Just(0), Just(b'0'), Just(b'9'), Just(0xFF)];
    prop::collection::vec((any::<u32>(), byte), 1..6)
}

fn change(bytes: &mut [u8], changes: &[(u32, u8)]) {
    for (at, byte) in changes {
        // Half of the changes go to the first bytes, where heads are.
        let span = if at % 2 == 0 {
            bytes.len()
        } else {
            bytes.len().min(90)
        };
        bytes[(*at as usize / 2) % span] = *byte;
    }
}

fn ask(bytes: &[u8]) {
    for number in [0, 3, 4, u64::MAX] {
        check::manifest(bytes, GROUP, number);
    }
    check::object(bytes, 1_000, None);
    check::object(bytes, 70_000, Some(&KEY));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_of_any_kind_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
        ask(&bytes);
        check::reseal_object(&mut bytes);
        ask(&bytes);
        check::reseal_text(&mut bytes);
        ask(&bytes);
    }

    #[test]
    fn sound_objects_changed_anywhere(
        secret in any::<bool>(), bytes in 0_usize..140_000, changes in changes(),
    ) {
        let mut object = object(1, bytes, secret);
        ask(&object);
        change(&mut object, &changes);
        ask(&object);
        check::reseal_object(&mut object);
        ask(&object);
    }

    #[test]
    fn sound_manifests_changed_anywhere(count in 0_u64..9, nth in 0_usize..2, changes in changes()) {
        let mut text = texts(count)[nth].clone();
        ask(&text);
        change(&mut text, &changes);
        ask(&text);
        check::reseal_text(&mut text);
        ask(&text);
    }
}
