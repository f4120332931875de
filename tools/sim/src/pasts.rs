//! The judges of the past: what the logs gave up is within reach, unchanged, and where the logs say that it is.
//!
//! - Of every group each entry up to the last one applied is in a log, in a sealed file, or in the object store.
//! - A sealed file has the same bytes as long as it is there, and its entries are those that the group agreed on.
//! - What a log says to be in the object store is read back from there at the end, byte for byte.

use std::collections::BTreeMap;

use raft::ids::GroupId;
use sealed::SegmentReader;
use shard::entry::{EntryHead, EntryKind};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::chronicle::Chronicle;
use crate::node::Node;
use crate::verdict::{Broken, Scope};

/// What was seen of sealed files.
#[derive(Debug, Default)]
pub struct Pasts {
    /// Of every file of a node: group, first and last entry, and the hash of its bytes.
    files: BTreeMap<(usize, u64, u64, u64), u128>,
    /// Of the same stretch of a group, whoever sealed it: who was first, and the hash of the file.
    alike: BTreeMap<(Scope, u64, u64), (usize, u128)>,
    /// Of every sealed entry its hash, whoever sealed it.
    entries: BTreeMap<(Scope, u64), u64>,
    /// Entries of sealed files that were held against the history.
    pub compared: u64,
    /// Files that were read back from the object store.
    pub read_back: u64,
}

impl Pasts {
    /// What a node's disks held is gone, or is that of a while ago.
    pub fn excuse(&mut self, node: usize) {
        self.files.retain(|(of, ..), _| *of != node);
    }

    /// The sealed files of a node: the same bytes as before, and the agreed entries.
    ///
    /// # Errors
    /// The first file or entry that is not.
    pub fn look(&mut self, node: &Node, chronicle: &Chronicle) -> Result<(), Broken> {
        for group in 0..node.groups {
            let scope = Scope {
                cluster: node.cluster,
                group,
            };
            let Some(past) = node
                .shard_of(group)
                .and_then(|shard| shard.past_of(GroupId(group)))
            else {
                continue;
            };
            for file in past.files() {
                let bytes = file.contents.as_ref().as_ref();
                let hash = xxh3_128(bytes);
                let key = (node.number, group, file.first, file.last);
                let known = self.files.insert(key, hash);
                if known == Some(hash) {
                    continue;
                }
                if known.is_some() {
                    return Err(Broken::SealedChanged {
                        scope,
                        node: node.number,
                        first: file.first,
                    });
                }
                self.entries(scope, node.number, bytes, chronicle)?;
                let stretch = (scope, file.first, file.last);
                let (other, known) = *self.alike.entry(stretch).or_insert((node.number, hash));
                if known != hash {
                    return Err(Broken::SealedApart {
                        scope,
                        node: node.number,
                        other,
                        first: file.first,
                        last: file.last,
                    });
                }
            }
        }
        Ok(())
    }

    /// The entries of a sealed file are those that everybody else sealed, and applied.
    fn entries(
        &mut self,
        scope: Scope,
        node: usize,
        bytes: &[u8],
        chronicle: &Chronicle,
    ) -> Result<(), Broken> {
        let otherwise = |index| Broken::SealedOtherwise { scope, node, index };
        let segment = SegmentReader::open(bytes).map_err(|_| otherwise(0))?;
        let mut next = segment.first();
        for entry in segment.entries(next) {
            let entry = entry.map_err(|_| otherwise(next))?;
            let mut hasher = Xxh3::new();
            hasher.update(&entry.term.to_le_bytes());
            hasher.update(&entry.head);
            hasher.update(&entry.payload);
            let hash = hasher.digest();
            let known = *self.entries.entry((scope, next)).or_insert(hash);
            let head = EntryHead::parse(&entry.head).map_err(|_| otherwise(next))?;
            let is_agreed = head.kind() != EntryKind::Command
                || chronicle.read(|groups| {
                    let applied = groups.get(&scope).and_then(|group| group.get(&next));
                    applied.is_none_or(|applied| {
                        applied.operation == head.operation && applied.payload == entry.payload
                    })
                });
            if entry.index != next || known != hash || !is_agreed {
                return Err(otherwise(next));
            }
            self.compared += 1;
            next += 1;
        }
        if next != segment.last() + 1 {
            return Err(otherwise(next));
        }
        Ok(())
    }

    /// What the manifests of a cluster's store name can be read back, is what was agreed on, and is all that the logs say
    /// to be there.
    ///
    /// # Errors
    /// The first that cannot, or is not.
    pub fn stored(&mut self, nodes: &[&Node], chronicle: &Chronicle) -> Result<(), Broken> {
        let Some((first, vault)) = nodes
            .first()
            .and_then(|node| Some((node, node.vault.as_ref()?)))
        else {
            return Ok(());
        };
        let cluster = first.cluster;
        let lost = |why| Broken::StoreUnreadable { cluster, why };
        for (manifest, files) in vault.read_back(first.groups).map_err(lost)? {
            let group = manifest.group;
            let scope = Scope { cluster, group };
            for (_, bytes) in &files {
                self.entries(scope, usize::MAX, bytes, chronicle)?;
                self.read_back += 1;
            }
            for node in nodes {
                let Some(past) = node
                    .shard_of(group)
                    .and_then(|one| one.past_of(GroupId(group)))
                else {
                    continue;
                };
                let applied = node.replica(scope).map_or(0, |replica| replica.applied.0);
                let is_told = |index: &u64| {
                    past.stored().holding(*index).is_some() || vault.reach(group, *index).is_some()
                };
                let missing = (1..=applied)
                    .filter(is_told)
                    .find(|index| manifest.holding(*index).is_none());
                if let Some(index) = missing {
                    return Err(Broken::NotStored {
                        scope,
                        node: node.number,
                        index,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Every entry of every group of these nodes, which all run, is somewhere.
///
/// # Errors
/// The first that is not.
pub fn within_reach(nodes: &[&Node]) -> Result<(), Broken> {
    let Some(first) = nodes.first() else {
        return Ok(());
    };
    for group in 0..first.groups {
        let scope = Scope {
            cluster: first.cluster,
            group,
        };
        let applied = nodes
            .iter()
            .filter_map(|node| node.replica(scope))
            .map(|replica| replica.applied.0);
        let applied = applied.max().unwrap_or(0);
        let mut next = 1;
        while next <= applied {
            let ends = nodes.iter().filter_map(|node| end_of(node, group, next));
            let Some(end) = ends.max() else {
                return Err(Broken::OutOfReach { scope, index: next });
            };
            next = end + 1;
        }
    }
    Ok(())
}

/// Up to where a node has the entries from this one on, in its log or in a file, or the object store has them.
fn end_of(node: &Node, group: u64, index: u64) -> Option<u64> {
    let shard = node.shard_of(group)?;
    let log = shard.log_of(GroupId(group));
    let log = log.filter(|(first, last)| first.0 <= index && index <= last.0);
    let past = shard.past_of(GroupId(group))?;
    let files = past.files().iter();
    let files = files.filter(|file| file.first <= index && index <= file.last);
    let stored = node.vault.as_ref();
    let stored = stored.and_then(|vault| vault.reach(group, index));
    let log = log.map(|(_, last)| last.0);
    files.map(|file| file.last).chain(log).chain(stored).max()
}
