//! The engine from outside: both drivers under an echoing shard, folders, and whole clusters in one process.

mod clusters;
mod door;
mod drivers;
mod echo;
mod measure;
mod ports;
mod refusals;
mod teller;
