//! A real folder, through the side thread.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use cold::jobs::JobError;
use cold::jobs::publish::Change;
use cold::location::Location;
use cold::manifest::{Manifest, Retention};
use cold::name::Segment;
use cold::store::remote::{OpenError, Remote};
use cold::store::{ObjectStore, Outcome, StoreError, Task};
use cold::tier::{Finished, JobId, Tier, stored};

use crate::driving::{GROUP, SeededKeeper, dice, file};

/// A tier over a real store, turned when the store says that something has ended.
pub(crate) struct Real {
    pub(crate) tier: Tier<Remote>,
    woken: std::sync::mpsc::Receiver<()>,
    now: u64,
    dice: Box<dyn FnMut() -> u64 + Send>,
}

impl Real {
    pub(crate) fn open(location: &Location, is_secret: bool) -> Result<Self, OpenError> {
        let (wake, woken) = channel();
        let keeper = is_secret.then(|| Box::new(SeededKeeper::new()) as Box<_>);
        // Whoever waits may be gone.
        let wake = Arc::new(move || {
            let _ = wake.send(());
        });
        let store = Remote::open(location, keeper, wake)?;
        Ok(Self {
            tier: Tier::new(store, is_secret, 256 << 20),
            woken,
            now: 0,
            dice: dice(1),
        })
    }

    pub(crate) fn finish(&mut self, id: JobId) -> Result<Finished, JobError> {
        loop {
            // Waits between tries pass at once.
            self.now += 60_000_000_000;
            self.tier.turn(self.now, 8 << 20, &mut self.dice);
            if let Some((ended, result)) = self.tier.next_finished() {
                assert_eq!(ended, id);
                return result;
            }
            // News, or only the next slice of work: either way it goes on.
            let _ = self.woken.recv_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn offload(&mut self, nth: u64, bytes: usize) -> Segment {
        let (segment, content) = file(nth, bytes);
        let id = self.tier.upload(segment, content, None).expect("idle");
        self.finish(id).expect("it is stored");
        let change = stored(segment, Retention::Keep);
        let id = self
            .tier
            .publish(change, Manifest::empty(GROUP))
            .expect("idle");
        self.finish(id).expect("it is published");
        segment
    }

    /// One task, by the store itself.
    pub(crate) fn ask(&mut self, task: Task) -> Result<Outcome, StoreError> {
        let store = self.tier.store();
        store.submit(u64::MAX, task).expect("idle");
        let mut ended = Vec::new();
        while ended.is_empty() {
            // News, or only time to look again.
            let _ = self.woken.recv_timeout(Duration::from_millis(20));
            self.tier.store().poll(&mut ended);
        }
        ended.remove(0).result
    }

    pub(crate) fn fetch(&mut self, segment: Segment) -> Result<Vec<u8>, JobError> {
        let id = self.tier.download(segment).expect("idle");
        match self.finish(id)? {
            Finished::Downloaded(_, file) => Ok(file),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_folder_keeps_segments_over_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Folder(folder.path().join("cold"));
    let mut segments = Vec::new();
    for (life, is_secret) in [(0, false), (1, true)] {
        let mut real = Real::open(&location, is_secret).expect("it opens");
        for nth in 0..3 {
            segments.push((life * 3 + nth, real.offload(life * 3 + nth, 200_000)));
        }
    }
    let mut real = Real::open(&location, true).expect("it opens");
    let id = real.tier.groups().expect("idle");
    assert!(matches!(real.finish(id), Ok(Finished::Groups(groups)) if groups == [GROUP]));
    for (nth, segment) in &segments {
        assert_eq!(real.fetch(*segment).as_ref(), Ok(&*file(*nth, 200_000).1));
    }
    let id = real.tier.publish(
        Change::Truncate { upto: 30, now: 0 },
        Manifest::empty(GROUP),
    );
    real.finish(id.expect("idle")).expect("published");
    let id = real.tier.sweep(GROUP, u64::MAX, 0).expect("idle");
    match real.finish(id) {
        Ok(Finished::Swept(swept)) => assert_eq!((swept.named, swept.deleted), (3, 3)),
        other => panic!("{other:?}"),
    }
    assert!(real.fetch(segments[0].1).is_err());
    assert!(real.fetch(segments[5].1).is_ok());
}

/// What a store has of a stretch that begins where the object has ended, or behind, is nothing; and no failure.
pub(crate) fn nothing_is_behind_the_end(real: &mut Real) {
    let segment = real.offload(77, 1_000);
    let head = real.ask(Task::Head {
        name: segment.object(),
    });
    let Ok(Outcome::Length(bytes, _)) = head else {
        panic!("{head:?}");
    };
    for (range, expected) in [
        (0..bytes + 50, bytes),
        (bytes..bytes + 9, 0),
        (bytes + 5..bytes + 9, 0),
    ] {
        let got = real.ask(Task::Get {
            name: segment.object(),
            range: range.clone(),
        });
        match got {
            Ok(Outcome::Bytes(bytes)) => assert_eq!(bytes.len() as u64, expected, "{range:?}"),
            other => panic!("{range:?}: {other:?}"),
        }
    }
    let missing = real.ask(Task::Get {
        name: file(99, 5).0.object(),
        range: 0..9,
    });
    assert_eq!(missing, Err(StoreError::NotFound));
}

#[test]
fn an_object_that_was_cut_short_is_damaged_and_no_store_out_of_reach() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Folder(folder.path().into());
    let mut real = Real::open(&location, false).expect("it opens");
    nothing_is_behind_the_end(&mut real);
    let segment = real.offload(1, 30 << 20);
    let path = folder.path().join(segment.object());
    let bytes = std::fs::read(&path).expect("it is there");
    for left in [0, 50, 90_000, 8 << 20, 16 << 20, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..left]).expect("written");
        let error = real.fetch(segment).expect_err("it is cut");
        assert!(matches!(error, JobError::Object { .. }), "{left}: {error}");
    }
}

#[test]
fn a_large_segment_goes_into_a_folder_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Folder(folder.path().into());
    let mut real = Real::open(&location, false).expect("it opens");
    let segment = real.offload(1, 70 << 20);
    assert_eq!(real.fetch(segment).map(|file| file.len()), Ok(70 << 20));
}

#[test]
fn a_folder_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("written");
    let location = Location::Folder(file.join("below"));
    assert!(matches!(
        Real::open(&location, false),
        Err(OpenError::Folder(..))
    ));
}
