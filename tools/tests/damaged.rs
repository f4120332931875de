//! A real node's folder, damaged in every way that has a name: `quorate inspect` tells file, place, group, entries and
//! what to do.
//!
//! - One process writes the folder: two cores, a group on each, with images, sealed files and a log in several segments.
//! - Each case damages a copy of it; nothing else is changed, and the copy is told whole before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use engine::clock::SystemClock;
use engine::{Client, GroupId, Layout, NodeAddress};
use ledger::account::Account;
use ledger::instruction::operation;
use serde_json::Value;
use wal::Kind;
use wal::archive::{FileKind, Name};
use wal::inspect::{self, FileStatus};
use zerocopy::IntoBytes;

use crate::ports::free_address;
use crate::processes::{Nodes, PATIENCE, client, quorate, transfers};

const CLUSTER: u64 = 5;

/// Formats the folder of a node that is alone, with two cores and two groups.
fn format(dir: &Path, cluster: u64) -> (Layout, String) {
    let address = free_address(2);
    let dir = dir.display().to_string();
    let (cluster_id, node) = (cluster.to_string(), format!("1={address}"));
    let mut flags = vec!["format", "--data-dir", &dir, "--cluster", &cluster_id];
    flags.extend([
        "--node", "1", "--nodes", &node, "--cores", "2", "--groups", "2",
    ]);
    flags.extend(["--segment", "4MiB", "--preallocate", "16MiB"]);
    let status = quorate(&flags).status();
    assert!(status.expect("the binary runs").success());
    let nodes = vec![NodeAddress { id: 1, address }];
    (Layout::new(cluster, nodes, 2, 2), dir)
}

/// Moves money in a group: so many transfers in one request.
fn write(client: &mut Client, group: u64, first: u128, count: u128) {
    let mut body = transfers(first, count);
    body.iter_mut()
        .for_each(|transfer| transfer.ledger = ((group + 1) as u32).into());
    let body = body.as_bytes().to_vec();
    let told = client.request(GroupId(group), operation::CREATE_TRANSFERS, body);
    told.expect("acknowledged in the end");
}

fn accounts(client: &mut Client, group: u64) {
    let account = |id: u128| Account {
        id: id.into(),
        ledger: ((group + 1) as u32).into(),
        code: 1.into(),
        ..Account::default()
    };
    let body = [account(1), account(2)].as_bytes().to_vec();
    let told = client.request(GroupId(group), operation::CREATE_ACCOUNTS, body);
    told.expect("acknowledged in the end");
}

/// The files of an archive of one kind, by name.
fn archived(dir: &Path, kind: FileKind) -> Vec<Name> {
    let entries = fs::read_dir(dir.join("core-000").join("archive"));
    let entries = entries.into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Name::parse(entry.file_name().to_str()?));
    let mut names: Vec<Name> = names.filter(|name| name.kind == kind).collect();
    names.sort_unstable();
    names
}

/// Runs a node until its folder holds everything that there is, and kills it.
fn written(base: &Path) -> PathBuf {
    let dir = base.join("written");
    let (layout, folder) = format(&dir, CLUSTER);
    let flags = [
        ["--keep-history", "1GiB"],
        ["--image-after", "2MiB"],
        ["--log-keep", "4MiB"],
        ["--log-max", "64MiB"],
    ];
    let mut nodes = Nodes::start(&[folder], "threads", &flags.concat());
    let mut client = client(&layout, 1);
    (0..2).for_each(|group| accounts(&mut client, group));
    let deadline = SystemClock.now().plus(PATIENCE.as_nanos() as u64);
    let mut next = 1;
    // Two sealed files, one image at least, and a log that has gone on beyond them.
    while archived(&dir, FileKind::Sealed).len() < 2
        || archived(&dir, FileKind::Manifest).is_empty()
    {
        assert!(SystemClock.now() < deadline, "nothing is sealed");
        write(&mut client, 0, next, 4_000);
        next += 4_000;
    }
    for nth in 0..40 {
        write(&mut client, 0, next + nth * 5, 5);
        write(&mut client, 1, 1 + nth * 5, 5);
    }
    nodes.kill();
    dir
}

