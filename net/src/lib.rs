//! Brings frames to a peer or a client, whole and verified, over any stream of bytes.
//!
//! ```text
//! transport/tcp   transport/memory       sockets or simulated wires: they only move bytes
//!         endpoint                       all connections of a core: who is there, bounds, timeouts, events
//! connection   dialer   slots   config   one connection; when to dial again; where they live
//! inbound   outbound   handshake         bytes to frames, frames to bytes, who is there
//! frame   pool   codec   checksum        the format, the memory
//! envelope  request  inspect  refusal    what the heads of frames hold
//! client   session                       the other end of a client's connection
//! tigerbeetle                            the frames of another protocol, for clients that speak it
//! ```
//!
//! - It knows no Raft and no disk: messages and records are bytes with a group's number.
//! - Everything between the sockets and the shard is sans-IO: bytes and `now` in, frames and events out.
//!   The same code runs over sockets, in the simulator and under a fuzzer.
//! - What arrives is checked from end to end before anyone sees it; nothing that arrives can panic.
//! - Every queue and buffer is bounded (`limits`): a full one answers `Busy`, stops reading, or refuses by name.
//!
//! The bytes are drawn in `docs/formats-net.md`.

pub mod checksum;
pub mod client;
pub mod codec;
pub mod config;
pub mod connection;
pub mod counters;
pub mod dialer;
pub mod dice;
pub mod endpoint;
pub mod envelope;
pub mod fetch;
pub mod frame;
pub mod handshake;
pub mod hostile;
pub mod inbound;
pub mod inspect;
pub mod limits;
pub mod outbound;
pub mod pool;
pub mod refusal;
pub mod request;
pub mod session;
mod slots;
pub mod tigerbeetle;
pub mod transport;
