//! Real S3 servers, named by the environment; skipped, and said so, where none is named.
//!
//! `QUORATE_S3` holds addresses separated by spaces, as `--cold` takes them; the credentials are in the environment.
//! `QUORATE_S3_LOCKED` holds those of buckets that were made with object lock, `QUORATE_S3_REPLACING` those of buckets
//! that replace what they are asked to create only if it is not there.

use cold::jobs::JobError;
use cold::location::Location;
use cold::store::{Outcome, StoreError, Task};
use cold::tier::{Finished, stored};
use cold::{
    jobs::publish::Change,
    manifest::{Manifest, Retention},
};

use crate::driving::{GROUP, file};
use crate::folder::{Real, nothing_is_behind_the_end};

#[expect(clippy::print_stdout, reason = "a skip is told")]
fn addresses(variable: &str) -> Vec<Location> {
    let Ok(text) = std::env::var(variable) else {
        println!("SKIPPED: {variable} names no servers");
        return Vec::new();
    };
    text.split_whitespace()
        .map(|text| text.parse().expect("the variable holds addresses"))
        .collect()
}

fn locations() -> Vec<Location> {
    addresses("QUORATE_S3")
}

/// A place of its own for each test, so that runs do not meet.
fn place(location: &Location, test: &str) -> Location {
    let mut location = location.clone();
    if let Location::Bucket(bucket) = &mut location {
        bucket.prefix = format!("{}/{test}-{}", bucket.prefix, std::process::id());
    }
    location
}

