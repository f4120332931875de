//! The operator's hands: one binary.

fn main() {}
