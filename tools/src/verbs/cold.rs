//! `quorate cold`: what lies in the object store, listed, verified, fetched; changes nothing there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::{Args, Subcommand};
use cold::jobs::JobError;
use cold::jobs::publish::Change;
use cold::key::{FileKeeper, KeyKeeper};
use cold::location::Location;
use cold::manifest::{Manifest, Retention, Stored};
use cold::name;
use cold::store::remote::Remote;
use cold::store::{Listed, StoreError};
use cold::tier::{Finished, JobId, Tier, TierBusy};
use engine::clock::SystemClock;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::catalogue::{Entry, cold as entries, disk};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  quorate cold ls --cold file:///var/lib/quorate/cold
  quorate cold verify --cold s3://ledger/eu --group 3
  quorate cold fetch --cold s3://ledger/eu --group 3 --index 120000 --to segment.qsg

Credentials of a bucket come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
Exit code 0: everything asked about is there and whole; 3: something is damaged or missing.";

/// Flags of `quorate cold`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) action: Action,

    /// Where the objects are: file:///folder or s3://bucket/prefix?endpoint=URL&region=NAME
    #[arg(long, global = true, value_name = "ADDRESS", env = "QUORATE_COLD")]
    pub(crate) cold: Option<String>,

    /// File of keys, needed for objects that are encrypted
    #[arg(long, global = true, value_name = "FILE", env = "QUORATE_COLD_KEYS")]
    pub(crate) cold_keys: Option<PathBuf>,

    /// This group only [default: all]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) group: Option<u64>,
}

/// What to do with the store.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// List the segments that the manifests name
    Ls,
    /// Read every segment and compare it with its checksums and its name
    Verify,
    /// Bring one segment back as the file that it was
    Fetch {
        /// An index of the group's log that the segment holds
        #[arg(long, value_name = "INDEX")]
        index: u64,
        /// The file to write; must not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let mut session = Session::open(arguments)?;
    match &arguments.action {
        Action::Ls => session.list(arguments.group, output),
        Action::Verify => session.verify(arguments.group, output),
        Action::Fetch { index, to } => {
            let group = arguments.group.ok_or_else(|| {
                Failure::new(
                    &crate::catalogue::usage::COMMAND_LINE,
                    "fetch needs the group that the index belongs to",
                    "--group",
                )
            })?;
            session.fetch(group, *index, to, output)
        }
    }
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    location: String,
    intact: bool,
    segments: Vec<Line>,
    /// What is wrong with the groups' manifests; only looked for by `verify`.
    manifests: Vec<Damage>,
    /// Objects that no manifest names: left by uploads that did not end, or by joins; a group's leader sweeps them when
    /// they are old enough.
    unnamed_objects: u64,
}

/// An object of a manifest that is not what it should be.
#[derive(Serialize)]
struct Damage {
    object: String,
    group: u64,
    damage: String,
    what_to_do: &'static str,
}

/// For a segment that cannot be read.
const BRING_BACK: &str = "bring the object back from another copy of the store: until then these entries cannot be read \
    from here; a node that still has this very file stores it again, as another copy";

/// For a manifest that cannot be read.
const BRING_EDIT_BACK: &str = "bring the object back from another copy of the store, under this very name: edits are never \
    changed nor deleted, and what they name is not known without them; nodes keep their files meanwhile";

#[derive(Serialize)]
struct Line {
    object: String,
    group: u64,
    first: u64,
    last: u64,
    bytes: u64,
    retention: Retention,
    /// Of a locked one that was verified: up to this second the store itself keeps it, 0 when it is Quorate alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_lock: Option<u64>,
    /// What is wrong with it; absent when it was not verified or is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what_to_do: Option<&'static str>,
}

/// The store, and the patience to wait for it.
struct Session {
    tier: Tier<Remote>,
    woken: Receiver<()>,
    place: String,
}

