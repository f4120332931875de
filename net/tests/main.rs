//! What the network promises, shown from outside: streams of bytes, formats, connections, sockets.

mod formats;
mod heads;
mod network;
mod sockets;
mod streams;
mod tigerbeetle;
mod world;
