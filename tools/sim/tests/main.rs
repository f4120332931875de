//! The simulator's own tests: seeds that must pass, runs that must repeat, and planted faults that must be caught.

mod exam;
mod histories;
mod maps;
mod porcupine;
mod seeds;
mod shrinking;
