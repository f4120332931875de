//! `quorate inspect integrity`: checks every byte of a stopped node's folder, or of all sealed files below any folder.
//!
//! - A node's folder is one with a `quorate.toml`: its logs, and the files that its manifests name, are checked too.
//! - Files of other kinds are counted and left alone; links are not followed.
//! - Folders are visited in order of their names, so that two runs tell the same.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::log::{self, DamageLine};
use super::manifest::{self, Line};
use super::sealed_file::{Report as FileReport, look, unreadable};
use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  quorate inspect integrity /var/lib/quorate
  quorate inspect integrity /mnt/cold --output json

Finds sealed segments by their bytes, whatever their names. Exit code 0: every byte
of all of them is as it was written; with the data folder of a stopped node its logs, manifests, images and
chapters are checked as well; 3: some are damaged or could not be read, and each is named.";

/// Bytes at either end of a file that tell its kind.
const ENDS: usize = 128;

/// What tells a node's folder from another.
const IDENTITY: &str = "quorate.toml";

/// Flags of `quorate inspect integrity`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The folder whose files are checked, with all folders below it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// What was found below a folder.
#[derive(Debug, Default, Serialize)]
struct Report {
    schema_version: u32,
    folder: String,
    intact: bool,
    /// Sealed files, and their bytes.
    files: u64,
    bytes: u64,
    /// Files of other kinds.
    others: u64,
    damaged: Vec<FileReport>,
    unreadable: Vec<String>,
    /// Records of the logs, and what is damaged in them, when the folder is a node's.
    records: u64,
    log_damage: Vec<DamageLine>,
    /// What the groups' states are made of, and what of it is damaged, when the folder is a node's.
    manifests: Vec<Line>,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let folder = &arguments.folder;
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        folder: folder.display().to_string(),
        ..Report::default()
    };
    let mut sealed = Vec::new();
    find(folder, &mut sealed, &mut report).map_err(|error| unreadable(&error, folder))?;
    let is_node = folder.join(IDENTITY).is_file();
    let node = is_node.then(|| log::open(folder)).transpose()?;
    let bar = progress(&sealed);
    for (path, bytes) in sealed {
        match look(&path) {
            Ok(Some(mut found)) => {
                if let Some(node) = &node {
                    found.expect_at_home(&path, node.layout().cluster.into());
                }
                if !found.intact {
                    report.damaged.push(found);
                }
            }
            Ok(None) => {}
            Err(error) => report.note_unreadable(&path, &error),
        }
        bar.inc(bytes);
    }
    bar.finish_and_clear();
    if let Some(node) = &node {
        for core in 0..node.layout().cores {
            let found = log::look_at_core(node, core)?;
            report.records += found.records;
            report.log_damage.extend(found.damage);
            report.manifests.extend(manifest::of_core(node, core)?);
        }
    }
    report.intact = report.damaged.is_empty()
        && report.unreadable.is_empty()
        && report.log_damage.is_empty()
        && report.manifests.iter().all(|line| line.damage.is_empty());
    let text = match output {
        Output::Text => render(&report),
        Output::Json => to_json(&report),
    };
    Ok(Answer::looked(text, report.intact))
}

impl Report {
    fn note_unreadable(&mut self, path: &Path, error: &io::Error) {
        self.unreadable.push(format!("{}: {error}", path.display()));
    }
}

/// A bar on standard error, when a person looks at it.
fn progress(sealed: &[(PathBuf, u64)]) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    let bar = ProgressBar::new(sealed.iter().map(|file| file.1).sum());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Finds the sealed files below a folder, with their sizes; the folder itself must be readable.
fn find(folder: &Path, sealed: &mut Vec<(PathBuf, u64)>, report: &mut Report) -> io::Result<()> {
    let mut entries = folder.read_dir()?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let found = entry.file_type().and_then(|kind| {
            if kind.is_dir() {
                return find(&path, sealed, report).map(|()| None);
            }
            if kind.is_file() {
                is_sealed(&path)
            } else {
                Ok(None)
            }
        });
        match found {
            Ok(Some(bytes)) => {
                report.files += 1;
                report.bytes += bytes;
                sealed.push((path, bytes));
            }
            Ok(None) => report.others += u64::from(!path.is_dir()),
            Err(error) => report.note_unreadable(&path, &error),
        }
    }
    Ok(())
}

/// The size of a file, if its ends are those of a sealed file.
fn is_sealed(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    file.by_ref().take(ENDS as u64).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(ENDS as u64)))?;
    file.take(ENDS as u64).read_to_end(&mut last)?;
    Ok(sealed::is_sealed(&first, &last).then_some(bytes))
}

fn render(report: &Report) -> String {
    let state = if report.intact {
        "all intact"
    } else {
        "DAMAGED"
    };
    let mut lines = vec![format!(
        "{}: {} sealed files with {} bytes, {state}; {} files of other kinds",
        report.folder, report.files, report.bytes, report.others
    )];
    for file in &report.damaged {
        lines.push(format!("{}  {} bytes", file.file, file.bytes));
        lines.extend(
            file.damage
                .iter()
                .map(|line| format!("  {}", line.render())),
        );
    }
    if !report.manifests.is_empty() || report.records > 0 {
        lines.push(format!(
            "logs: {} records; states: {} manifest(s)",
            report.records,
            report.manifests.len()
        ));
    }
    lines.extend(report.log_damage.iter().map(DamageLine::render));
    let states = report.manifests.iter().flat_map(|line| &line.damage);
    lines.extend(states.map(super::manifest::Damage::render));
    lines.extend(
        report
            .unreadable
            .iter()
            .map(|line| format!("UNREADABLE {line}")),
    );
    lines.join("\n") + "\n"
}