/// A copy whose files are the same ones: a file is made anew before it is changed.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::hard_link(entry.path(), to).expect("one file system");
        }
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::remove_file(path).expect("it is there");
    fs::write(path, bytes).expect("written");
}

fn flip(path: &Path, offset: u64) {
    change(path, |bytes| bytes[offset as usize] ^= 0x40);
}

fn exchange(one: &Path, other: &Path) {
    let kept = one.with_extension("kept");
    fs::rename(one, &kept).expect("it is there");
    fs::rename(other, one).expect("it is there");
    fs::rename(&kept, other).expect("it is there");
}

fn told(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = quorate(arguments);
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let (exit, text) = told(&[arguments, &["--output", "json"]].concat());
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (exit, value)
}

/// The entries of a core's log that are whole: file, offset of the record, group, index, bytes of the payload.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: u32,
    offset: u64,
    index: u64,
    payload: u64,
}

struct Made {
    dir: PathBuf,
    entries: Vec<Place>,
    /// Files in use, in the order of their segments.
    used: Vec<PathBuf>,
}

impl Made {
    fn look(dir: PathBuf) -> Self {
        let core = dir.join("core-000");
        let mut entries = Vec::new();
        let opening = inspect::records(&core, &mut |found| {
            if found.record.kind == Kind::Entry {
                let head = found.record.head.len().next_multiple_of(8) as u64;
                entries.push(Place {
                    slot: found.slot,
                    offset: found.offset,
                    index: found.record.index,
                    payload: found.offset + 40 + head,
                });
            }
        });
        assert_eq!(opening.expect("a log").damage, []);
        let mut used: Vec<(u64, PathBuf)> = Vec::new();
        for file in inspect::files(&core).expect("files") {
            if let FileStatus::Sound { segment, .. } = file.status {
                used.push((segment, file.path));
            }
        }
        used.sort_unstable();
        let used = used.into_iter().map(|file| file.1).collect();
        Self { dir, entries, used }
    }

    /// Does the log still need the last three files in use? It is asked where no header passes, for then every block tells
    /// what is needed.
    fn is_needed(&self, base: &Path) -> bool {
        let Some(last_three) = self.used.len().checked_sub(3) else {
            return false;
        };
        let mut is_needed = false;
        with_copy(base, self, |made| {
            made.used.iter().for_each(|file| flip(file, 100));
            let dir = made.dir.display().to_string();
            let (_, text) = told(&["inspect", "wal", "--data-dir", &dir]);
            let is_told = |file: &PathBuf| {
                let said = format!("DAMAGE {}, offset 0, ", file.display());
                text.contains(&said)
            };
            is_needed = made.used[last_three..].iter().all(is_told);
        });
        is_needed
    }

    /// An entry that others of its file follow, in the file with this place among those in use.
    fn entry_in(&self, used: usize) -> Place {
        let name = self.used[used].file_name().expect("a name");
        let name = name.to_string_lossy().into_owned();
        let of_file = |place: &&Place| segment(place.slot) == name;
        let all: Vec<&Place> = self.entries.iter().filter(of_file).collect();
        *all[all.len() / 2]
    }

    /// The block that holds a record: its header is the nearest before it.
    fn block_of(&self, place: Place) -> u64 {
        let bytes = fs::read(self.log(place.slot)).expect("a file");
        let mut offset = place.offset & !4095;
        while bytes[offset as usize..][..4] != *b"QBLK" {
            offset -= 4096;
        }
        offset
    }

    fn log(&self, slot: u32) -> PathBuf {
        self.dir.join("core-000").join(segment(slot))
    }
}

fn segment(slot: u32) -> String {
    format!("segment-{slot:08}.log")
}

/// What is to be told of a damaged log.
struct Told {
    kind: &'static str,
    file: PathBuf,
    offset: u64,
    group: Option<u64>,
    /// First and last entry.
    entries: Option<(u64, u64)>,
}

