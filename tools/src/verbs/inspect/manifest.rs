//! `quorate inspect manifest`: what the states of a stopped node's groups are made of, and whether all of it is there and whole.

use std::fs;
use std::path::Path;

use engine::folder::Folder;
use engine::manifest::{FileId, Manifest};
use serde::Serialize;
use wal::archive::{FileKind, Name};

use super::log::{self, Arguments};
use crate::answer::{Answer, SCHEMA_VERSION, to_json};
use crate::arguments::Output;
use crate::catalogue::disk;
use crate::failure::Failure;

/// Folder of images, chapters and sealed files in a core's folder.
const ARCHIVE: &str = "archive";

#[derive(Debug, Serialize)]
struct Report {
    schema_version: u32,
    node: u32,
    intact: bool,
    manifests: Vec<Line>,
}

/// A manifest, and the files that it names.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    file: String,
    core: u16,
    group: u64,
    index: u64,
    term: u64,
    digest: String,
    image_bytes: u64,
    chapters: usize,
    chapter_bytes: u64,
    pub(super) damage: Vec<Damage>,
}

/// A file that is not what it should be.
#[derive(Debug, Serialize)]
pub(super) struct Damage {
    file: String,
    /// Where: only a whole file's hash is known, so from its beginning.
    offset: u64,
    group: u64,
    /// The state that cannot be read without it: all entries up to here.
    index: u64,
    what: String,
    what_to_do: &'static str,
}

impl Damage {
    pub(super) fn render(&self) -> String {
        format!(
            "DAMAGE {}, offset {}: {} (group {}, state up to entry {}); {}",
            self.file, self.offset, self.what, self.group, self.index, self.what_to_do
        )
    }
}

const REMEDY: &str = "start the node: it takes an older state that is whole, or is given the newest by its peers; a \
    node without peers needs a copy of the file";

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Answer, Failure> {
    let folder = log::open(&arguments.data_dir)?;
    let cores = 0..folder.layout().cores;
    let mut manifests = Vec::new();
    for core in cores.filter(|core| arguments.core.is_none_or(|only| only == *core)) {
        manifests.extend(of_core(&folder, core)?);
    }
    let report = Report {
        schema_version: SCHEMA_VERSION,
        node: folder.node().0,
        intact: manifests.iter().all(|line| line.damage.is_empty()),
        manifests,
    };
    let text = match output {
        Output::Text => render(&report),
        Output::Json => to_json(&report),
    };
    Ok(Answer::looked(text, report.intact))
}

/// The manifests of a core's groups, each with what is wrong with its files.
pub(super) fn of_core(folder: &Folder, core: u16) -> Result<Vec<Line>, Failure> {
    let archive = folder.core_dir(core).join(ARCHIVE);
    if !archive.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| {
        let place = archive.display().to_string();
        Failure::new(&disk::FOLDER_UNUSABLE, error.to_string(), place)
    };
    let mut names = Vec::new();
    for entry in archive.read_dir().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(Name::parse));
    }
    names.sort_unstable();
    let manifests = names.iter().filter(|name| name.kind == FileKind::Manifest);
    Ok(manifests.map(|name| read(&archive, core, *name)).collect())
}

fn read(archive: &Path, core: u16, name: Name) -> Line {
    let path = archive.join(name.to_string());
    let mut line = Line {
        file: path.display().to_string(),
        core,
        group: name.group,
        index: name.number,
        term: 0,
        digest: String::new(),
        image_bytes: 0,
        chapters: 0,
        chapter_bytes: 0,
        damage: Vec::new(),
    };
    let damage = |file: &Path, what: String| Damage {
        file: file.display().to_string(),
        offset: 0,
        group: name.group,
        index: name.number,
        what,
        what_to_do: REMEDY,
    };
    let parsed = fs::read(&path).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|bytes| {
        let parsed = Manifest::parse(&bytes).map_err(|error| error.to_string())?;
        Ok(parsed.0)
    });
    let manifest = match parsed {
        Ok(manifest) if manifest.name() == name => manifest,
        Ok(_) => {
            line.damage
                .push(damage(&path, "it is another's manifest".to_owned()));
            return line;
        }
        Err(what) => {
            line.damage.push(damage(&path, what));
            return line;
        }
    };
    line.term = manifest.last.term.0;
    line.digest = format!("{:032x}", manifest.digest);
    line.image_bytes = manifest.image.length;
    line.chapters = manifest.chapters.len();
    line.chapter_bytes = manifest.chapters.iter().map(|file| file.length).sum();
    for (name, expected) in manifest.files() {
        let path = archive.join(name.to_string());
        let what = match fs::read(&path) {
            Err(error) => error.to_string(),
            Ok(bytes) if bytes.len() as u64 != expected.length => {
                format!("{} bytes, {} expected", bytes.len(), expected.length)
            }
            Ok(bytes) if FileId::of(&bytes) != expected => "its hash does not match".to_owned(),
            Ok(_) => continue,
        };
        line.damage.push(damage(&path, what));
    }
    line
}

fn render(report: &Report) -> String {
    let state = if report.intact { "intact" } else { "DAMAGED" };
    let count = report.manifests.len();
    let mut lines = vec![format!(
        "node {}: {count} manifest(s), {state}",
        report.node
    )];
    for line in &report.manifests {
        lines.push(format!(
            "  group {:<6} state at entry {} of term {}: image of {} bytes, {} chapter(s) of {} bytes, digest {}",
            line.group,
            line.index,
            line.term,
            line.image_bytes,
            line.chapters,
            line.chapter_bytes,
            line.digest
        ));
        lines.extend(
            line.damage
                .iter()
                .map(|one| format!("    {}", one.render())),
        );
    }
    lines.join("\n") + "\n"
}
