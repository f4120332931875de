//! The rope that others pull to wake a core: disks that are done, and whoever asks a node to stop.
//!
//! - Pulling never blocks and never fails: a rope that is already pulled taut wakes in any case.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::{SendFlags, send};

/// Wakes one core from any thread, or from the kernel.
#[derive(Clone)]
pub struct Wake {
    pull: Arc<dyn Fn() + Send + Sync>,
    socket: Option<Arc<OwnedFd>>,
}

impl Wake {
    /// A core that is woken by a function.
    pub fn new(pull: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { pull, socket: None }
    }

    /// A core that sleeps on the other end of a socket pair, which is returned, non-blocking.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let socket = Arc::new(OwnedFd::from(ours));
        let end = Arc::clone(&socket);
        let pull = Arc::new(move || {
            // A full socket holds bytes that its reader will wake for; a closed one has no reader to wake.
            let _ = send(&*end, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        });
        Ok((
            Self {
                pull,
                socket: Some(socket),
            },
            theirs.into(),
        ))
    }

    /// Wakes the core: a turn follows that began after this call.
    pub fn wake(&self) {
        (self.pull)();
    }

    /// The same as a function, for devices that complete on threads.
    #[must_use]
    pub fn function(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::clone(&self.pull)
    }

    /// The same as a socket: each byte sent on it wakes the core. For a ring that completes in the kernel;
    /// `None` under drivers that sleep on something else.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn socket(&self) -> io::Result<Option<OwnedFd>> {
        self.socket
            .as_ref()
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .transpose()
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