fn check_wal(case: &str, dir: &Path, expected: &Told) {
    let dir = dir.display().to_string();
    let (exit, report) = json(&["inspect", "wal", "--data-dir", &dir, "--core", "0"]);
    assert_eq!(
        (exit, &report["intact"]),
        (Some(3), &Value::from(false)),
        "{case}: {report}"
    );
    let damage = report["cores"][0]["damage"].as_array().expect("a list");
    // A segment that is in no file.
    let is_nowhere = expected.file.as_os_str().is_empty();
    let file = match is_nowhere {
        true => "no file".to_owned(),
        false => expected.file.display().to_string(),
    };
    let is_it = |line: &&Value| {
        let (first, last) = expected.entries.unzip();
        line["kind"] == expected.kind
            && line["file"].as_str().unwrap_or("no file") == file
            && line["offset"] == expected.offset
            && line["group"].as_u64() == expected.group
            && line["first_index"].as_u64() == first
            && line["last_index"].as_u64() == last
    };
    let line = damage.iter().find(is_it);
    let line = line.unwrap_or_else(|| panic!("{case}: {file} at {}: {damage:#?}", expected.offset));
    let remedy = line["what_to_do"].as_str().expect("words");
    assert!(remedy.contains("start the node"), "{case}: {remedy}");
    // The same for people, and as part of the whole.
    let (exit, text) = told(&["inspect", "wal", "--data-dir", &dir]);
    assert_eq!(exit, Some(3), "{case}");
    let said = format!("DAMAGE {file}, offset {}, ", expected.offset);
    assert!(
        text.contains(&said) && text.contains(remedy),
        "{case}: {text}"
    );
    let (exit, text) = told(&["inspect", "integrity", &dir]);
    assert!(exit == Some(3) && text.contains(&said), "{case}: {text}");
}

/// Damages a copy, and gives its folder to the check.
fn with_copy(base: &Path, made: &Made, run: impl FnOnce(&Made)) {
    let dir = base.join("copy");
    copy(&made.dir, &dir);
    let copied = Made {
        entries: made.entries.clone(),
        used: made
            .used
            .iter()
            .map(|path| dir.join("core-000").join(path.file_name().expect("a name")))
            .collect(),
        dir: dir.clone(),
    };
    run(&copied);
    fs::remove_dir_all(dir).expect("ours");
}

fn damaged_logs(base: &Path, made: &Made) {
    let with = |case: &str, run: &dyn Fn(&Made) -> Told| {
        with_copy(base, made, |copied| {
            let expected = run(copied);
            check_wal(case, &copied.dir, &expected);
        });
    };
    let told_of = |kind, file: &Path, offset, group, entries| Told {
        kind,
        file: file.to_path_buf(),
        offset,
        group,
        entries,
    };
    // The last file but one: others follow it, and nothing of it was given up.
    let nth = made.used.len() - 2;
    with("a segment's header", &|made| {
        flip(&made.used[nth], 100);
        told_of("SegmentHeader", &made.used[nth], 0, None, None)
    });
    with("a block's header", &|made| {
        let place = made.entry_in(nth);
        let (file, block) = (made.log(place.slot), made.block_of(place));
        flip(&file, block + 60);
        told_of("Block", &file, block, None, None)
    });
    with("a record's head", &|made| {
        let place = made.entry_in(nth);
        let file = made.log(place.slot);
        flip(&file, place.offset + 41);
        told_of("Records", &file, place.offset, None, None)
    });
    with("the entries that are missing for it", &|made| {
        let place = made.entry_in(nth);
        let file = made.log(place.slot);
        flip(&file, place.offset + 41);
        let next = made.entries.iter().find(|next| next.index > place.index);
        let next = next.expect("others follow");
        let lost = (place.index, next.index - 1);
        told_of(
            "Gap",
            &made.log(next.slot),
            next.offset,
            Some(0),
            Some(lost),
        )
    });
    with("an entry's payload", &|made| {
        let place = made.entry_in(nth);
        let file = made.log(place.slot);
        flip(&file, place.payload + 70);
        let lost = (place.index, place.index);
        told_of("Payload", &file, place.offset, Some(0), Some(lost))
    });
    with("a segment that is missing", &|made| {
        fs::remove_file(&made.used[nth]).expect("it is there");
        told_of("FileMissing", &made.used[nth], 0, None, None)
    });
    with("a segment of zeros", &|made| {
        change(&made.used[nth], |bytes| bytes.fill(0));
        told_of("SegmentMissing", Path::new(""), 0, None, None)
    });
    with("two segments under each other's names", &|made| {
        exchange(&made.used[nth - 1], &made.used[nth]);
        told_of("SegmentHeader", &made.used[nth], 0, None, None)
    });
}

