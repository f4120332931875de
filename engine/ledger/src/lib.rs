//! Moves money, deterministically: accounts, transfers and the rules between them.
//!
//! A [`ledger::Ledger`] takes committed commands ([`raft::state_machine::StateMachine`]); each is a
//! request as the client sent it, an [`instruction`] with a body of 128-byte events that is read in
//! place. Events are judged in order by rules whose precedence is documented ([`status`]); what passes
//! is stored as a row and moves the balances of two accounts. Operations, layouts and status numbers
//! are TigerBeetle 0.17's; `docs/ledger.md` lists what is as theirs and what is not.
//!
//! - The ledger knows no clock, no disk, no network and no other group; whoever owns it may give it other memory for accounts.
//! - Everything it holds is bounded by [`limits::Limits`]; what is full answers so.
//! - Whatever a customer did wrong is an outcome inside a reply, never an error or a panic.

pub mod account;
mod account_table;
pub mod audit;
mod balance_stream;
mod balances;
mod batch;
mod books;
mod buckets;
pub mod change;
mod changes;
pub mod chapter;
mod chapter_writer;
mod create_accounts;
mod create_transfers;
mod digest;
mod event_row;
mod event_rows;
mod expiry;
mod fates;
pub mod filter;
mod find_blocks;
mod freezing;
mod gap;
mod hash_index;
pub mod id_index;
mod id_runs;
pub mod image;
pub mod instruction;
mod journal;
pub mod ledger;
pub mod limits;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
mod new_transfer;
mod pages;
mod pending;
pub mod period;
mod periods;
mod prefetch;
mod query;
mod resolution;
mod restore;
mod rows;
mod shelf;
pub mod status;
mod touched;
pub mod transfer;
mod transfer_table;
