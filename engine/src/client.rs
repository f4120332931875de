//! A client for embedders: one request at a time, to whichever node leads the group.
//!
//! - A request is repeated under the same number until it is answered or its time is up; whether one
//!   that timed out was carried out is not known.
//! - An answered request was durable on a quorum before its reply was sent.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use net::checksum::crc;
use net::client::{ClientConnection, ClientError as ConnectionError, ClientOptions};
use net::frame::Kind;
use net::request::{Consistency, ReplyHead, RequestHead, Status};
use net::session::SessionError;
use raft::ids::{GroupId, NodeId, Time};

use crate::clock::SystemClock;
use crate::config::Layout;

const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Why a request was not answered with a result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node answered, and asking again would not help.
    #[error("the request is refused: {0:?}")]
    Refused(Status),
    /// Nobody answered in time; the last cause.
    #[error("no answer in time")]
    TimedOut(#[source] Option<ConnectionError>),
    /// Nobody answered in time; the last answer was this one.
    #[error("no result in time: {0:?}")]
    Unavailable(Status),
}

/// A client of one cluster.
#[derive(Debug)]
pub struct Client {
    layout: Layout,
    identity: u128,
    number: u64,
    patience: Duration,
    connections: BTreeMap<(NodeId, u16), ClientConnection>,
    leaders: BTreeMap<GroupId, NodeId>,
}

/// What one attempt came to.
enum Attempt {
    Done(Bytes),
    Elsewhere(Option<NodeId>, Status),
    Refused(Status),
}

impl Client {
    /// A client under `identity`, which no other client uses. Connects when it is first asked something.
    #[must_use]
    pub fn new(layout: Layout, identity: u128) -> Self {
        Self {
            layout,
            identity,
            number: 0,
            patience: PATIENCE_DEFAULT,
            connections: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    /// How long a request may take before it is given up.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Carries out an operation and returns the state machine's reply, from the leader's own state.
    ///
    /// # Errors
    /// Everything `ClientError` names.
    pub fn request(
        &mut self,
        group: GroupId,
        operation: u8,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, ClientError> {
        self.request_with(
            group,
            operation,
            body.into(),
            Consistency::Linearizable,
            None,
        )
    }

    /// Reads what one node has applied, which may lag behind the leader.
    ///
    /// # Errors
    /// Everything `ClientError` names.
    pub fn read_local(
        &mut self,
        node: NodeId,
        group: GroupId,
        operation: u8,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, ClientError> {
        self.request_with(
            group,
            operation,
            body.into(),
            Consistency::Local,
            Some(node),
        )
    }

    fn request_with(
        &mut self,
        group: GroupId,
        operation: u8,
        body: Bytes,
        consistency: Consistency,
        only: Option<NodeId>,
    ) -> Result<Bytes, ClientError> {
        self.number += 1;
        let head = RequestHead {
            id: self.number,
            group: group.0,
            operation,
            consistency,
            sent_at: SystemClock.now().0,
            client: self.identity,
            number: self.number,
        };
        let patience = u64::try_from(self.patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline = SystemClock.now().plus(patience);
        let ranks: Vec<NodeId> = self.layout.ranks_of(group).collect();
        let mut candidates = ranks.iter().copied().cycle();
        let mut last = ClientError::TimedOut(None);
        let mut pause = PAUSE_MIN;
        while SystemClock.now() < deadline {
            let known = only.or_else(|| self.leaders.get(&group).copied());
            let node = known
                .or_else(|| candidates.next())
                .expect("a layout has nodes");
            match self.attempt(node, &head, &body, deadline) {
                Ok(Attempt::Done(result)) => {
                    self.leaders.insert(group, node);
                    return Ok(result);
                }
                Ok(Attempt::Refused(status)) => return Err(ClientError::Refused(status)),
                Ok(Attempt::Elsewhere(leader, status)) => {
                    self.leaders.remove(&group);
                    last = ClientError::Unavailable(status);
                    if let Some(leader) =
                        leader.filter(|&leader| leader != node && ranks.contains(&leader))
                    {
                        self.leaders.insert(group, leader);
                    }
                }
                Err(error) => {
                    self.leaders.remove(&group);
                    last = ClientError::TimedOut(Some(error));
                }
            }
            thread::park_timeout(pause);
            pause = (2 * pause).min(PAUSE_MAX);
        }
        Err(last)
    }

    fn attempt(
        &mut self,
        node: NodeId,
        head: &RequestHead,
        body: &Bytes,
        deadline: Time,
    ) -> Result<Attempt, ConnectionError> {
        let core = self.layout.core_of(GroupId(head.group));
        let mut connection = match self.connections.remove(&(node, core)) {
            Some(connection) => connection,
            None => {
                let address = self.layout.address_of(node, core);
                let address = address.ok_or(io::Error::from(ErrorKind::AddrNotAvailable))?;
                let options = ClientOptions {
                    timeout: left(deadline)?,
                    clock: || SystemClock.now().0,
                    ..ClientOptions::new(self.layout.cluster)
                };
                ClientConnection::connect_with(address, options)?
            }
        };
        connection.set_timeout(left(deadline)?);
        connection.send(head, std::slice::from_ref(body), crc(body))?;
        let (reply, result) = loop {
            let frame = connection.receive(left(deadline)?)?;
            let reply = match frame.kind {
                Kind::REPLY => ReplyHead::decode(&frame.head).ok(),
                _ => None,
            };
            let reply = reply.ok_or(SessionError::WrongKind(frame.kind))?;
            // Replies to requests that were given up arrive late, on the same connection.
            if reply.id == head.id {
                break (reply, frame.bulk);
            }
        };
        // Only a connection that is in step is kept.
        self.connections.insert((node, core), connection);
        Ok(match reply.status {
            Status::Ok => Attempt::Done(result),
            Status::NotLeader | Status::Busy | Status::Unavailable | Status::ShuttingDown => {
                let leader = Some(NodeId(reply.leader)).filter(|leader| leader.0 != 0);
                Attempt::Elsewhere(leader, reply.status)
            }
            refused => Attempt::Refused(refused),
        })
    }
}

fn left(deadline: Time) -> Result<Duration, ConnectionError> {
    match deadline.since(SystemClock.now()) {
        0 => Err(ConnectionError::TimedOut),
        nanos => Ok(Duration::from_nanos(nanos)),
    }
}
