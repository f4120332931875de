//! Tests of the cold tier: a store that fails in every way, several writers, kills at every step, a real folder.

mod depots;
mod driving;
mod faults;
mod folder;
mod nonsense;
mod offloads;
mod reads;
mod s3;
mod sharing;
mod writers;