#[test]
fn segments_go_to_a_bucket_and_come_back() {
    for location in locations() {
        println!("at {location}");
        for is_secret in [false, true] {
            let place = place(&location, if is_secret { "secret" } else { "plain" });
            let mut real = Real::open(&place, is_secret).expect("it opens");
            let segments: Vec<_> = (0..12).map(|nth| real.offload(nth, 300_000)).collect();
            for (nth, segment) in (0..).zip(&segments) {
                assert_eq!(real.fetch(*segment).as_ref(), Ok(&*file(nth, 300_000).1));
            }
            let missing = file(99, 5).0;
            assert_eq!(
                real.fetch(missing),
                Err(JobError::Store(StoreError::NotFound))
            );
            let change = Change::Truncate { upto: 100, now: 0 };
            let id = real
                .tier
                .publish(change, Manifest::empty(GROUP))
                .expect("idle");
            real.finish(id).expect("published");
            let id = real.tier.sweep(GROUP, u64::MAX, 0).expect("idle");
            match real.finish(id) {
                Ok(Finished::Swept(swept)) => assert_eq!((swept.named, swept.deleted), (2, 10)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn nothing_is_behind_the_end_of_an_object() {
    for location in locations() {
        println!("at {location}");
        let mut real = Real::open(&place(&location, "end"), false).expect("it opens");
        nothing_is_behind_the_end(&mut real);
    }
}

/// An upload that was begun and is given up keeps no parts: going on with it is refused.
#[test]
fn an_upload_that_is_given_up_is_gone() {
    for location in locations() {
        println!("at {location}");
        let mut real = Real::open(&place(&location, "abort"), false).expect("it opens");
        let (segment, content) = file(5, 6 << 20);
        let name = segment.object();
        let begun = real.ask(Task::Begin { name: name.clone() });
        let Ok(Outcome::Begun(upload)) = begun else {
            panic!("{begun:?}");
        };
        let part = |upload: &str| Task::Part {
            name: name.clone(),
            upload: upload.to_owned(),
            part: 0,
            pieces: vec![content.to_vec().into()],
        };
        let first = real.ask(part(&upload));
        assert!(matches!(first, Ok(Outcome::Part(_))), "{first:?}");
        for time in 0..2 {
            let id = real.tier.abort(segment, upload.clone()).expect("idle");
            let ended = real.finish(id);
            assert!(matches!(ended, Ok(Finished::Aborted)), "{time}: {ended:?}");
        }
        let late = real.ask(part(&upload));
        assert!(late.is_err(), "no part is taken any more: {late:?}");
    }
}

#[test]
fn a_large_segment_goes_in_parts() {
    for location in locations() {
        println!("at {location}");
        let mut real = Real::open(&place(&location, "parts"), true).expect("it opens");
        let segment = real.offload(1, 70 << 20);
        assert_eq!(real.fetch(segment).map(|file| file.len()), Ok(70 << 20));
    }
}

#[test]
fn of_two_writers_of_one_manifest_number_one_wins() {
    for location in locations() {
        println!("at {location}");
        let place = place(&location, "race");
        let mut writers: Vec<Real> = (0..2)
            .map(|_| Real::open(&place, false).expect("it opens"))
            .collect();
        let mut wanted = Vec::new();
        for round in 0..6 {
            for (which, real) in writers.iter_mut().enumerate() {
                let (segment, content) = file(round * 2 + which as u64, 1_000);
                let id = real.tier.upload(segment, content, None).expect("idle");
                real.finish(id).expect("stored");
                wanted.push(segment);
            }
            let newest: Vec<_> = wanted[wanted.len() - 2..].to_vec();
            std::thread::scope(|scope| {
                for (real, segment) in writers.iter_mut().zip(&newest) {
                    scope.spawn(move || {
                        let change = stored(*segment, Retention::Keep);
                        let id = real
                            .tier
                            .publish(change, Manifest::empty(GROUP))
                            .expect("idle");
                        real.finish(id).expect("published");
                    });
                }
            });
        }
        let id = writers[0]
            .tier
            .publish(Change::Read, Manifest::empty(GROUP))
            .expect("idle");
        let Ok(Finished::Published(manifest)) = writers[0].finish(id) else {
            panic!("the manifest reads");
        };
        for segment in &wanted {
            assert!(
                manifest.names(segment),
                "{segment:?} was published and is lost"
            );
        }
    }
}

/// Seconds since the Unix epoch: a lock must end in what the server takes for the future.
#[expect(clippy::disallowed_methods, reason = "real servers keep real time")]
fn second() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

/// Uploads one file that is to be locked up to this second.
fn upload_locked(real: &mut Real, nth: u64, until: u64) -> cold::name::Segment {
    let (segment, content) = file(nth, 10_000);
    let id = real
        .tier
        .upload_since(segment, content, None, 0, Some(until));
    match real.finish(id.expect("idle")) {
        Ok(Finished::Uploaded(stored)) => stored,
        other => panic!("it is stored: {other:?}"),
    }
}

fn lock_of(real: &mut Real, segment: cold::name::Segment) -> u64 {
    let id = real.tier.lock_of(segment).expect("idle");
    match real.finish(id) {
        Ok(Finished::LockedUntil(_, until)) => until,
        other => panic!("the lock is told: {other:?}"),
    }
}

#[test]
fn a_bucket_with_locks_keeps_what_is_locked() {
    for location in addresses("QUORATE_S3_LOCKED") {
        println!("at {location}");
        let mut real = Real::open(&place(&location, "lock"), false).expect("it opens");
        // Short, so that a bucket can be emptied after the tests.
        let until = second() + 600;
        let segment = upload_locked(&mut real, 1, until);
        assert_eq!(lock_of(&mut real, segment), until);
        // Another writer of the same file: a later end is taken, an earlier one is no mistake and changes nothing.
        assert_eq!(upload_locked(&mut real, 1, until + 60), segment);
        assert_eq!(lock_of(&mut real, segment), until + 60);
        assert_eq!(upload_locked(&mut real, 1, until), segment);
        assert_eq!(lock_of(&mut real, segment), until + 60);
        let free = real.offload(2, 10_000);
        assert_eq!(lock_of(&mut real, free), 0);
        assert_eq!(real.fetch(segment).as_ref(), Ok(&*file(1, 10_000).1));
        let never = file(3, 10_000).0;
        let id = real.tier.lock_of(never).expect("idle");
        assert_eq!(
            real.finish(id).err(),
            Some(JobError::Store(StoreError::NotFound))
        );
    }
}

#[test]
fn a_bucket_without_locks_says_so_and_takes_the_file() {
    for location in locations() {
        println!("at {location}");
        let mut real = Real::open(&place(&location, "no-lock"), false).expect("it opens");
        let segment = upload_locked(&mut real, 1, second() + 600);
        assert_eq!(lock_of(&mut real, segment), 0);
        assert_eq!(real.fetch(segment).as_ref(), Ok(&*file(1, 10_000).1));
    }
}

#[test]
fn a_bucket_that_replaces_what_it_should_create_once_is_refused() {
    for location in addresses("QUORATE_S3_REPLACING") {
        println!("at {location}");
        let mut real = Real::open(&place(&location, "replaces"), false).expect("it opens");
        for nth in [1, 2] {
            let (segment, content) = file(nth, 10_000);
            let id = real.tier.upload(segment, content, None).expect("idle");
            match real.finish(id) {
                Err(JobError::Store(StoreError::Denied(why))) => {
                    assert!(why.contains("create only once"), "{why}");
                }
                other => panic!("its manifest would be safe from nobody: {other:?}"),
            }
        }
    }
}