impl Session {
    fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let address = arguments.cold.as_deref().unwrap_or_default();
        let wrong = |cause: String| Failure::new(&entries::COLD_ADDRESS, cause, "--cold");
        let location: Location = address
            .parse()
            .map_err(|error: cold::location::LocationError| wrong(error.to_string()))?;
        if let Location::Folder(folder) = &location
            && !folder.is_dir()
        {
            return Err(wrong(format!("there is no folder {}", folder.display())));
        }
        let keeper = match &arguments.cold_keys {
            None => None,
            Some(path) => {
                let place = path.display().to_string();
                let keeper = FileKeeper::open(path)
                    .map_err(|error| Failure::new(&entries::COLD_KEY, error.to_string(), place))?;
                Some(Box::new(keeper) as Box<dyn KeyKeeper>)
            }
        };
        let (wake, woken) = channel();
        let wake = Arc::new(move || {
            // Whoever waits may have finished.
            let _ = wake.send(());
        });
        let store =
            Remote::open(&location, keeper, wake).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            tier: Tier::new(store, false, 256 << 20),
            woken,
            place: location.to_string(),
        })
    }

    fn finish(&mut self, job: Result<JobId, TierBusy>) -> Result<Finished, JobError> {
        let busy = |_| JobError::Store(StoreError::Unavailable("too much at once".to_owned()));
        job.map_err(busy)?;
        loop {
            let now = SystemClock.now().0;
            self.tier.turn(now, 8 << 20, &mut || now);
            if let Some((_, result)) = self.tier.next_finished() {
                return result;
            }
            // Woken by an answer; or it is time to try again what failed.
            let _ = self.woken.recv_timeout(Duration::from_millis(100));
        }
    }

    fn failure(&self, error: &JobError) -> Failure {
        let entry: &'static Entry = match error {
            JobError::Store(StoreError::Key(_)) => &entries::COLD_KEY,
            JobError::Object { .. } | JobError::Manifest { .. } => &entries::COLD_DAMAGED,
            _ => &entries::COLD_UNREACHABLE,
        };
        Failure::new(entry, error.to_string(), self.place.clone())
    }

    fn manifest(&mut self, group: u64) -> Result<Manifest, Failure> {
        let job = self.tier.publish(Change::Read, Manifest::empty(group));
        match self.finish(job) {
            Ok(Finished::Published(manifest)) => Ok(manifest),
            Ok(_) => Err(self.failure(&JobError::Confused)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn groups(&mut self, group: Option<u64>) -> Result<Vec<u64>, Failure> {
        if let Some(group) = group {
            return Ok(vec![group]);
        }
        let job = self.tier.groups();
        match self.finish(job) {
            Ok(Finished::Groups(groups)) => Ok(groups),
            Ok(_) => Err(self.failure(&JobError::Confused)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn list(&mut self, group: Option<u64>, output: Output) -> Result<Answer, Failure> {
        let mut report = self.report();
        for group in self.groups(group)? {
            let manifest = self.manifest(group)?;
            let stored = manifest.segments().iter();
            report
                .segments
                .extend(stored.map(|stored| line(stored, None)));
        }
        Ok(answer(report, output))
    }

    /// What a group's manifest names, as far as it can be read; what is wrong with it goes into the report.
    fn named(&mut self, group: u64, report: &mut Report) -> Result<Vec<Stored>, Failure> {
        let mut damaged = |object: String, damage: String| {
            report.manifests.push(Damage {
                object,
                group,
                damage,
                what_to_do: BRING_EDIT_BACK,
            });
        };
        let job = self.tier.publish(Change::Read, Manifest::empty(group));
        let manifest = match self.finish(job) {
            Ok(Finished::Published(manifest)) => Some(manifest),
            Ok(_) => return Err(self.failure(&JobError::Confused)),
            Err(JobError::Manifest { name, error }) => {
                damaged(name, error.to_string());
                None
            }
            // An edit between others is gone: below it is told which.
            Err(JobError::Store(StoreError::NotFound)) => None,
            Err(error) => return Err(self.failure(&error)),
        };
        let job = self.tier.inventory(group);
        let all = match self.finish(job) {
            Ok(Finished::Inventory(all)) => all,
            Ok(_) => return Err(self.failure(&JobError::Confused)),
            Err(error) => return Err(self.failure(&error)),
        };
        let number = |object: &Listed| name::number_of_edit(group, &object.name);
        let edits: BTreeSet<u64> = all.iter().filter_map(number).collect();
        let newest = edits.last().copied().unwrap_or(0);
        for missing in (1..newest).filter(|number| !edits.contains(number)) {
            let damage = format!("no such object, and edits up to {newest} are there");
            damaged(name::edit(group, missing), damage);
        }
        let stored = manifest.map_or_else(Vec::new, |manifest| manifest.segments().to_vec());
        let names: BTreeSet<String> = stored.iter().map(|one| one.segment.object()).collect();
        let segments = all.iter().map(|object| &object.name);
        let segments = segments.filter(|name| name.starts_with(&name::segments_of(group)));
        report.unnamed_objects += segments.filter(|name| !names.contains(*name)).count() as u64;
        Ok(stored)
    }

    fn verify(&mut self, group: Option<u64>, output: Output) -> Result<Answer, Failure> {
        let mut report = self.report();
        let mut stored = Vec::new();
        for group in self.groups(group)? {
            stored.extend(self.named(group, &mut report)?);
        }
        let bytes = stored.iter().map(|stored| stored.segment.bytes).sum();
        // Draws on standard error, and only where that is a terminal.
        let bar = ProgressBar::new(bytes).with_style(
            ProgressStyle::with_template("verifying {bar:40} {bytes}/{total_bytes} {eta}")
                .expect("the template is right"),
        );
        for stored in &stored {
            let job = self.tier.verify(stored.segment);
            let damage = match self.finish(job) {
                Ok(_) => None,
                Err(error @ (JobError::Object { .. } | JobError::Store(StoreError::NotFound))) => {
                    Some(error.to_string())
                }
                Err(error) => return Err(self.failure(&error)),
            };
            let store_lock = match stored.retention {
                Retention::Locked(_) if damage.is_none() => Some(self.lock_of(stored)?),
                _ => None,
            };
            bar.inc(stored.segment.bytes);
            report.segments.push(Line {
                store_lock,
                ..line(stored, damage)
            });
        }
        bar.finish_and_clear();
        Ok(answer(report, output))
    }

    /// Up to when the store itself keeps it; 0: it does not.
    fn lock_of(&mut self, stored: &Stored) -> Result<u64, Failure> {
        let job = self.tier.lock_of(stored.segment);
        match self.finish(job) {
            Ok(Finished::LockedUntil(_, until)) => Ok(until),
            Ok(_) => Err(self.failure(&JobError::Confused)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn fetch(
        &mut self,
        group: u64,
        index: u64,
        to: &PathBuf,
        output: Output,
    ) -> Result<Answer, Failure> {
        let manifest = self.manifest(group)?;
        let Some(stored) = manifest.holding(index).copied() else {
            let cause = format!("group {group} has no segment with index {index}");
            let place = self.place.clone();
            return Err(Failure::new(&entries::COLD_UNKNOWN_SEGMENT, cause, place));
        };
        let job = self.tier.download(stored.segment);
        let file = match self.finish(job) {
            Ok(Finished::Downloaded(_, file)) => file,
            Ok(_) => return Err(self.failure(&JobError::Confused)),
            Err(JobError::Store(StoreError::NotFound)) => {
                let object = stored.segment.object();
                let cause = format!("{object}: no such object, although the manifest names it");
                let place = self.place.clone();
                return Err(Failure::new(&entries::COLD_DAMAGED, cause, place));
            }
            Err(error) => return Err(self.failure(&error)),
        };
        write_new(to, &file).map_err(|error| {
            let place = to.display().to_string();
            Failure::new(&disk::FOLDER_UNUSABLE, error.to_string(), place)
        })?;
        let mut report = self.report();
        report.segments.push(line(&stored, None));
        Ok(answer(report, output))
    }

    fn report(&self) -> Report {
        Report {
            schema_version: SCHEMA_VERSION,
            location: self.place.clone(),
            intact: true,
            segments: Vec::new(),
            manifests: Vec::new(),
            unnamed_objects: 0,
        }
    }
}

fn answer(mut report: Report, output: Output) -> Answer {
    let are_whole = report.segments.iter().all(|line| line.damage.is_none());
    report.intact = are_whole && report.manifests.is_empty();
    let text = match output {
        Output::Text => render(&report),
        Output::Json => to_json(&report),
    };
    Answer::looked(text, report.intact)
}

fn write_new(path: &PathBuf, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn line(stored: &Stored, damage: Option<String>) -> Line {
    let segment = stored.segment;
    Line {
        object: segment.object(),
        group: segment.group,
        first: segment.first,
        last: segment.last,
        bytes: segment.bytes,
        retention: stored.retention,
        what_to_do: damage.is_some().then_some(BRING_BACK),
        store_lock: None,
        damage,
    }
}

/// In words, who keeps a file up to this second; the store is not mentioned when it was not asked.
fn locked(second: u64, store: Option<u64>) -> String {
    let by = match store {
        None => "",
        Some(until) if until >= second => ", by the store",
        Some(_) => ", by Quorate alone",
    };
    format!("locked until {second}{by}")
}

fn render(report: &Report) -> String {
    let total: u64 = report.segments.iter().map(|line| line.bytes).sum();
    let mut lines = vec![format!(
        "{}: {} segment(s), {total} bytes, {}",
        report.location,
        report.segments.len(),
        if report.intact { "intact" } else { "DAMAGED" }
    )];
    for line in &report.segments {
        lines.push(format!(
            "  group {:<6} {:>12} to {:<12} {:>12} bytes  {}",
            line.group,
            line.first,
            line.last,
            line.bytes,
            match line.retention {
                Retention::Keep => "kept".to_owned(),
                Retention::Until(second) => format!("until {second}"),
                Retention::Locked(second) => locked(second, line.store_lock),
            }
        ));
        if let Some(damage) = &line.damage {
            lines.push(format!(
                "    DAMAGE {}: {damage}; {}",
                line.object,
                line.what_to_do.unwrap_or_default()
            ));
        }
    }
    lines.extend(report.manifests.iter().map(|one| {
        format!(
            "  group {:<6} DAMAGE {}: {}; {}",
            one.group, one.object, one.damage, one.what_to_do
        )
    }));
    if report.unnamed_objects > 0 {
        lines.push(format!(
            "  {} object(s) that no manifest names: they go by themselves when they are old enough",
            report.unnamed_objects
        ));
    }
    lines.join("\n") + "\n"
}
