//! One byte of every region of every kind of file beside the log goes bad, one after the other: what is wrong is named,
//! and the replica comes back with what the others have.

use shard::setup::Keeping;
use wal::archive::{FileKind, Name};
use wal::device::memory::Crash;

use crate::images::{SMALL, add_many, numbers};
use crate::past::TINY;
use crate::world::{SECOND, Terms, World};

const TERMS: Terms = Terms {
    keeping: Keeping {
        image_bytes: 48 << 10,
        log_bytes: 128 << 10,
        ..SMALL.keeping
    },
    chapter: 8,
    segment_bytes: 128 << 10,
    ..SMALL
};
const BYTES: usize = 6_000;
const REGIONS: usize = 16;

/// The newest file of a kind that the third node has; of a kind of which it needs all, the oldest.
fn victim(world: &World, kind: FileKind) -> Name {
    let names = world.stores[2].names();
    let mut found = names
        .into_iter()
        .filter(|name| name.kind == kind && name.group == 0);
    let name = match kind {
        FileKind::Chapter => found.next(),
        _ => found.next_back(),
    };
    name.unwrap_or_else(|| panic!("there is a {kind:?}"))
}

#[test]
fn a_bad_byte_in_any_region_of_any_file_is_named_and_the_replica_comes_back() {
    let mut world = World::keeping(3, 1, TERMS, Some(TINY), None);
    world.elect();
    let mut next = 100;
    add_many(&mut world, 0..next, BYTES);
    world.settle(0);
    world.run_for(SECOND);
    for kind in FileKind::ALL {
        let mut named = 0;
        for region in 0..REGIONS {
            let what = format!("{kind:?}, region {region}");
            world.kill(3, Crash::Everything);
            let name = victim(&world, kind);
            assert!(world.stores[2].edit(name, |bytes| {
                let at = (region * bytes.len() + region) / REGIONS;
                bytes[at] ^= 1 << (region % 8);
            }));
            world.start(3);
            let faults = world.shard(3).faults();
            named += usize::from(faults.iter().any(|fault| fault.name == name));
            add_many(&mut world, next..next + 3, BYTES);
            next += 3;
            let found = numbers(&world.settle(0));
            assert_eq!(found, (0..next).collect::<Vec<u32>>(), "{what}");
            world.run_for(SECOND / 2);
        }
        // A sealed file's blocks are checked when they are read; its header and footer when it is found.
        let least = if kind == FileKind::Sealed { 1 } else { REGIONS };
        assert!(named >= least, "{kind:?}: {named} of {REGIONS} named");
    }
}
