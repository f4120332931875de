//! `quorate inspect segment`: says what a sealed segment holds, and checks every byte of it.
//!
//! - All damage is reported, block by block; a file whose ends are damaged is reported as far as it names itself.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use sealed::{Codec, Damage, Part, SegmentReader, is_sealed};
use serde::Serialize;
use wal::archive::{FileKind as ArchiveKind, Name};

use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::catalogue::disk;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  quorate inspect segment ./000001.segment
  quorate inspect segment ./000001.segment --output json

Exit code 0: every byte is as it was written; 3: damaged, and each damage is named with its place, its group, its entries and what to do.";

/// Flags of `quorate inspect segment`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The sealed segment
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let file = &arguments.file;
    let report = look(file).map_err(|error| unreadable(&error, file))?;
    let report = report.ok_or_else(|| {
        let place = file.display().to_string();
        Failure::new(&disk::NOT_SEALED, "neither end is a sealed file's", place)
    })?;
    let text = match output {
        Output::Text => render(&report),
        Output::Json => to_json(&report),
    };
    Ok(Answer::looked(text, report.damage.is_empty()))
}

/// Tells that a path could not be read.
pub(super) fn unreadable(error: &io::Error, path: &Path) -> Failure {
    let place = path.display().to_string();
    Failure::new(&disk::FILE_UNREADABLE, error.to_string(), place)
}

/// What was found in one sealed file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema_version: u32,
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) intact: bool,
    kind: &'static str,
    content: Option<SegmentContent>,
    pub(super) damage: Vec<DamageLine>,
}

#[derive(Debug, Serialize)]
struct SegmentContent {
    cluster: String,
    group: u64,
    first: u64,
    last: u64,
    terms: Vec<(u64, u64)>,
    time_first: u64,
    time_last: u64,
    blocks: u32,
    payload_bytes: u64,
    codec: String,
    columns: bool,
    root: String,
    keys: Vec<String>,
}

/// One thing found wrong.
#[derive(Debug, Serialize)]
pub(super) struct DamageLine {
    part: String,
    offset: u64,
    bytes: u64,
    problem: String,
    group: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
    fix: String,
}

impl DamageLine {
    fn new(damage: &Damage) -> Self {
        Self {
            part: damage.part.to_string(),
            offset: damage.offset,
            bytes: damage.bytes,
            problem: damage.kind.to_string(),
            group: damage.group,
            first: damage.first,
            last: damage.last,
            fix: damage.remedy().to_string(),
        }
    }

    /// The line for people.
    pub(super) fn render(&self) -> String {
        let mut line = format!(
            "DAMAGE {} at byte {}, {} bytes: {}",
            self.part, self.offset, self.bytes, self.problem
        );
        if let Some(group) = self.group {
            let _ = write!(line, "; group {group}");
        }
        if let Some(first) = self.first {
            let last = self.last.map_or("?".to_owned(), |last| last.to_string());
            let _ = write!(line, ", entries {first} to {last}");
        }
        let _ = write!(line, "\n    fix: {}", self.fix);
        line
    }
}

impl Report {
    /// A node's sealed file says in its name whose it is and where it begins: what is whole and says otherwise is another's.
    pub(super) fn expect_at_home(&mut self, path: &Path, cluster: u128) {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.and_then(Name::parse);
        let name = name.filter(|name| name.kind == ArchiveKind::Sealed);
        let (Some(name), Some(it)) = (name, &self.content) else {
            return;
        };
        let own = (name.group, name.number, format!("{cluster:x}"));
        if (it.group, it.first, it.cluster.clone()) == own {
            return;
        }
        self.damage.push(DamageLine {
            part: "the whole file".to_owned(),
            offset: 0,
            bytes: self.bytes,
            problem: format!(
                "it holds group {} of cluster {} from entry {} on, which its name does not say",
                it.group, it.cluster, it.first
            ),
            group: Some(name.group),
            first: Some(name.number),
            last: None,
            fix: "give it the name that it had; or remove it, and the node takes these entries from its log or the \
                object store, if they are there, or from a replica's copy of the file"
                .to_owned(),
        });
        self.intact = false;
    }
}

/// Reads and checks a file; `None` if it is no sealed file.
pub(super) fn look(path: &Path) -> io::Result<Option<Report>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    if !is_sealed(&bytes, &bytes) {
        return Ok(None);
    }
    let mut damage = Vec::new();
    let content = look_at_segment(&bytes, &mut damage);
    Ok(Some(Report {
        schema_version: SCHEMA_VERSION,
        file: path.display().to_string(),
        bytes: bytes.len() as u64,
        intact: damage.is_empty(),
        kind: "segment",
        content,
        damage: damage.iter().map(DamageLine::new).collect(),
    }))
}

/// Checks all blocks; one that is damaged is named, and the check goes on behind it.
fn check_blocks(
    blocks: u32,
    damage: &mut Vec<Damage>,
    mut verify: impl FnMut(u32) -> Result<Option<u32>, Damage>,
) {
    let mut next = Some(0);
    while let Some(number) = next {
        next = match verify(number) {
            Ok(next) => next,
            Err(found) => {
                damage.push(found);
                match found.part {
                    Part::Block(block) => Some(block + 1).filter(|next| *next < blocks),
                    _ => None,
                }
            }
        };
    }
}

fn look_at_segment(bytes: &[u8], damage: &mut Vec<Damage>) -> Option<SegmentContent> {
    let segment = match SegmentReader::open(bytes) {
        Ok(segment) => segment,
        Err(found) => {
            damage.push(found);
            return None;
        }
    };
    check_blocks(segment.blocks(), damage, |from| {
        segment.verify(from, 16 << 20)
    });
    let spec = segment.spec();
    let (time_first, time_last) = segment.time_range();
    Some(SegmentContent {
        cluster: format!("{:x}", spec.cluster),
        group: spec.group,
        first: segment.first(),
        last: segment.last(),
        terms: segment.terms().map(|run| (run.first, run.term)).collect(),
        time_first,
        time_last,
        blocks: segment.blocks(),
        payload_bytes: segment.payload_bytes(),
        codec: match spec.codec {
            Codec::Plain => "none".to_owned(),
            Codec::Lz4 => "lz4".to_owned(),
            Codec::Zstd(level) => format!("zstd {level}"),
        },
        columns: spec.columns,
        root: hex(&segment.root()),
        keys: spec.key_ids.iter().map(|id| format!("{id:x}")).collect(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn render(report: &Report) -> String {
    let state = if report.intact { "intact" } else { "DAMAGED" };
    let mut lines = Vec::new();
    lines.push(format!("{}: sealed segment, {state}", report.file));
    if let Some(it) = &report.content {
        let terms: Vec<String> = it
            .terms
            .iter()
            .map(|(first, term)| format!("{term} from {first}"))
            .collect();
        lines.extend([
            format!(
                "  group {} of cluster {}, entries {} to {}, terms {}",
                it.group,
                it.cluster,
                it.first,
                it.last,
                terms.join(", ")
            ),
            format!("  times {} to {}", it.time_first, it.time_last),
            format!(
                "  {} bytes for {} bytes of payload, {} blocks, compression {}{}",
                report.bytes,
                it.payload_bytes,
                it.blocks,
                it.codec,
                if it.columns { " in columns" } else { "" }
            ),
            format!("  root {}", it.root),
        ]);
    }
    lines.extend(
        report
            .damage
            .iter()
            .map(|line| format!("  {}", line.render())),
    );
    lines.join("\n") + "\n"
}