/// What is no damage, and what cannot be read as this node's log at all.
fn torn_and_foreign_logs(base: &Path, made: &Made) {
    with_copy(base, made, |made| {
        let last = *made.entries.last().expect("entries");
        let file = made.log(last.slot);
        let block = made.block_of(last) as usize;
        change(&file, |bytes| bytes[block + 512..].fill(0));
        let dir = made.dir.display().to_string();
        let (exit, report) = json(&["inspect", "wal", "--data-dir", &dir]);
        assert_eq!(
            (exit, &report["intact"]),
            (Some(0), &Value::from(true)),
            "{report}"
        );
        let torn = report["cores"][0]["torn_tail"]
            .as_str()
            .expect("it is told");
        assert!(torn.contains(&block.to_string()), "{torn}");
        let upto = report["cores"][0]["groups"]["0"]["last_index"].as_u64();
        assert_eq!(upto, Some(last.index - 1), "{report}");
    });
    let refused = |made: &Made, code: &str, words: &[&str]| {
        let dir = made.dir.display().to_string();
        for verb in [
            ["inspect", "wal", "--data-dir"].as_slice(),
            &["inspect", "integrity"],
        ] {
            let (exit, text) = told(&[verb, &[&dir]].concat());
            assert!(exit != Some(0) && text.contains(code), "{text}");
            assert!(
                words.iter().all(|word| text.contains(word)),
                "{words:?}: {text}"
            );
            assert!(text.contains("fix "), "{text}");
        }
    };
    with_copy(base, made, |made| {
        let other = made.dir.join("core-001").join(segment(0));
        exchange(&made.dir.join("core-000").join(segment(0)), &other);
        let words = [
            "core-000/segment-00000000.log",
            "offset 0",
            "core 1 of node 1",
            "is core 0",
        ];
        refused(made, "E3006", &words);
    });
    let (_, other) = format(&base.join("other"), CLUSTER + 1);
    let other = Path::new(&other);
    let mut nodes = Nodes::start(&[other.display().to_string()], "threads", &[]);
    let deadline = SystemClock.now().plus(PATIENCE.as_nanos() as u64);
    let is_begun = || {
        let first = fs::read(other.join("core-000").join(segment(0)));
        first.is_ok_and(|bytes| bytes.starts_with(b"QUORLOG"))
    };
    while !is_begun() {
        assert!(
            SystemClock.now() < deadline,
            "the other node writes nothing"
        );
        std::thread::yield_now();
    }
    nodes.kill();
    with_copy(base, made, |made| {
        let path = made.used[0].clone();
        let slot = path.file_name().expect("a name").to_owned();
        let foreign = fs::read(other.join("core-000").join(segment(0))).expect("a file");
        change(&path, |bytes| bytes.clone_from(&foreign));
        let name = slot.to_string_lossy().into_owned();
        let words = [name.as_str(), "of cluster 6", "of cluster 5"];
        if slot.to_str() == Some(&segment(0)) {
            refused(made, "E3006", &words);
        }
    });
    with_copy(base, made, |made| {
        change(&made.used[0], |bytes| {
            bytes[8] = 9;
            let crc = crc32fast::hash(&bytes[..12]);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        });
        refused(made, "E3005", &["format 9"]);
    });
}

/// The damage that a report tells of a file of the archive.
fn archive_damage(report: &Value, file: &Path) -> Value {
    let file = file.display().to_string();
    let lines = report["manifests"].as_array().expect("a list").iter();
    let damage = lines.flat_map(|line| line["damage"].as_array().expect("a list"));
    let mut damage = damage.filter(|damage| damage["file"] == *file);
    damage
        .next()
        .unwrap_or_else(|| panic!("{file}: {report:#}"))
        .clone()
}

