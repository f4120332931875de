//! `quorate cold` over a folder with segments: listed, verified, damaged, fetched.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use cold::location::Location;
use cold::manifest::{Manifest, Retention};
use cold::name::{ContentHash, Segment};
use cold::store::remote::Remote;
use cold::tier::{Finished, JobId, Tier, stored};
use serde_json::Value;

/// A second long after any test.
const FAR: u64 = 4_000_000_000;

/// Stores a few segments of two groups, those of the second locked; gives back their files.
fn fill(folder: &Path) -> Vec<(Segment, Vec<u8>)> {
    let store = Remote::open(&Location::Folder(folder.into()), None, Arc::new(|| {}));
    let mut tier = Tier::new(store.expect("the folder is there"), false, 64 << 20);
    let mut files = Vec::new();
    for (group, nth) in [(2_u64, 0_u64), (2, 1), (40, 0)] {
        let file = format!("group {group}, segment {nth}. ")
            .repeat(9_000)
            .into_bytes();
        let segment = Segment {
            group,
            first: nth * 100 + 1,
            last: nth * 100 + 100,
            bytes: file.len() as u64,
            hash: ContentHash::of(&file),
            copy: 0,
        };
        let id = tier.upload(segment, Arc::new(file.clone()), None);
        finish(&mut tier, id.expect("idle"));
        let newest = Manifest::empty(group);
        let stay = if group == 40 {
            Retention::Locked(FAR)
        } else {
            Retention::Keep
        };
        let id = tier.publish(stored(segment, stay), newest);
        finish(&mut tier, id.expect("idle"));
        files.push((segment, file));
    }
    files
}

fn finish(tier: &mut Tier<Remote>, id: JobId) -> Finished {
    loop {
        tier.turn(0, 1 << 20, &mut || 0);
        if let Some((ended, result)) = tier.next_finished() {
            assert_eq!(ended, id);
            return result.expect("a folder does not fail");
        }
        std::thread::yield_now();
    }
}

fn quorate(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(line.split_whitespace())
        .env_clear()
        .output()
        .expect("the binary was built with this test")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("standard output is one JSON document")
}

#[test]
fn segments_are_listed_verified_and_fetched() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = fill(folder.path());
    let cold = format!("--cold file://{}", folder.path().display());
    let listed = json(&quorate(&format!("cold ls {cold} --output json")));
    assert_eq!(listed["segments"].as_array().map(Vec::len), Some(3));
    assert_eq!(listed["segments"][2]["group"], 40);
    let whole = quorate(&format!("cold verify {cold}"));
    assert_eq!(whole.status.code(), Some(0));
    let told = String::from_utf8_lossy(&whole.stdout).into_owned();
    let lock = format!("locked until {FAR}, by Quorate alone");
    assert!(told.contains(&lock), "a folder has no locks: {told}");
    let to = folder.path().join("fetched");
    let fetch = format!(
        "cold fetch {cold} --group 2 --index 150 --to {}",
        to.display()
    );
    assert_eq!(quorate(&fetch).status.code(), Some(0));
    assert_eq!(std::fs::read(&to).ok().as_ref(), Some(&files[1].1));
    assert_ne!(
        quorate(&fetch).status.code(),
        Some(0),
        "an existing file is not overwritten"
    );
    let none = quorate(&format!(
        "cold fetch {cold} --group 2 --index 900 --to {}x",
        to.display()
    ));
    let told = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(
        none.status.code() == Some(1) && told.contains("E6005"),
        "{told}"
    );
}

