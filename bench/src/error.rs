//! Why a benchmark could not be run; a run that gives a wrong answer is a failed report instead.

use crate::progress::Phase;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use thiserror::Error;

/// What stopped the benchmark.
#[derive(Debug, Error)]
pub enum BenchError {
    /// An option is out of its range.
    #[error("option {option} is {given}; it must be {wanted}")]
    Option {
        /// Name of the option, as on the command line.
        option: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        wanted: &'static str,
    },
    /// No run of free loopback ports was found.
    #[error("no {wanted} consecutive free ports on loopback")]
    NoPorts {
        /// Ports needed in a row.
        wanted: u16,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// A file or folder of the run could not be used.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The server program could not be started.
    #[error("cannot run {}: {source}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// `quorate format` failed.
    #[error("formatting node {node} failed ({status}); it said:\n{stderr}")]
    Format {
        /// The node.
        node: u32,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// A server process ended while it was needed.
    #[error("node {node} ended during {during} ({status}); it said:\n{stderr}")]
    Exited {
        /// The node.
        node: u32,
        /// How it ended.
        status: ExitStatus,
        /// What the benchmark was doing.
        during: Phase,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// Something that must happen soon did not happen.
    #[error("{phase} did not finish within {limit:?}: {missing}")]
    Late {
        /// What the benchmark was doing.
        phase: Phase,
        /// The deadline given to it.
        limit: Duration,
        /// What was still missing, for a reader.
        missing: String,
    },
    /// A server could not be reached, or did not answer.
    #[error("cannot reach node {node} at {address}: {source}")]
    Connection {
        /// The node.
        node: u32,
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: net::client::ClientError,
    },
    /// A server answered in a way the protocol does not allow.
    #[error("node {node} broke the protocol: {fault}")]
    Protocol {
        /// The node.
        node: u32,
        /// How.
        fault: ProtocolFault,
    },
    /// A server refused a request that the benchmark cannot do without.
    #[error("node {node} refused {what}: {status:?}")]
    Refused {
        /// The node.
        node: u32,
        /// The request.
        what: &'static str,
        /// Status of its reply.
        status: net::request::Status,
    },
    /// The ledger refused an account.
    #[error("node {node} refused an account of group {group}: ledger status {status}")]
    AccountRefused {
        /// The node.
        node: u32,
        /// The group.
        group: u32,
        /// The ledger's status.
        status: u32,
    },
    /// A thread of the benchmark died: our bug.
    #[error("a thread of the benchmark died: {thread}")]
    Thread {
        /// Which.
        thread: &'static str,
    },
    /// Another error, and what the replicas wrote to stderr meanwhile.
    #[error("{error}; the replicas said:\n{stderr}")]
    WithStderr {
        /// The error.
        error: Box<BenchError>,
        /// The end of what each wrote.
        stderr: String,
    },
    /// The user asked to stop.
    #[error("stopped on request during {during}")]
    Cancelled {
        /// What the benchmark was doing.
        during: Phase,
    },
}

/// In what way a server broke the protocol.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProtocolFault {
    /// Its bytes are no frame.
    #[error(transparent)]
    Frame(net::frame::FrameError),
    /// A head or a bulk that was damaged on the way.
    #[error("a checksum does not match")]
    Checksum,
    /// A compressed frame, though the handshake allows none.
    #[error("a compressed frame")]
    Codec,
    /// A head that is not what its kind promises.
    #[error("a head that is not what its kind promises")]
    Head,
    /// It refused the connection.
    #[error("refused the connection: {0}")]
    Goodbye(net::refusal::Refusal),
    /// A frame of a kind no client expects.
    #[error("frame kind {0} is not for clients")]
    Kind(u8),
    /// A reply to a request never made.
    #[error("reply to unknown request {0}")]
    UnknownReply(u64),
    /// A reply whose body has the wrong length.
    #[error("reply body of {found} bytes where {wanted} were due")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        wanted: usize,
    },
    /// Status is no JSON of the documented form.
    #[error("status without a valid {0}")]
    Status(&'static str),
    /// Histograms in no known form.
    #[error("histograms that cannot be read")]
    Histograms,
}

impl BenchError {
    /// Wraps an error of the operating system with what was being done.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
