//! One connection without its socket: the handshake, then frames, within the limits of what the remote proved to be.
//!
//! - Before the handshake is done only HELLO, WELCOME and GOODBYE are read, under the tightest limits.
//! - A peer sends envelopes, a client requests and questions: any other kind ends the connection.
//! - Whoever ends a connection says why, if the queue still takes a word.
//! - A connection that stands still, half a frame in or a full queue out, ends; one that is merely idle does not.

use crate::frame::{FrameError, Kind, VERSION_MAX, VERSION_MIN};
use crate::handshake::{Hello, Identity, Role};
use crate::inbound::Inbound;
use crate::limits::{FrameLimits, Limits};
use crate::outbound::Outbound;
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::transport::{Frame, Outgoing, Remote, SendError};

/// What all connections of a core share. One per core.
#[derive(Clone, Debug)]
pub struct House {
    /// Who we are.
    pub identity: Identity,
    /// Node ids of the cluster, in order.
    pub members: Vec<u32>,
    /// The bounds.
    pub limits: Limits,
    /// Receive buffers for peers.
    pub peer_pool: Pool,
    /// Receive buffers for clients and handshakes.
    pub client_pool: Pool,
}

/// What came out of received bytes.
#[derive(Debug)]
pub enum Arrival {
    /// The handshake is done.
    Opened(Remote),
    /// A frame for the shard.
    Frame(Frame),
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This end has had enough.
    Refused(Refusal),
    /// This end has had enough of a stream that is no frames.
    Damaged(FrameError),
    /// The other end said goodbye.
    Told(Refusal),
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    AwaitHello,
    AwaitWelcome(Hello),
    Open(Remote),
    Parting,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Received bytes to frames.
    pub inbound: Inbound,
    /// Frames to bytes to write.
    pub outbound: Outbound,
    stage: Stage,
    began_at: u64,
    /// When the queue was last empty or last shrank.
    moved_at: u64,
}

impl House {
    /// Why a stream of `error` is ended.
    fn refusal(&self, error: FrameError) -> Refusal {
        match error {
            FrameError::UnknownVersion(_) => Refusal::UnknownVersion {
                min: VERSION_MIN,
                max: VERSION_MAX,
            },
            FrameError::WrongCluster(_) => Refusal::WrongCluster(self.identity.cluster),
            other => Refusal::Malformed(other.number().into()),
        }
    }
}

impl Connection {
    /// A connection that someone made to us.
    pub fn accepted(house: &House, now: u64) -> Connection {
        Connection::new(house, Stage::AwaitHello, now)
    }

    /// A connection we are making to `node`; its HELLO is queued.
    pub fn dialled(house: &House, node: u32, now: u64) -> Connection {
        let hello = Hello::from_peer(&house.identity, node);
        let mut connection = Connection::new(house, Stage::AwaitWelcome(hello), now);
        connection
            .outbound
            .push(hello.encode())
            .expect("an empty queue takes a frame");
        connection
    }

    fn new(house: &House, stage: Stage, now: u64) -> Connection {
        let Limits {
            client_queue_bytes_max,
            queue_frames_max,
            ..
        } = house.limits;
        let cluster = house.identity.cluster;
        let limits = FrameLimits::HANDSHAKE;
        Connection {
            inbound: Inbound::new(house.client_pool.clone(), limits, cluster),
            outbound: Outbound::new(cluster, limits, client_queue_bytes_max, queue_frames_max),
            stage,
            began_at: now,
            moved_at: now,
        }
    }

    /// What the remote proved to be; `None` before the handshake is done and while parting.
    pub fn remote(&self) -> Option<Remote> {
        match self.stage {
            Stage::Open(remote) => Some(remote),
            _ => None,
        }
    }

    /// Whether the handshake is under way.
    pub fn is_greeting(&self) -> bool {
        matches!(self.stage, Stage::AwaitHello | Stage::AwaitWelcome(_))
    }

    /// Whether the end was decided and only a last word is on its way.
    pub fn is_parting(&self) -> bool {
        matches!(self.stage, Stage::Parting)
    }