fn damaged_manifests(base: &Path, made: &Made) {
    let name = *archived(&made.dir, FileKind::Manifest).last().expect("one");
    let (exit, report) = json(&[
        "inspect",
        "manifest",
        "--data-dir",
        &made.dir.display().to_string(),
    ]);
    assert_eq!(exit, Some(0), "{report}");
    let image = Name {
        kind: FileKind::Image,
        ..name
    };
    let path = |made: &Made, name: Name| {
        let archive = made.dir.join("core-000").join("archive");
        archive.join(name.to_string())
    };
    type Harm<'a> = &'a dyn Fn(&Path);
    let end = |path: &Path| fs::metadata(path).expect("a file").len();
    let cases: [(&str, Name, Harm<'_>, &str); 8] = [
        (
            "a record of the manifest",
            name,
            &|path| flip(path, 70),
            "checksum does not match",
        ),
        (
            "the manifest's digest",
            name,
            &|path| flip(path, end(path) - 3),
            "checksum does not match",
        ),
        (
            "a manifest cut short",
            name,
            &|path| change(path, |bytes| bytes.truncate(40)),
            "does not match",
        ),
        (
            "an empty manifest",
            name,
            &|path| change(path, Vec::clear),
            "checksum does not match",
        ),
        (
            "another's manifest",
            name,
            &|path| {
                let bytes = fs::read(path).expect("a file");
                let mut other = bytes[..bytes.len() - 16].to_vec();
                other[8] ^= 1;
                other.extend(xxhash_rust::xxh3::xxh3_128(&other).to_le_bytes());
                change(path, |bytes| *bytes = other);
            },
            "another's manifest",
        ),
        (
            "an image that rots",
            image,
            &|path| flip(path, end(path) / 2),
            "hash does not match",
        ),
        (
            "an image cut short",
            image,
            &|path| change(path, |bytes| bytes.truncate(99)),
            "99 bytes, ",
        ),
        (
            "an image that is missing",
            image,
            &|path| fs::remove_file(path).expect("there"),
            "No such file",
        ),
    ];
    for (case, name, harm, said) in cases {
        with_copy(base, made, |made| {
            let path = path(made, name);
            harm(&path);
            let dir = made.dir.display().to_string();
            let (exit, report) = json(&["inspect", "manifest", "--data-dir", &dir]);
            assert_eq!(exit, Some(3), "{case}: {report}");
            let damage = archive_damage(&report, &path);
            let what = damage["what"].as_str().expect("words");
            assert!(what.contains(said), "{case}: {what}");
            let place = (&damage["group"], &damage["index"], &damage["offset"]);
            assert_eq!(place, (&0.into(), &name.number.into(), &0.into()), "{case}");
            let remedy = damage["what_to_do"].as_str().expect("words");
            assert!(remedy.contains("start the node"), "{case}: {remedy}");
            for verb in [
                ["inspect", "manifest", "--data-dir"].as_slice(),
                &["inspect", "integrity"],
            ] {
                let (exit, text) = told(&[verb, &[&dir]].concat());
                let said = format!("DAMAGE {}, offset 0: ", path.display());
                assert!(exit == Some(3) && text.contains(&said), "{case}: {text}");
            }
        });
    }
}

fn damaged_sealed_files(base: &Path, made: &Made) {
    let names = archived(&made.dir, FileKind::Sealed);
    let (one, two) = (names[0], names[1]);
    let path = |made: &Made, name: Name| {
        let archive = made.dir.join("core-000").join("archive");
        archive.join(name.to_string())
    };
    let whole = fs::read(path(made, one)).expect("a file");
    let reader = sealed::SegmentReader::open(&whole[..]).expect("it is sound");
    let (last, blocks) = (reader.last(), reader.blocks());
    let block = reader.block_bytes(blocks / 2).expect("a block");
    let block = (block.as_ptr() as usize - whole.as_ptr() as usize) as u64;
    let end = whole.len() as u64;
    type Harm<'a> = &'a dyn Fn(&Path);
    // What is told: the part, its place, the first entry if one is known.
    let cases: [(&str, Harm<'_>, &str, Option<u64>); 7] = [
        ("header", &|path| flip(path, 20), "the header", Some(0)),
        (
            "payload",
            &|path| flip(path, block + 80),
            "block",
            Some(block),
        ),
        ("footer", &|path| flip(path, end - 200), "footer", None),
        ("envelope", &|path| flip(path, end - 5), "", None),
        (
            "cut short",
            &|path| change(path, |bytes| bytes.truncate(bytes.len() - 300)),
            "",
            None,
        ),
        (
            "another's",
            &|path| {
                let mut spec = sealed::SegmentSpec::new(CLUSTER.into(), 1);
                spec.codec = sealed::Codec::Plain;
                change(path, |bytes| *bytes = foreign(spec));
            },
            "the whole file",
            Some(0),
        ),
        (
            "another cluster's",
            &|path| {
                change(path, |bytes| {
                    *bytes = foreign(sealed::SegmentSpec::new(99, 0))
                });
            },
            "the whole file",
            Some(0),
        ),
    ];
    let integrity = |case: &str, made: &Made, path: &Path, part: &str, offset: Option<u64>| {
        let dir = made.dir.display().to_string();
        let (exit, report) = json(&["inspect", "integrity", &dir]);
        assert_eq!(exit, Some(3), "{case}: {report}");
        let file = path.display().to_string();
        let mut damaged = report["damaged"].as_array().expect("a list").iter();
        let found = damaged.find(|one| one["file"] == *file);
        let found = found.unwrap_or_else(|| panic!("{case}: {report:#}"));
        let damage = &found["damage"][0];
        assert!(
            damage["part"].as_str().expect("words").contains(part),
            "{case}: {damage}"
        );
        if let Some(offset) = offset {
            assert_eq!(damage["offset"], offset, "{case}: {damage}");
        }
        assert!(
            damage["fix"].as_str().is_some_and(|fix| fix.len() > 20),
            "{case}: {damage}"
        );
        damage.clone()
    };
    for (case, harm, part, offset) in cases {
        with_copy(base, made, |made| {
            let path = path(made, one);
            harm(&path);
            let damage = integrity(case, made, &path, part, offset);
            if case == "payload" {
                let (first, to) = (damage["first"].as_u64(), damage["last"].as_u64());
                assert!(first >= Some(1) && to <= Some(last), "{damage}");
                assert_eq!(damage["group"], 0, "{damage}");
            }
            if !case.contains("another") {
                let (exit, text) = told(&["inspect", "segment", &path.display().to_string()]);
                assert!(exit == Some(3) && text.contains("DAMAGE"), "{case}: {text}");
            }
        });
    }
    with_copy(base, made, |made| {
        let (one, two) = (path(made, one), path(made, two));
        exchange(&one, &two);
        for path in [&one, &two] {
            let damage = integrity("exchanged", made, path, "the whole file", Some(0));
            let problem = damage["problem"].as_str().expect("words");
            assert!(problem.contains("which its name does not say"), "{problem}");
        }
    });
}

/// A sound sealed file of somebody else.
fn foreign(spec: sealed::SegmentSpec) -> Vec<u8> {
    let mut writer = sealed::SegmentWriter::new(spec, 1).expect("sound settings");
    let mut file = Vec::new();
    let payload = [7; 256];
    let entry = sealed::Entry {
        index: 1,
        term: 1,
        time: 1,
        head: &[1; 48],
        payload_crc: crc32fast::hash(&payload),
        payload: &payload,
    };
    writer.append(&entry, 1 << 20, &mut file).expect("sound");
    while !writer.finish(1 << 20, &mut file).expect("an entry") {}
    file
}

#[test]
fn every_damage_to_a_nodes_folder_is_told_with_its_place_and_what_to_do() {
    let base = tempfile::tempdir().expect("a folder");
    let deadline = SystemClock.now().plus(3 * PATIENCE.as_nanos() as u64);
    // How much a node has given up when it is killed depends on how fast it is: one is wanted that needs three files.
    let made = loop {
        let made = Made::look(written(base.path()));
        if made.is_needed(base.path()) {
            break made;
        }
        assert!(SystemClock.now() < deadline, "{:?}", made.used);
        fs::remove_dir_all(made.dir).expect("ours");
    };
    let dir = made.dir.display().to_string();
    let (exit, text) = told(&["inspect", "integrity", &dir]);
    assert_eq!(exit, Some(0), "nothing is damaged yet: {text}");
    damaged_logs(base.path(), &made);
    torn_and_foreign_logs(base.path(), &made);
    damaged_manifests(base.path(), &made);
    damaged_sealed_files(base.path(), &made);
}
