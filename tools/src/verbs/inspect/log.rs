//! `quorate inspect wal`: the log of a stopped node, core by core: segments, groups, torn tail, and every damage with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use engine::folder::Folder;
use serde::Serialize;
use wal::inspect::{self, FileInfo, FileStatus, InspectError};
use wal::{Damage, Identity, Kind};

use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::catalogue::disk;
use crate::failure::Failure;
use crate::refusal;

/// Flags of `quorate inspect wal` and `quorate inspect manifest`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The data folder of a node that does not run
    #[arg(long, alias = "data", value_name = "DIR", env = "QUORATE_DATA_DIR")]
    pub(super) data_dir: PathBuf,

    /// This core only, counted from 0
    #[arg(long, value_name = "N")]
    pub(super) core: Option<u16>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    look(&arguments.data_dir, arguments.core, output)
}

/// Opens the data folder of a stopped node.
pub(super) fn open(data_dir: &Path) -> Result<Folder, Failure> {
    let place = data_dir.display().to_string();
    if !data_dir.is_dir() {
        let cause = "there is no such folder";
        return Err(Failure::new(&disk::FOLDER_UNUSABLE, cause, place));
    }
    Folder::open(data_dir, None).map_err(|error| refusal::of_engine(&error, &place))
}

/// The one place where the verb meets the log.
pub(super) fn look(data_dir: &Path, only: Option<u16>, output: Output) -> Result<Answer, Failure> {
    let folder = open(data_dir)?;
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
    let text = match output {
        Output::Text => render(&report),
        Output::Json => to_json(&report),
    };
    Ok(Answer::looked(text, report.intact))
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
pub(super) struct CoreLog {
    core: u16,
    path: String,
    files: Vec<FileLine>,
    pub(super) records: u64,
    bytes: u64,
    /// A write that had not ended, as a crash leaves it.
    torn_tail: Option<String>,
    pub(super) damage: Vec<DamageLine>,
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
    first_index: u64,
    last_index: u64,
    last_term: u64,
    payload_bytes: u64,
}

pub(super) fn look_at_core(folder: &Folder, core: u16) -> Result<CoreLog, Failure> {
    let path = folder.core_dir(core);
    let place = path.display().to_string();
    let told = |error: InspectError| refusal::of_inspect(&error, &place);
    let files = inspect::files(&path).map_err(told)?;
    is_ours(folder, core, &files)?;
    let mut groups: BTreeMap<u64, GroupLine> = BTreeMap::new();
    let opening = inspect::records_of(&path, folder.log_identity(core), &mut |recovered| {
        let record = recovered.record;
        let line = groups.entry(record.group).or_default();
        if record.kind == Kind::Entry {
            line.entries += 1;
            line.first_index = match line.first_index {
                0 => record.index,
                first => first.min(record.index),
            };
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
            .map(|damage| DamageLine::new(damage, &path))
            .collect(),
        groups,
    })
}

/// Files of another cluster, node or core are no damage that anything could be read around: they are refused by name.
fn is_ours(folder: &Folder, core: u16, files: &[FileInfo]) -> Result<(), Failure> {
    let expected = folder.log_identity(core);
    for file in files {
        let FileStatus::Sound { identity, .. } = file.status else {
            continue;
        };
        if identity != expected {
            let told = |of: Identity| {
                format!(
                    "core {} of node {} of cluster {}",
                    of.log, of.node, of.cluster
                )
            };
            let cause = format!(
                "the segment at offset 0 is a log's of {}; this folder is {}",
                told(identity),
                told(expected)
            );
            let place = file.path.display().to_string();
            return Err(Failure::new(&disk::FOLDER_OF_ANOTHER, cause, place));
        }
    }
    Ok(())
}

/// A damaged place of the log.
#[derive(Debug, Serialize)]
pub(super) struct DamageLine {
    /// The segment's file, when one is known.
    file: Option<String>,
    offset: u64,
    bytes: u64,
    kind: String,
    /// Whose records are lost there; nothing when their heads are lost too.
    group: Option<u64>,
    first_index: Option<u64>,
    last_index: Option<u64>,
    what_to_do: &'static str,
}

impl DamageLine {
    fn new(damage: &Damage, folder: &Path) -> Self {
        let path = |slot: u32| folder.join(inspect::file_name(slot)).display().to_string();
        Self {
            file: damage.slot.map(path),
            offset: damage.offset,
            bytes: damage.bytes,
            kind: format!("{:?}", damage.kind),
            group: damage.group,
            first_index: damage.first,
            last_index: damage.last,
            what_to_do: if damage.group.is_some() {
                "start the node: this group neither votes nor counts until its peers have given it these entries \
                 again; a node without peers needs a copy of the folder"
            } else {
                "start the node: every group that may have lost something here neither votes nor counts until its \
                 peers have told it what is missing; a node without peers needs a copy of the folder"
            },
        }
    }

    pub(super) fn render(&self) -> String {
        let file = self.file.as_deref().unwrap_or("no file");
        let whose = self.group.map_or("of unknown groups".to_owned(), |group| {
            let (first, last) = (self.first_index, self.last_index);
            match (first, last) {
                (Some(first), Some(last)) => format!("group {group}, entries {first} to {last}"),
                _ => format!("group {group}"),
            }
        });
        format!(
            "DAMAGE {file}, offset {}, {} bytes: {} ({whose}); {}",
            self.offset, self.bytes, self.kind, self.what_to_do
        )
    }
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
                "  group {group:<6} entries {} to {} of term {}, {} records with {} bytes",
                line.first_index, line.last_index, line.last_term, line.entries, line.payload_bytes
            ));
        }
        if let Some(cut) = &core.torn_tail {
            lines.push(format!("  torn tail, as a crash leaves it: {cut}"));
        }
        lines.extend(
            core.damage
                .iter()
                .map(|damage| format!("  {}", damage.render())),
        );
    }
    lines.join("\n") + "\n"
}
