//! `quorate inspect`: looks into the data folder of a stopped node, or into sealed files, and changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use engine::folder::Folder;
use serde::Serialize;
use wal::Kind;
use wal::inspect::{self, FileInfo, FileStatus, InspectError};

use crate::answer::{Answer, Exit, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::catalogue::disk;
use crate::failure::Failure;
use crate::refusal;

mod integrity;
mod sealed_file;

const EXAMPLES: &str = "\
Examples:
  quorate inspect --data-dir /var/lib/quorate
  quorate inspect --data-dir /var/lib/quorate --core 1 --output json
  quorate inspect segment /var/lib/quorate/some-segment
  quorate inspect integrity /var/lib/quorate

Prints the folder's identity, its segments, the last record of each group, and where the log is
torn or damaged. Exit code 0: intact, or torn at the tail as a crash leaves it; 3: damaged before
the tail.";

/// Flags of `quorate inspect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,

    /// The data folder of a node that does not run
    #[arg(
        long,
        alias = "data",
        value_name = "DIR",
        env = "QUORATE_DATA_DIR",
        required = true
    )]
    data_dir: Option<PathBuf>,

    /// Look at the log of this core only, counted from 0
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<u16>,
}

/// What else can be looked into.
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Look into a sealed segment or an index run, and check every byte of it
    Segment(sealed_file::Arguments),
    /// Check every byte of all sealed files below a folder
    Integrity(integrity::Arguments),
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    match &arguments.what {
        Some(What::Segment(arguments)) => sealed_file::run(arguments, output),
        Some(What::Integrity(arguments)) => integrity::run(arguments, output),
        None => {
            let data_dir = arguments.data_dir.clone().unwrap_or_default();
            look(&data_dir, arguments.core, output)
        }
    }
}

/// The one place where the verb meets the log.
fn look(data_dir: &Path, only: Option<u16>, output: Output) -> Result<Answer, Failure> {
    let place = data_dir.display().to_string();
    if !data_dir.is_dir() {
        return Err(Failure::new(
            &disk::FOLDER_UNUSABLE,
            "there is no such folder",
            place,
        ));
    }
    let folder =
        Folder::open(data_dir, None).map_err(|error| refusal::of_engine(&error, &place))?;
    let layout = folder.layout();
    let mut cores = Vec::new();
    for core in (0..layout.cores).filter(|core| only.is_none_or(|only| only == *core)) {
        cores.push(look_at_core(&folder, core)?);
    }
    let report = Report {
        schema_version: SCHEMA_VERSION,
        cluster: layout.cluster,
        node: folder.node().0,
        format_cores: layout.cores,
        format_groups: layout.groups,
        intact: cores.iter().all(|core| core.damage.is_empty()),
        cores,
    };
    let exit = if report.intact {
        Exit::Done
    } else {
        Exit::Unhealthy
    };
    let text = match output {
        Output::Text => render(&report),
        Output::Json => to_json(&report),
    };
    Ok(Answer { text, exit })
}

/// What was found in one folder.
#[derive(Debug, Serialize)]
struct Report {
    schema_version: u32,
    cluster: u64,
    node: u32,
    format_cores: u16,
    format_groups: u64,
    intact: bool,
    cores: Vec<CoreLog>,
}

#[derive(Debug, Serialize)]
struct CoreLog {
    core: u16,
    path: String,
    files: Vec<FileLine>,
    records: u64,
    bytes: u64,
    /// A write that had not ended, as a crash leaves it.
    torn_tail: Option<String>,
    damage: Vec<String>,
    groups: BTreeMap<u64, GroupLine>,
}

#[derive(Debug, Serialize)]
struct FileLine {
    file: String,
    bytes: u64,
    status: String,
}

#[derive(Debug, Default, Serialize)]
struct GroupLine {
    entries: u64,
    last_index: u64,
    last_term: u64,
    payload_bytes: u64,
}

fn look_at_core(folder: &Folder, core: u16) -> Result<CoreLog, Failure> {
    let path = folder.core_dir(core);
    let place = path.display().to_string();
    let told = |error: InspectError| refusal::of_inspect(&error, &place);
    let files = inspect::files(&path).map_err(told)?;
    let mut groups: BTreeMap<u64, GroupLine> = BTreeMap::new();
    let opening = inspect::records(&path, &mut |recovered| {
        let record = recovered.record;
        let line = groups.entry(record.group).or_default();
        if record.kind == Kind::Entry {
            line.entries += 1;
            line.last_index = record.index;
            line.last_term = record.term;
            line.payload_bytes += record.payload.len() as u64;
        }
    });
    let opening = opening.map_err(told)?;
    Ok(CoreLog {
        core,
        path: place,
        files: files.iter().map(describe).collect(),
        records: opening.records,
        bytes: opening.bytes,
        torn_tail: opening.cut.map(|cut| format!("{cut:?}")),
        damage: opening
            .damage
            .iter()
            .map(|damage| format!("{damage:?}"))
            .collect(),
        groups,
    })
}

fn describe(file: &FileInfo) -> FileLine {
    let status = match &file.status {
        FileStatus::Blank => "never used".to_owned(),
        FileStatus::Sound {
            segment, first_lsn, ..
        } => format!("segment {segment}, from record {first_lsn}"),
        FileStatus::Newer(version) => format!("format {version}, newer than this program"),
        FileStatus::Damaged => "its header does not pass".to_owned(),
    };
    let name = file.path.file_name().unwrap_or_default();
    FileLine {
        file: name.to_string_lossy().into_owned(),
        bytes: file.bytes,
        status,
    }
}

fn render(report: &Report) -> String {
    let mut lines = vec![format!(
        "node {} of cluster {}: {} core(s), {} group(s), {}",
        report.node,
        report.cluster,
        report.format_cores,
        report.format_groups,
        if report.intact { "intact" } else { "DAMAGED" }
    )];
    for core in &report.cores {
        lines.push(format!(
            "core {}  {}  {} records, {} bytes",
            core.core, core.path, core.records, core.bytes
        ));
        for file in &core.files {
            lines.push(format!(
                "  {:<24} {:>12}  {}",
                file.file, file.bytes, file.status
            ));
        }
        for (group, line) in &core.groups {
            lines.push(format!(
                "  group {group:<6} last entry {} of term {}, {} records with {} bytes",
                line.last_index, line.last_term, line.entries, line.payload_bytes
            ));
        }
        if let Some(cut) = &core.torn_tail {
            lines.push(format!("  torn tail, as a crash leaves it: {cut}"));
        }
        lines.extend(
            core.damage
                .iter()
                .map(|damage| format!("  DAMAGE {damage}")),
        );
    }
    lines.join("\n") + "\n"
}
