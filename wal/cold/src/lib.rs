//! Keeps immutable files in an object store, and brings them back whole.
//!
//! Sealed segments of a group's log leave the local disk in this order, and each step may be cut short at any point and
//! begun anew without harm:
//!
//! 1. **upload**: the file becomes an [`object`], checked and if wanted encrypted in chunks, named by its content; it is put
//!    if it is not there, in parts if it is large, and read back and compared;
//! 2. **publish**: a numbered edit of the group's [`manifest`] names it, created only if nobody else took the number;
//! 3. the group's log says so, and only then does a replica drop its local copy (not in this crate).
//!
//! Coming back, a [`reader`] keeps what it fetched in a bounded cache and reads ahead of scans and habits. What no manifest
//! names is swept after a grace. Everything runs as [`jobs`] in a [`tier`] that a core turns; the waiting happens behind the
//! [`store`] door: one side thread in production, memory with faults in tests.
//!
//! ```
//! use cold::{manifest::{Manifest, Retention}, name::{ContentHash, Segment}, store::memory::Memory, tier};
//!
//! let file = std::sync::Arc::new(b"a sealed segment".to_vec());
//! let hash = ContentHash::of(&file);
//! let segment = Segment { group: 1, first: 1, last: 9, bytes: file.len() as u64, hash, copy: 0 };
//! let mut tier = tier::Tier::new(Memory::new(), false, 64 << 20);
//! let mut finish = |tier: &mut tier::Tier<Memory>| loop {
//!     tier.turn(0, 1 << 20, &mut || 0);
//!     if let Some((_, result)) = tier.next_finished() {
//!         break result;
//!     }
//! };
//! tier.upload(segment, file, None)?;
//! finish(&mut tier)?;
//! tier.publish(tier::stored(segment, Retention::Keep), Manifest::empty(1))?;
//! let tier::Finished::Published(manifest) = finish(&mut tier)? else { unreachable!() };
//! assert!(manifest.names(&segment));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod check;
pub mod chores;
pub mod depot;
pub mod jobs;
pub mod key;
pub mod limits;
pub mod location;
pub mod manifest;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
pub mod name;
pub mod object;
pub mod offload;
pub mod prefetch;
pub mod reader;
pub mod recall;
pub mod retry;
pub mod store;
pub mod tier;
mod unfinished;
