//! The end of the rope that an executor sleeps on.
//!
//! - glommio takes sockets only as raw descriptors: the end is given away here by its owner.
#![expect(unsafe_code, reason = "glommio takes descriptors only in raw form")]

use std::future::poll_fn;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;

use futures_lite::AsyncRead;
use glommio::net::UnixStream;

/// Gives one end of a socket pair to this thread's executor.
pub(super) fn adopt(socket: OwnedFd) -> UnixStream {
    // SAFETY: `into_raw_fd` gives up the only owner, so the stream owns the descriptor alone.
    unsafe { UnixStream::from_raw_fd(socket.into_raw_fd()) }
}

/// Reads what is there; 0 when the other end is closed.
pub(super) async fn read(stream: &mut UnixStream, space: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| Pin::new(&mut *stream).poll_read(context, space)).await
}
