//! Keeps one group's agreement: numbers in, effects out.
//!
//! The core knows terms, indexes and node ids, never a payload; it has no clock, no disk, no socket and no
//! dice of its own. A shard tells it what happened (`step`, `tick`, `persisted`, `applied`, `propose`), then
//! drains what follows (`Effects`): persist this, send that, this much is committed, wake me then.
//!
//! | part | keeps |
//! |---|---|
//! | [`quorum`], [`membership`], [`change`], [`durability`] | who decides, how many of them, how that changes |
//! | [`term_log`], `configurations`, `storage` | what the log says, what of it is durable |
//! | `election`, `campaign` | when to campaign, whom to vote for |
//! | `following`, `follow` | a follower's duties |
//! | `leading`, `lead`, `progress`, `cut`, `tail` | a leader's duties |
//! | `reads`, [`quorum_read`], [`freshness`], [`requests`] | reads, transfers, changes |
//! | [`message`], [`wire`] | what replicas say, and its bytes |
//! | [`liveness`] | which nodes are heard: one table for all groups |
//! | [`raft`], `mail`, `alarm`, `prefetch` | the replica: calls in, effects out, its memory at hand |

pub mod change;
pub mod config;
pub mod durability;
pub mod effects;
pub mod freshness;
pub mod ids;
pub mod invariants;
pub mod liveness;
pub mod membership;
pub mod message;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod progress;
pub mod quorum;
pub mod quorum_read;
pub mod raft;
pub mod rare;
pub mod requests;
pub mod state_machine;
pub mod term_log;
pub mod wire;

mod alarm;
mod campaign;
mod configurations;
mod cut;
mod election;
mod follow;
mod following;
mod lead;
mod leading;
mod mail;
mod prefetch;
mod reads;
mod ring;
mod status;
mod storage;
mod tail;
