//! The engine from outside: both drivers under an echoing shard, folders, and whole clusters in one process.

mod asking;
mod bad_streams;
mod clusters;
mod counter;
mod cut_off;
mod door;
mod drivers;
mod echo;
mod full_disks;
mod machines;
mod measure;
mod ports;
mod refusals;
mod rest;
mod teller;
