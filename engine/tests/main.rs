//! The engine from outside: both drivers under an echoing shard, folders, and whole clusters in one process.

mod cluster;
mod drivers;
mod echo;
