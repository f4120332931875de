//! Sockets with our options, read through glommio and written to directly: the one file that handles raw descriptors.
//!
//! - glommio takes sockets only as raw descriptors: they are given away here, each by its owner.
//! - A write goes to the kernel at once, many pieces in one call; only a full socket waits on the ring.
#![expect(
    unsafe_code,
    reason = "glommio takes and lends descriptors only in raw form"
)]

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::driver::socket_options;
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream, UnixStream};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

/// Pieces handed over in one call.
pub(super) const SLICES_MAX: usize = 64;

/// A TCP connection of one core.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
}

impl Socket {
    /// Begins to connect. Whether that succeeds shows in the first read and write.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = RawSocket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket_options(&socket)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        // SAFETY: `into_raw_fd` gives up the only owner, so the stream owns the descriptor alone.
        let stream = unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) };
        Ok(Self { stream })
    }

    /// The next connection on a listener. It inherits the options of the listener.
    pub(super) async fn accept(listener: &TcpListener) -> io::Result<(Self, Option<IpAddr>)> {
        let stream = listener.accept().await.map_err(io::Error::from)?;
        let from = stream.peer_addr().ok().map(|address| address.ip());
        Ok((Self { stream }, from))
    }

    /// Reads what is there, or remembers whom to wake.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, space)
    }

    /// Writes what the kernel takes, or remembers whom to wake.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// Hands over what the kernel takes at once. `WouldBlock` when that is nothing.
    pub(super) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut control = SendAncillaryBuffer::new(&mut [] as &mut [MaybeUninit<u8>]);
        Ok(sendmsg(self.descriptor(), slices, &mut control, flags)?)
    }

    /// Ends what is sent: the other end reads to its end.
    pub(super) fn shutdown_write(&self) {
        self.shut(Shutdown::Write);
    }

    /// Ends both directions: whoever waits on the socket is woken.
    pub(super) fn shutdown(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        // An error means that the connection is gone already.
        let _ = SockRef::from(&self.descriptor()).shutdown(how);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor and lives as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) }
    }
}

/// Gives a listening socket to this thread's executor.
pub(super) fn adopt_listener(listener: std::net::TcpListener) -> TcpListener {
    // SAFETY: `into_raw_fd` gives up the only owner, so the listener owns the descriptor alone.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

/// Gives one end of a socket pair to this thread's executor.
pub(super) fn adopt_unix(socket: OwnedFd) -> UnixStream {
    // SAFETY: `into_raw_fd` gives up the only owner, so the stream owns the descriptor alone.
    unsafe { UnixStream::from_raw_fd(socket.into_raw_fd()) }
}

/// Reads what is there; 0 when the other end is closed.
pub(super) async fn read_unix(stream: &mut UnixStream, space: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| Pin::new(&mut *stream).poll_read(context, space)).await
}
