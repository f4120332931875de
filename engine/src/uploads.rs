//! Uploads in parts that are under way, remembered in the data folder so that a restart goes on with them.
//!
//! - A hint and nothing more: a file that is missing, damaged or old costs the parts that were sent, and nothing else.
//! - Written anew as a whole, under another name first.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use cold::jobs::upload::Resume;
use cold::key::WrappedKey;
use cold::name::Segment;
use serde::{Deserialize, Serialize};

/// The file's name in the data folder.
pub(crate) const NAME: &str = "cold-uploads";

/// One upload: a line of JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    segment: Segment,
    upload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Vec<u8>>,
    parts: Vec<String>,
}

/// What the file remembers; lines that cannot be read are forgotten.
pub(crate) fn read(path: &Path) -> Vec<(Segment, Resume)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let line: Line = serde_json::from_str(line).ok()?;
        let resume = Resume {
            upload: line.upload,
            key: line.key.map(WrappedKey),
            parts: line.parts,
        };
        Some((line.segment, resume))
    };
    text.lines().filter_map(line).collect()
}

/// Remembers these, and no others.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(path: &Path, uploads: &BTreeMap<Segment, Resume>) -> io::Result<()> {
    let mut text = String::new();
    for (segment, resume) in uploads {
        let line = Line {
            segment: *segment,
            upload: resume.upload.clone(),
            key: resume.key.as_ref().map(|key| key.0.clone()),
            parts: resume.parts.clone(),
        };
        text += &serde_json::to_string(&line)?;
        text.push('\n');
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use cold::name::ContentHash;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_nonsense_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        assert_eq!(read(&path), []);
        let resume = |key: Option<&[u8]>| Resume {
            upload: "an \"upload\"".to_owned(),
            key: key.map(|key| WrappedKey(key.to_vec())),
            parts: vec!["one".to_owned(), "two".to_owned()],
        };
        let segment = |first, copy| Segment {
            group: 3,
            first,
            last: first + 9,
            bytes: 70 << 20,
            hash: ContentHash::of(b"x"),
            copy,
        };
        let uploads: BTreeMap<_, _> = [
            (segment(1, 0), resume(None)),
            (segment(11, 2), resume(Some(&[0, 255]))),
        ]
        .into();
        write(&path, &uploads).expect("written");
        assert_eq!(read(&path), uploads.clone().into_iter().collect::<Vec<_>>());
        let text = fs::read_to_string(&path).expect("text");
        fs::write(&path, format!("nonsense\n{text}{{}}\n")).expect("written");
        assert_eq!(read(&path).len(), 2);
        write(&path, &BTreeMap::new()).expect("written");
        assert_eq!(read(&path), []);
    }
}
