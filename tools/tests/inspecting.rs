//! Sealed files, sound and damaged, as `quorate inspect` tells of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealed::{Entry, SegmentReader, SegmentSpec, SegmentWriter, Taken};
use serde_json::Value;

/// Runs `quorate inspect`; answers its exit code and what it printed.
fn inspect(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .arg("inspect")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built with this test");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("the binary writes text");
    (output.status.code(), text)
}

fn json(arguments: &[&str]) -> Value {
    let (_, text) = inspect(&[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&text).expect("one JSON document")
}

/// Entries 100 to 399 of group 7, in more than one block.
fn segment() -> Vec<u8> {
    let mut writer = SegmentWriter::new(SegmentSpec::new(0xC1, 7), 100).expect("sound settings");
    let mut file = Vec::new();
    for index in 100..400_u64 {
        let payload: Vec<u8> = (0..1_000).map(|byte| (byte * index) as u8).collect();
        let entry = Entry {
            index,
            term: 3 + index / 200,
            time: index * 1_000,
            head: &[1; 48],
            payload_crc: crc32fast::hash(&payload),
            payload: &payload,
        };
        let taken = writer.append(&entry, 1 << 20, &mut file);
        assert_eq!(taken, Ok(Taken::Whole));
    }
    while !writer.finish(1 << 20, &mut file).expect("it has entries") {}
    file
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a writable folder");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain letters")
}

#[test]
fn a_sound_segment_is_described() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "a", &segment());
    let (exit, told) = inspect(&["segment", text(&path)]);
    assert_eq!(exit, Some(0), "{told}");
    assert!(
        told.contains("group 7 of cluster c1, entries 100 to 399, terms 3 from 100, 4 from 200")
    );
    let document = json(&["segment", text(&path)]);
    assert_eq!(document["kind"], "segment");
    assert_eq!(document["intact"], true);
    assert_eq!(document["content"]["last"], 399);
}

#[test]
fn damaged_blocks_are_all_named_with_place_group_entries_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = segment();
    let sound = SegmentReader::open(&bytes[..]).expect("sound");
    let place = |block: u32| {
        let stored = sound.block_bytes(block).expect("a block");
        stored.as_ptr() as usize - bytes.as_ptr() as usize
    };
    let places = [place(1), place(3)];
    for place in places {
        bytes[place + 80] ^= 4;
    }
    let path = write(folder.path(), "a", &bytes);
    let (exit, told) = inspect(&["segment", text(&path)]);
    assert_eq!(exit, Some(3), "{told}");
    for (place, block) in places.iter().zip([1, 3]) {
        let named = format!("DAMAGE block {block} at byte {place}");
        assert!(told.contains(&named), "{told}");
    }
    assert!(
        told.contains("its checksum does not match; group 7, entries 1"),
        "{told}"
    );
    assert!(
        told.contains("fix: fetch the file from a replica"),
        "{told}"
    );
    let document = json(&["segment", text(&path)]);
    let damage = document["damage"].as_array().expect("a list");
    assert_eq!(
        (damage.len(), &damage[1]["offset"]),
        (2, &Value::from(places[1]))
    );
    assert_eq!(damage[0]["group"], 7);
}

#[test]
fn files_without_their_ends_are_told_as_far_as_they_name_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = segment();
    let cut = write(folder.path(), "cut", &bytes[..bytes.len() - 100]);
    let (exit, told) = inspect(&["segment", text(&cut)]);
    assert_eq!(exit, Some(3), "{told}");
    assert!(told.contains("group 7, entries 100 to ?"), "{told}");
    let mut headless = bytes;
    headless[3] ^= 1;
    let headless = write(folder.path(), "headless", &headless);
    let (exit, told) = inspect(&["segment", text(&headless)]);
    assert_eq!(exit, Some(3), "{told}");
    assert!(told.contains("DAMAGE the header at byte 0"), "{told}");
    let other = write(folder.path(), "other", b"neither");
    let (exit, told) = inspect(&["segment", text(&other)]);
    assert!(exit == Some(1) && told.contains("E3013"), "{told}");
    let (exit, told) = inspect(&["segment", "/nowhere/at/all"]);
    assert!(exit == Some(1) && told.contains("E3012"), "{told}");
}

#[test]
fn the_sealed_files_below_a_folder_are_found_and_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("core-0").join("sealed");
    fs::create_dir_all(&deep).expect("a writable folder");
    write(&deep, "a", &segment());
    write(folder.path(), "b", &segment());
    write(folder.path(), "notes", b"something else");
    let (exit, told) = inspect(&["integrity", text(folder.path())]);
    assert_eq!(exit, Some(0), "{told}");
    assert!(
        told.contains("2 sealed files") && told.contains("1 files of other kinds"),
        "{told}"
    );
    let mut damaged = segment();
    let sound = SegmentReader::open(&damaged[..]).expect("sound");
    let stored = sound.block_bytes(1).expect("a block");
    let place = stored.as_ptr() as usize - damaged.as_ptr() as usize;
    damaged[place + 80] ^= 1;
    let damaged = write(&deep, "c", &damaged);
    let (exit, told) = inspect(&["integrity", text(folder.path())]);
    assert_eq!(exit, Some(3), "{told}");
    assert!(
        told.contains(text(&damaged)) && told.contains(&format!("DAMAGE block 1 at byte {place}")),
        "{told}"
    );
    let document = json(&["integrity", text(folder.path())]);
    assert_eq!(document["intact"], false);
    assert_eq!(document["damaged"][0]["damage"][0]["group"], 7);
}
