//! Before the first turn: a group's newest sound state is put into its machine, and what no state needs is removed.
//!
//! - A manifest is believed when its checksum holds, an image when its hash does; a chapter must be there in full length,
//!   the rest of it is its machine's to judge.
//! - What is wrong is named, file by file, and the next older state is tried. Without one the machine is empty.
//! - Files of a version that this program does not read are left as they are: whoever opens the shard says whether the
//!   group can do without them.
//! - Sealed files stand for themselves and are left as they are.
//! - Chapters that no manifest names may be half of an installation: they are kept for its next attempt.

use std::sync::Arc;

use raft::state_machine::{RestoreError, StateMachine};
use wal::archive::{Archive, ArchiveError, FileKind, Name};

use crate::limits;
use crate::manifest::{FileId, Manifest, ManifestError, manifest_name};
use crate::shelf::{Lent, Shelf};

/// A file that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct Fault {
    /// Which file.
    pub name: Name,
    /// What is wrong with it.
    pub why: FaultKind,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// It cannot be read, or is not there.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A manifest that cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It has another length than its manifest says.
    #[error("it holds {found} bytes, {expected} expected")]
    Length {
        /// Its length in bytes.
        found: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// Its hash is not the one that its manifest says.
    #[error("its hash does not match")]
    Hash,
    /// The machine does not take it.
    #[error(transparent)]
    Machine(#[from] RestoreError),
    /// It is no sealed file of its group and first entry, or its header, footer or envelope is damaged.
    #[error("it is no sound sealed file; `quorate inspect segment` tells where")]
    Sealed,
    /// The machine took it and has another state hash than the manifest says.
    #[error("the state that it leads to has another digest")]
    Digest,
}

impl FaultKind {
    /// The file is whole, and of a version that this program does not read.
    fn is_of_another_version(self) -> bool {
        matches!(
            self,
            Self::Machine(RestoreError::Version(_)) | Self::Manifest(ManifestError::Version(_))
        )
    }
}

/// What was found of one group.
pub(crate) struct Found<M> {
    pub(crate) machine: M,
    pub(crate) shelf: Shelf,
    /// The newest state that another program wrote, in a version that this one does not read: its index.
    pub(crate) unread: Option<(u64, Fault)>,
}

/// Puts the newest sound state of a group into a machine. `files` are the group's, `faults` takes what was wrong.
pub(crate) fn restore<M: StateMachine>(
    archive: &mut dyn Archive,
    group: u64,
    files: &[(Name, u64)],
    make: &mut dyn FnMut() -> M,
    faults: &mut Vec<Fault>,
) -> Found<M> {
    let mut shelf = Shelf::default();
    let (mut machine, mut unread) = (make(), None);
    let manifests = files
        .iter()
        .filter(|(name, _)| name.kind == FileKind::Manifest);
    for (name, _) in manifests.rev() {
        let restored = read_manifest(archive, *name)
            .and_then(|manifest| restore_one(archive, &manifest, &mut machine).map(|()| manifest));
        match restored {
            Ok(manifest) => {
                shelf.chapters.clone_from(&manifest.chapters);
                shelf.manifest = Some(manifest);
                break;
            }
            Err(fault) => {
                if fault.why.is_of_another_version() {
                    unread.get_or_insert((name.number, fault));
                }
                faults.push(fault);
                machine = make();
            }
        }
    }
    let files = files.iter().copied();
    let files: Vec<(Name, u64)> = files
        .filter(|(name, _)| unread.is_none_or(|(index, _)| name.number < index))
        .collect();
    sweep(archive, group, &files, &mut shelf, faults);
    Found {
        machine,
        shelf,
        unread,
    }
}

fn read_manifest(archive: &mut dyn Archive, name: Name) -> Result<Manifest, Fault> {
    let fault = |why| Fault { name, why };
    let contents = archive
        .open_now(name)
        .map_err(|error| fault(error.into()))?;
    let (manifest, _) =
        Manifest::parse(contents.as_ref().as_ref()).map_err(|error| fault(error.into()))?;
    if manifest.name() != name {
        return Err(fault(ManifestError::Malformed.into()));
    }
    Ok(manifest)
}

/// Puts a state into a machine.
pub(crate) fn restore_one<M: StateMachine>(
    archive: &mut dyn Archive,
    manifest: &Manifest,
    machine: &mut M,
) -> Result<(), Fault> {
    let open = |archive: &mut dyn Archive, name: Name, file: FileId| {
        let fault = |why| Fault { name, why };
        let contents = archive
            .open_now(name)
            .map_err(|error| fault(error.into()))?;
        let (found, expected) = (contents.as_ref().as_ref().len() as u64, file.length);
        if found == expected {
            Ok(contents)
        } else {
            Err(fault(FaultKind::Length { found, expected }))
        }
    };
    let name = manifest.image_name();
    let fault = |why| Fault { name, why };
    let image = open(archive, name, manifest.image)?;
    let bytes = image.as_ref().as_ref();
    if FileId::of(bytes) != manifest.image {
        return Err(fault(FaultKind::Hash));
    }
    machine.begin_restore();
    for piece in bytes.chunks(limits::IMAGE_PIECE_BYTES) {
        machine
            .restore_piece(piece)
            .map_err(|error| fault(error.into()))?;
    }
    for (name, file) in manifest.chapter_files() {
        let lent = Arc::new(Lent(open(archive, name, file)?));
        let shelved = machine.shelve(name.number, lent);
        shelved.map_err(|error| Fault {
            name,
            why: error.into(),
        })?;
    }
    end_restore(machine, manifest).map_err(fault)
}

/// All was handed over: is it the state that the manifest speaks of?
pub(crate) fn end_restore<M: StateMachine>(
    machine: &mut M,
    manifest: &Manifest,
) -> Result<(), FaultKind> {
    machine.end_restore()?;
    let is_whole = machine.chapters() == manifest.chapters.len() as u64;
    if is_whole && machine.digest() == manifest.digest {
        Ok(())
    } else {
        Err(FaultKind::Digest)
    }
}

/// Removes what the chosen state does not name, but for chapters.
fn sweep(
    archive: &mut dyn Archive,
    group: u64,
    files: &[(Name, u64)],
    shelf: &mut Shelf,
    faults: &mut Vec<Fault>,
) {
    let manifest = shelf.manifest.as_ref();
    let is_needed = |name: &Name| {
        name.kind == FileKind::Sealed
            || manifest.is_some_and(|manifest| {
                *name == manifest_name(group, manifest.last.index)
                    || manifest.files().any(|(needed, _)| needed == *name)
            })
    };
    let mut strays = Vec::new();
    for (name, _) in files.iter().filter(|(name, _)| !is_needed(name)) {
        let result = if name.kind == FileKind::Chapter {
            let hashed = archive
                .open_now(*name)
                .map(|contents| FileId::of(contents.as_ref().as_ref()));
            hashed.map(|file| strays.push((*name, file)))
        } else {
            archive.remove_now(*name)
        };
        if let Err(error) = result {
            let why = error.into();
            faults.push(Fault { name: *name, why });
        }
    }
    shelf.strays.extend(strays);
}