#[test]
fn a_damaged_and_a_missing_object_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = fill(folder.path());
    let damaged = folder.path().join(files[0].0.object());
    let mut bytes = std::fs::read(&damaged).expect("it is there");
    bytes[100_000] ^= 4;
    std::fs::write(&damaged, bytes).expect("written");
    std::fs::remove_file(folder.path().join(files[2].0.object())).expect("removed");
    let cold = format!("--cold file://{}", folder.path().display());
    let verified = quorate(&format!("cold verify {cold} --output json"));
    assert_eq!(verified.status.code(), Some(3));
    let report = json(&verified);
    let damage = |nth: usize| {
        report["segments"][nth]["damage"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    };
    assert!(damage(0).contains("damaged at byte 65536"), "{}", damage(0));
    assert_eq!(damage(1), "none");
    assert!(damage(2).contains("no such object"), "{}", damage(2));
    let fetch = format!(
        "cold fetch {cold} --group 2 --index 1 --to {}/x",
        folder.path().display()
    );
    let told = String::from_utf8_lossy(&quorate(&fetch).stderr).into_owned();
    assert!(told.contains("E6003"), "{told}");
}

/// One object is not what it should be: what is told of it, and what a fetch of it answers.
#[test]
fn every_damage_to_a_store_is_told_with_its_object_and_what_to_do() {
    type Harm<'a> = &'a dyn Fn(&Path, &[(Segment, Vec<u8>)]);
    let path = |folder: &Path, segment: &Segment| folder.join(segment.object());
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(path).expect("it is there");
        change(&mut bytes);
        std::fs::write(path, bytes).expect("written");
    };
    // The segment that is told, and the words.
    let segments: [(&str, Harm<'_>, &str); 7] = [
        (
            "header",
            &|folder, files| change(&path(folder, &files[0].0), &|bytes| bytes[20] ^= 1),
            "head is damaged",
        ),
        (
            "content",
            &|folder, files| change(&path(folder, &files[0].0), &|bytes| bytes[70_000] ^= 1),
            "damaged at byte 65536",
        ),
        (
            "cut short",
            &|folder, files| change(&path(folder, &files[0].0), &|bytes| bytes.truncate(90_000)),
            "",
        ),
        (
            "empty",
            &|folder, files| change(&path(folder, &files[0].0), &Vec::clear),
            "",
        ),
        (
            "missing",
            &|folder, files| {
                std::fs::remove_file(path(folder, &files[0].0)).expect("removed");
            },
            "no such object",
        ),
        (
            "a neighbour's",
            &|folder, files| {
                std::fs::copy(path(folder, &files[1].0), path(folder, &files[0].0))
                    .expect("copied");
            },
            "another file than its name says",
        ),
        (
            "another group's",
            &|folder, files| {
                std::fs::copy(path(folder, &files[2].0), path(folder, &files[0].0))
                    .expect("copied");
            },
            "another file than its name says",
        ),
    ];
    for (case, harm, said) in segments {
        let folder = tempfile::tempdir().expect("a folder");
        let files = fill(folder.path());
        harm(folder.path(), &files);
        let cold = format!("--cold file://{}", folder.path().display());
        let verified = quorate(&format!("cold verify {cold} --output json"));
        let report = json(&verified);
        assert_eq!(verified.status.code(), Some(3), "{case}: {report}");
        let line = &report["segments"][0];
        assert_eq!(line["object"], files[0].0.object(), "{case}");
        let place = (&line["group"], &line["first"], &line["last"]);
        assert_eq!(place, (&2.into(), &1.into(), &100.into()), "{case}");
        let damage = line["damage"].as_str().expect("words");
        assert!(damage.contains(said), "{case}: {damage}");
        assert!(
            line["what_to_do"]
                .as_str()
                .is_some_and(|words| words.contains("bring the object back"))
        );
        for sound in [1, 2] {
            assert_eq!(report["segments"][sound].get("damage"), None, "{case}");
        }
        let text = quorate(&format!("cold verify {cold}"));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(
            text.contains(&format!("DAMAGE {}: ", files[0].0.object())),
            "{case}: {text}"
        );
        // It is listed all the same: the manifest names it. It is not handed over.
        assert_eq!(
            quorate(&format!("cold ls {cold}")).status.code(),
            Some(0),
            "{case}"
        );
        let to = folder.path().join("to");
        let fetch = format!(
            "cold fetch {cold} --group 2 --index 50 --to {}",
            to.display()
        );
        let fetched = quorate(&fetch);
        let told = String::from_utf8_lossy(&fetched.stderr).into_owned();
        assert!(
            fetched.status.code() == Some(3) && told.contains("E6003"),
            "{case}: {told}"
        );
        assert!(
            told.contains(&files[0].0.object()) && !to.exists(),
            "{case}: {told}"
        );
    }
}

