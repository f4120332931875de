//! The real shards in a made-up world: one seed, virtual time, every fault; a verdict at the end.
//!
//! ```text
//! run                       one seed from the first event to the verdict
//!   world, inject           events in virtual time; how faults strike and how they are put right
//!     node      client      the process under test, turned as production turns it; who asks it
//!     door      network     the endpoint of production over made-up streams of bytes
//!     clock     chance      a node's clocks; everything that is drawn
//!     vault     keeper      the object store, and production's way to it; the keys of what is stored
//!   judges, chronicle       promises that are held after every turn
//!   budgets                 what processes and states may hold in memory
//!   pasts                   what logs gave up is within reach and unchanged
//!   finals, history         promises that are held against what clients saw
//!     clocks    told        time in the books; what histories told
//!   plan, faults            what was asked for, and what the seed made of it
//!   topology, atlas, sites  where things are, measured or modelled; survey: is it so?
//!   trace, verdict          what happened, and what it shows
//! linear                    a linearizability checker for histories that name no indexes
//! exam                      is all of this sharp? known-bad variants must be caught
//! ```
//!
//! - The code under test is the very code of production: only its doors are made up.
//! - The same seed and the same binary give the same run, event for event.
//!
//! How to use it: `docs/simulation.md`.

pub mod arguments;
pub mod atlas;
pub mod bank;
mod budgets;
pub mod build;
pub mod campaign;
pub mod chance;
pub mod chronicle;
pub mod clerk;
pub mod client;
pub mod clock;
mod clocks;
mod commands;
pub mod counted;
pub mod coverage;
mod damage;
pub mod door;
pub mod errands;
pub mod exam;
pub mod faults;
pub mod finals;
pub mod history;
mod inject;
pub mod jsonl;
pub mod judges;
mod keeper;
pub mod linear;
mod links;
pub mod machine;
pub mod moods;
mod mutants;
pub mod network;
pub mod node;
pub mod pasts;
pub mod plan;
mod planted;
pub mod reckoning;
pub mod replay;
pub mod report;
mod rosters;
pub mod run;
mod seen;
pub mod shelf;
pub mod shrink;
pub mod sites;
pub mod survey;
mod told;
pub mod topology;
pub mod trace;
pub mod vault;
pub mod verdict;
pub mod world;
