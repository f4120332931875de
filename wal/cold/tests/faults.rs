//! A store that is busy, slow, loses answers, cuts and flips bytes, shows old listings: nothing is lost, nothing is wrong.

use cold::jobs::publish::Change;
use cold::jobs::upload::Upload;
use cold::jobs::{Job, JobError, Step};
use cold::manifest::Manifest;
use cold::object::ObjectError;
use cold::store::memory::{Faults, Memory};
use cold::store::{Ended, ObjectStore, Outcome, StoreError};
use cold::tier::{Finished, TierBusy};

use crate::driving::{Driven, GROUP, SeededKeeper, dice, file};

const EVERYTHING: Faults = Faults {
    unavailable: 40,
    lost_answer: 40,
    lost_task: 20,
    truncated: 20,
    flipped: 10,
    stale_listing: 60,
    lost_upload: 10,
    slow: 3,
};

#[test]
fn what_is_offloaded_under_faults_comes_back() {
    let (mut offloaded, mut injected, mut given_up) = (0, 0, 0);
    for seed in 0..150 {
        let is_secret = seed % 2 == 0;
        let store =
            Memory::with_faults(EVERYTHING, dice(seed)).with_keeper(Box::new(SeededKeeper::new()));
        let mut driven = Driven::new(store, is_secret, seed + 1);
        let mut done = Vec::new();
        for nth in 0..6 {
            match driven.offload(nth, 150_000 + nth as usize) {
                Ok(segment) => done.push((nth, segment)),
                // Told, and to be tried again later.
                Err(_) => given_up += 1,
            }
        }
        driven.tier.store().set_faults(Faults::default());
        let id = driven
            .tier
            .publish(Change::Read, Manifest::empty(GROUP))
            .expect("idle");
        let Ok(Finished::Published(manifest)) = driven.finish(id, &mut || {}) else {
            panic!("seed {seed}: the manifest is there");
        };
        for (nth, segment) in done {
            offloaded += 1;
            assert!(manifest.names(&segment), "seed {seed}: {nth} is named");
            let (_, content) = file(nth, 150_000 + nth as usize);
            assert_eq!(driven.fetch(segment).as_ref(), Ok(&*content), "seed {seed}");
        }
        injected += driven.tier.store().faults_injected;
    }
    println!("{offloaded} segments offloaded, {given_up} given up, {injected} faults injected");
    assert!(
        injected > 3_000 && offloaded > 600,
        "the faults are not idle, and not the end"
    );
}

#[test]
fn what_rots_in_the_store_is_found_and_never_handed_over() {
    let mut driven = Driven::new(Memory::new(), false, 1);
    let segment = driven.offload(1, 100_000).expect("no faults");
    driven
        .tier
        .store()
        .damage(&segment.object(), |bytes| bytes[70_000] ^= 1);
    assert_eq!(
        driven.fetch(segment),
        Err(JobError::Object {
            name: segment.object(),
            error: ObjectError::Chunk { at: 65_536 },
        })
    );
    driven
        .tier
        .store()
        .damage(&segment.object(), |bytes| bytes.truncate(300));
    assert!(matches!(
        driven.fetch(segment),
        Err(JobError::Object {
            error: ObjectError::Length { .. },
            ..
        })
    ));
    let (missing, _) = file(9, 10);
    assert_eq!(
        driven.fetch(missing),
        Err(JobError::Store(StoreError::NotFound))
    );
}

#[test]
fn an_upload_in_parts_is_resumed_where_it_stopped() {
    let (segment, content) = file(3, 1_000_000);
    let mut store = Memory::new().with_keeper(Box::new(SeededKeeper::new()));
    let mut parts_sent = 0;
    let mut resume = None;
    // Killed after each answered task: the next life goes on with what was remembered.
    for life in 0.. {
        let mut upload = Upload::new(segment, content.clone(), true, resume.clone())
            .with_sizes(100_000, 200_000);
        let mut answers = 0;
        let uploaded = loop {
            match upload.step(1 << 20) {
                Step::Again => {}
                Step::Done(segment) => break Some(segment),
                Step::Failed(error) => panic!("{error}"),
                Step::Ask(task) => {
                    parts_sent += u32::from(matches!(task, cold::store::Task::Part { .. }));
                    store.submit(0, task).expect("room");
                    let mut ended: Vec<Ended> = Vec::new();
                    store.poll(&mut ended);
                    upload.ended(ended.remove(0).result);
                    answers += 1;
                    resume = upload.resume().cloned().or(resume);
                    // A key, the upload or one more part; then it dies.
                    if answers > 2 && life < 6 {
                        break None;
                    }
                }
            }
        };
        if uploaded.is_some() {
            assert!(life >= 4, "it died before");
            break;
        }
    }
    assert!(
        parts_sent <= 6 + 7,
        "parts are not sent over and over: {parts_sent}"
    );
    let mut driven = Driven::new(store, true, 1);
    assert_eq!(driven.fetch(segment).as_ref(), Ok(&*content));
}

