//! What a status tells of sealed files and of the object store.

use raft::state_machine::StateMachine;
use serde::Serialize;
use wal::Device;

use crate::offload::StoreCounts;
use crate::shard::Shard;

/// What a node did with its object store since it started; the same for all of its cores.
#[derive(Debug, Serialize)]
pub(super) struct Store {
    #[serde(flatten)]
    counts: StoreCounts,
    /// What last went wrong with the store, and when, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at: Option<u64>,
}

/// The sealed files of a core's groups.
#[derive(Debug, Serialize)]
pub(super) struct Sealed {
    files: u64,
    bytes: u64,
    /// Of files with entries that the groups' logs do not call stored: they are nowhere else on this node.
    local_only_bytes: u64,
    /// Entries that the groups' logs call stored.
    stored_entries: u64,
}

/// Nothing without an object store.
pub(super) fn store<D: Device, T, M: StateMachine>(shard: &Shard<D, T, M>) -> Option<Store> {
    let coffer = shard.offloading.store()?;
    let (at, error) = coffer.trouble().unzip();
    Some(Store {
        counts: coffer.counts(),
        last_error: error.map(|error| error.to_string()),
        last_error_at: at,
    })
}

pub(super) fn sealed<D: Device, T, M: StateMachine>(shard: &Shard<D, T, M>) -> Sealed {
    let mut sealed = Sealed {
        files: 0,
        bytes: 0,
        local_only_bytes: 0,
        stored_entries: 0,
    };
    for replica in &shard.replicas {
        let past = &replica.shelf.past;
        sealed.stored_entries += past.stored().entries();
        for file in past.files() {
            let is_stored = past.stored().rest_of(file.first, file.last).is_none();
            sealed.files += 1;
            sealed.bytes += file.bytes;
            sealed.local_only_bytes += if is_stored { 0 } else { file.bytes };
        }
    }
    sealed
}