    /// What comes next out of the received bytes. After an error call [`Connection::part`].
    pub fn next_arrival(&mut self, house: &House, is_full: bool) -> Result<Option<Arrival>, End> {
        let Some(frame) = self.inbound.next_frame().map_err(End::Damaged)? else {
            return Ok(None);
        };
        let malformed = End::Refused(Refusal::Malformed(0));
        if frame.kind == Kind::GOODBYE {
            return Err(Refusal::decode(&frame.head).map_or(malformed, End::Told));
        }
        match (self.stage, frame.kind) {
            (Stage::AwaitHello, Kind::HELLO) => {
                let hello = Hello::decode(&frame.head).map_err(|_| malformed)?;
                self.greet(house, hello, is_full)
                    .map(Some)
                    .map_err(End::Refused)
            }
            (Stage::AwaitWelcome(hello), Kind::WELCOME) => {
                let welcome =
                    crate::handshake::Welcome::decode(&frame.head).map_err(|_| malformed)?;
                welcome.check(&hello).map_err(End::Refused)?;
                let remote = Remote::Peer {
                    node: welcome.node,
                    incarnation: welcome.incarnation,
                };
                self.open(house, remote);
                let Limits {
                    peer_queue_bytes_max,
                    ..
                } = house.limits;
                self.outbound.agree(
                    welcome.version,
                    welcome.codec,
                    FrameLimits::PEER,
                    peer_queue_bytes_max,
                );
                Ok(Some(Arrival::Opened(remote)))
            }
            (Stage::Open(Remote::Peer { .. }), Kind::ENVELOPE | Kind::FETCH | Kind::PART)
            | (Stage::Open(Remote::Client), Kind::REQUEST | Kind::INSPECT) => {
                Ok(Some(Arrival::Frame(frame)))
            }
            _ => Err(malformed),
        }
    }

    fn greet(&mut self, house: &House, hello: Hello, is_full: bool) -> Result<Arrival, Refusal> {
        let welcome = hello.answer(&house.identity, |node| {
            house.members.binary_search(&node).is_ok()
        })?;
        let Limits {
            clients_max,
            client_queue_bytes_max,
            peer_queue_bytes_max,
            ..
        } = house.limits;
        let (remote, limits, queue_bytes_max) = match hello.role {
            Role::Client if is_full => return Err(Refusal::TooManyConnections(clients_max as u64)),
            Role::Client => (Remote::Client, FrameLimits::CLIENT, client_queue_bytes_max),
            Role::Peer => {
                let remote = Remote::Peer {
                    node: hello.node,
                    incarnation: hello.incarnation,
                };
                (remote, FrameLimits::PEER, peer_queue_bytes_max)
            }
        };
        self.outbound
            .push(welcome.encode())
            .expect("an empty queue takes a frame");
        self.outbound
            .agree(welcome.version, welcome.codec, limits, queue_bytes_max);
        self.open(house, remote);
        Ok(Arrival::Opened(remote))
    }

    fn open(&mut self, house: &House, remote: Remote) {
        let (limits, pool) = match remote {
            Remote::Peer { .. } => (FrameLimits::PEER, &house.peer_pool),
            Remote::Client => (FrameLimits::CLIENT, &house.client_pool),
        };
        self.inbound.set_limits(limits, pool.clone());
        self.stage = Stage::Open(remote);
    }

    /// Queues a frame for the shard, whole or not at all; one that is not queued stays as it was.
    pub fn offer(&mut self, frame: &mut Outgoing, now: u64) -> Result<(), SendError> {
        if self.remote().is_none() {
            return Err(SendError::Closed);
        }
        if self.outbound.is_empty() {
            self.moved_at = now;
        }
        self.outbound.offer(frame)
    }

    /// Bytes were written.
    pub fn wrote(&mut self, count: usize, now: u64) {
        self.outbound.wrote(count);
        if count > 0 {
            self.moved_at = now;
        }
    }

    /// Ends the connection; a last word is queued if there is something to say and room to say it.
    pub fn part(&mut self, house: &House, end: End, now: u64) {
        self.stage = Stage::Parting;
        self.began_at = now;
        self.inbound.abandon();
        let refusal = match end {
            End::Refused(refusal) => refusal,
            End::Damaged(error) => house.refusal(error),
            End::Told(_) => return,
        };
        // A queue that is full is not read: whoever does not listen is not told.
        let _ = self.outbound.push(refusal.encode());
    }

    /// Whether the connection stands still for too long.
    pub fn is_late(&self, limits: &Limits, now: u64) -> bool {
        let since = |from: u64, most: u64| now.saturating_sub(from) >= most;
        if !matches!(self.stage, Stage::Open(_)) {
            return since(self.began_at, limits.handshake_timeout_ns);
        }
        let stalled = !self.outbound.is_empty() && since(self.moved_at, limits.stall_timeout_ns);
        let half = self.inbound.unfinished_since();
        stalled || half.is_some_and(|from| since(from, limits.frame_timeout_ns))
    }
}