#[test]
fn an_answer_lost_after_completing_is_no_second_upload() {
    let (segment, content) = file(3, 300_000);
    let mut store = Memory::new();
    let mut upload = Upload::new(segment, content, false, None).with_sizes(1_000, 100_000);
    let mut completions = 0;
    loop {
        match upload.step(1 << 20) {
            Step::Again => {}
            Step::Done(_) => break,
            Step::Failed(error) => panic!("{error}"),
            Step::Ask(task) => {
                let completes = matches!(task, cold::store::Task::Complete { .. });
                let mut ended: Vec<Ended> = Vec::new();
                store.submit(0, task.clone()).expect("room");
                store.poll(&mut ended);
                if completes {
                    // The first answer is lost; the tier asks the same again, and the upload is gone.
                    completions += 1;
                    store.submit(0, task).expect("room");
                    ended.clear();
                    store.poll(&mut ended);
                    assert_eq!(ended[0].result, Err(StoreError::NotFound));
                }
                upload.ended(ended.remove(0).result);
            }
        }
    }
    assert_eq!(completions, 1);
}

#[test]
fn files_that_are_not_what_is_said_and_too_many_jobs_are_refused() {
    let (segment, content) = file(1, 1_000);
    let mut shorter = content.to_vec();
    shorter.pop();
    let mut driven = Driven::new(Memory::new(), false, 1);
    let id = driven
        .tier
        .upload(segment, std::sync::Arc::new(shorter), None)
        .expect("idle");
    assert!(matches!(
        driven.finish(id, &mut || {}),
        Err(JobError::Object {
            error: ObjectError::Length { .. },
            ..
        })
    ));
    let mut changed = content.to_vec();
    changed[5] ^= 1;
    let id = driven
        .tier
        .upload(segment, std::sync::Arc::new(changed), None)
        .expect("idle");
    assert!(
        matches!(
            driven.finish(id, &mut || {}),
            Err(JobError::Object {
                error: ObjectError::Hash,
                ..
            })
        ),
        "what is read back is compared with the hash that was promised"
    );
    for _ in 0..cold::tier::JOBS_MAX {
        driven.tier.verify(segment).expect("there is room");
    }
    assert_eq!(driven.tier.verify(segment), Err(TierBusy));
}

#[test]
fn without_keys_nothing_is_stored_in_the_clear() {
    let mut driven = Driven::new(Memory::new(), true, 1);
    let failed = driven.offload(1, 1_000);
    assert!(
        matches!(failed, Err(JobError::Store(StoreError::Key(_)))),
        "{failed:?}"
    );
    assert_eq!(driven.tier.store().objects().count(), 0);
}

#[test]
fn an_encrypted_object_shows_nothing_of_its_file() {
    let store = Memory::new().with_keeper(Box::new(SeededKeeper::new()));
    let mut driven = Driven::new(store, true, 1);
    let content = std::sync::Arc::new(b"canary ".repeat(1_000));
    let mut segment = file(1, 1).0;
    segment.bytes = content.len() as u64;
    segment.hash = cold::name::ContentHash::of(&content);
    let id = driven.tier.upload(segment, content, None).expect("idle");
    driven.finish(id, &mut || {}).expect("no faults");
    for (name, bytes) in driven.tier.store().objects() {
        let shows = bytes.windows(6).any(|window| window == b"canary");
        assert!(!shows, "{name} shows its file");
    }
}

#[test]
fn a_store_that_answers_something_else_is_told() {
    let (segment, content) = file(1, 10);
    let mut upload = Upload::new(segment, content, false, None);
    while !matches!(upload.step(1 << 20), Step::Ask(_)) {}
    upload.ended(Ok(Outcome::Length(3, 0)));
    assert!(matches!(upload.step(1), Step::Failed(JobError::Confused)));
}