#[test]
fn damaged_missing_and_swapped_manifests_are_told_and_the_other_groups_are_verified() {
    type Harm<'a> = &'a dyn Fn(&Path);
    let edit = |folder: &Path, number| folder.join(cold::name::edit(2, number));
    let cases: [(&str, Harm<'_>, u64, &str); 6] = [
        (
            "a flipped byte",
            &|folder| {
                let mut bytes = std::fs::read(edit(folder, 2)).expect("it is there");
                bytes[60] ^= 1;
                std::fs::write(edit(folder, 2), bytes).expect("written");
            },
            2,
            "",
        ),
        (
            "cut short",
            &|folder| {
                let bytes = std::fs::read(edit(folder, 2)).expect("it is there");
                std::fs::write(edit(folder, 2), &bytes[..bytes.len() / 2]).expect("written");
            },
            2,
            "",
        ),
        (
            "empty",
            &|folder| std::fs::write(edit(folder, 2), b"").expect("written"),
            2,
            "",
        ),
        (
            "another number's",
            &|folder| {
                std::fs::copy(edit(folder, 1), edit(folder, 2)).expect("copied");
            },
            2,
            "",
        ),
        (
            "another group's",
            &|folder| {
                std::fs::copy(folder.join(cold::name::edit(40, 1)), edit(folder, 1))
                    .expect("copied");
            },
            1,
            "",
        ),
        (
            "missing",
            &|folder| std::fs::remove_file(edit(folder, 1)).expect("removed"),
            1,
            "no such object",
        ),
    ];
    for (case, harm, number, said) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path());
        harm(folder.path());
        let cold = format!("--cold file://{}", folder.path().display());
        let verified = quorate(&format!("cold verify {cold} --output json"));
        let report = json(&verified);
        assert_eq!(verified.status.code(), Some(3), "{case}: {report}");
        let line = &report["manifests"][0];
        assert_eq!(
            line["object"],
            cold::name::edit(2, number),
            "{case}: {report}"
        );
        assert_eq!(line["group"], 2, "{case}");
        let damage = line["damage"].as_str().expect("words");
        assert!(
            !damage.is_empty() && damage.contains(said),
            "{case}: {damage}"
        );
        assert!(
            line["what_to_do"]
                .as_str()
                .is_some_and(|words| words.contains("bring the object back"))
        );
        let others = report["segments"].as_array().expect("a list");
        let others: Vec<&Value> = others.iter().filter(|one| one["group"] == 40).collect();
        assert_eq!(others.len(), 1, "{case}: {report}");
        assert_eq!(others[0].get("damage"), None, "{case}");
    }
}

#[test]
fn objects_that_no_manifest_names_are_counted_and_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = fill(folder.path());
    let stray = files[0].0.next_copy().expect("there were few");
    let from = folder.path().join(files[0].0.object());
    std::fs::copy(from, folder.path().join(stray.object())).expect("copied");
    let cold = format!("--cold file://{}", folder.path().display());
    let verified = quorate(&format!("cold verify {cold} --output json"));
    let report = json(&verified);
    assert_eq!(
        (verified.status.code(), &report["unnamed_objects"]),
        (Some(0), &1.into()),
        "{report}"
    );
}

#[test]
fn addresses_that_name_no_place_are_refused() {
    for (address, said) in [
        ("gs://bucket", "objects cannot be kept in gs://"),
        ("file:///no/such/folder", "there is no folder"),
        ("s3://key:secret@bucket/x", "credentials do not belong"),
    ] {
        let run = quorate(&format!("cold ls --cold {address}"));
        let told = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(
            run.status.code() == Some(2) && told.contains("E6001"),
            "{told}"
        );
        assert!(told.contains(said), "{told}");
    }
}
