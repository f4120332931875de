//! Our own client of a ledger: typed calls, to be waited for or awaited, put into batches and sent to the right core by itself.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use engine::teller::Teller;
//! let teller = Teller::connect(7, &["127.0.0.1:4000".parse()?])?;
//! let pending = teller.lookup_accounts(&[1, 2])?; // sent; an error here says "busy"
//! let accounts = pending.wait()?;                 // or, in any runtime: pending.await
//! # let _ = accounts; Ok(()) }
//! ```
//!
//! - Callers share one thread, the clerk, and some sessions. What callers ask while requests are under way leaves in
//!   the next one: many small calls cost what a few large ones do.
//! - A call is a batch of its own: a chain, or a run of imported events, never mixes with another caller's.
//! - An acknowledged call is durable on a quorum. One that is sent again after a lost connection or a leader's death is
//!   carried out once and answered the same.
//! - What waits is bounded: a full queue answers `Busy` at once, and `room` says how much is left.

mod clerk;
mod slot;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ledger::account::{Account, AccountBalance};
use ledger::filter::{AccountFilter, QueryFilter};
use ledger::status::CreateResult;
use ledger::transfer::Transfer;
use net::client::{ClientConnection, ClientError, ClientOptions};
use net::inspect::{InspectHead, Topic};
use net::tigerbeetle::message::Reason;
use net::tigerbeetle::operation::{self, Shape};
use serde::Deserialize;
use zerocopy::{Immutable, IntoBytes};

use crate::clock::SystemClock;
use crate::config::{Layout, NodeAddress};
use crate::teller::clerk::{Ask, Clerk};
pub use crate::teller::slot::Pending;

/// Bytes of calls that may wait to be sent; beyond, the answer is `Busy`.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// How long finding out about the cluster may take, per node.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum TellerError {
    /// Too much waits to be sent: wait for earlier calls, then try again. Nothing was sent.
    #[error("too much waits to be sent")]
    Busy,
    /// More events, or more results asked for, than fit into one request. Nothing was sent.
    #[error("more than fits into one request")]
    TooMuch,
    /// The cluster has forgotten the session, which had been quiet: what became of the call is not known. Repeat it
    /// with the same ids; what happened already answers that it exists.
    #[error("the session was forgotten; what became of the call is not known")]
    Forgotten,
    /// The cluster refuses; asking again would not help.
    #[error("the cluster refuses: {0:?}")]
    Refused(Reason),
    /// No answer in the time that was given. It may still come about.
    #[error("no answer in time")]
    TimedOut,
    /// The teller was closed, or its thread could not go on.
    #[error("the teller is closed")]
    Closed,
    /// None of the addresses is a node of the cluster that answers.
    #[error("no node of the cluster answers")]
    NoNode(#[source] Option<ClientError>),
    /// The operating system gives no thread or no poll.
    #[error("the teller's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// A client of one cluster; clones share its connections. The last one to be dropped closes it.
#[derive(Clone, Debug)]
pub struct Teller {
    clerk: Arc<Clerk>,
}

/// What a core tells of its cluster.
#[derive(Deserialize)]
struct Told {
    nodes: Vec<u32>,
    cores: u16,
    groups_total: u64,
}

impl Teller {
    /// Asks the nodes at these addresses, where core 0 of each listens, how the cluster is laid out. Nodes that do not
    /// answer are left out; the others have to name the same layout.
    ///
    /// # Errors
    /// `NoNode`, `Thread`.
    pub fn connect(cluster: u64, addresses: &[SocketAddr]) -> Result<Self, TellerError> {
        let mut last = None;
        let mut found: Option<(Told, Vec<NodeAddress>)> = None;
        for &address in addresses {
            match ask_layout(cluster, address) {
                Ok((id, told)) => {
                    let node = NodeAddress { id, address };
                    match &mut found {
                        Some((_, nodes)) => nodes.push(node),
                        None => found = Some((told, vec![node])),
                    }
                }
                Err(error) => last = error,
            }
        }
        let Some((told, mut nodes)) = found else {
            return Err(TellerError::NoNode(last));
        };
        // The order that groups' preferred leaders follow.
        nodes.sort_by_key(|node| told.nodes.iter().position(|&id| id == node.id));
        let layout = Layout::new(cluster, nodes, told.cores, told.groups_total);
        Self::new(layout)
    }

    /// For a layout that is known.
    ///
    /// # Errors
    /// `Thread`.
    pub fn new(layout: Layout) -> Result<Self, TellerError> {
        let clerk = Clerk::start(layout).map_err(TellerError::Thread)?;
        Ok(Self {
            clerk: Arc::new(clerk),
        })
    }

    /// Bytes that may be asked before the answer is `Busy`; each event takes its own size.
    #[must_use]
    pub fn room(&self) -> usize {
        self.clerk.room()
    }

    /// Creates accounts; a result for each, in order.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn create_accounts(
        &self,
        accounts: &[Account],
    ) -> Result<Pending<CreateResult>, TellerError> {
        self.ask(operation::CREATE_ACCOUNTS, accounts)
    }

    /// Creates transfers; a result for each, in order.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn create_transfers(
        &self,
        transfers: &[Transfer],
    ) -> Result<Pending<CreateResult>, TellerError> {
        self.ask(operation::CREATE_TRANSFERS, transfers)
    }

    /// The accounts of these ids, those left out that do not exist.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn lookup_accounts(&self, ids: &[u128]) -> Result<Pending<Account>, TellerError> {
        self.ask(operation::LOOKUP_ACCOUNTS, &little_endian(ids))
    }

    /// The transfers of these ids, those left out that do not exist.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn lookup_transfers(&self, ids: &[u128]) -> Result<Pending<Transfer>, TellerError> {
        self.ask(operation::LOOKUP_TRANSFERS, &little_endian(ids))
    }

    /// An account's transfers, in order of time.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn account_transfers(
        &self,
        filter: &AccountFilter,
    ) -> Result<Pending<Transfer>, TellerError> {
        self.ask(
            operation::GET_ACCOUNT_TRANSFERS,
            std::slice::from_ref(filter),
        )
    }

    /// An account's balances after its transfers, if it remembers them.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn account_balances(
        &self,
        filter: &AccountFilter,
    ) -> Result<Pending<AccountBalance>, TellerError> {
        self.ask(
            operation::GET_ACCOUNT_BALANCES,
            std::slice::from_ref(filter),
        )
    }

    /// Accounts by their fields, in order of time.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn query_accounts(&self, filter: &QueryFilter) -> Result<Pending<Account>, TellerError> {
        self.ask(operation::QUERY_ACCOUNTS, std::slice::from_ref(filter))
    }

    /// Transfers by their fields, in order of time.
    ///
    /// # Errors
    /// `Busy`, `TooMuch`, `Closed`.
    pub fn query_transfers(&self, filter: &QueryFilter) -> Result<Pending<Transfer>, TellerError> {
        self.ask(operation::QUERY_TRANSFERS, std::slice::from_ref(filter))
    }

    fn ask<T: IntoBytes + Immutable, R>(
        &self,
        operation: u8,
        elements: &[T],
    ) -> Result<Pending<R>, TellerError> {
        let shape = Shape::of(operation).expect("one of the protocol's operations");
        if elements.len() > shape.events_max() {
            return Err(TellerError::TooMuch);
        }
        let (ask, pending) = Ask::new(operation, elements.as_bytes().to_vec());
        self.clerk.take(ask)?;
        Ok(pending)
    }
}

fn little_endian(ids: &[u128]) -> Vec<zerocopy::little_endian::U128> {
    ids.iter().map(|id| (*id).into()).collect()
}

fn ask_layout(cluster: u64, address: SocketAddr) -> Result<(u32, Told), Option<ClientError>> {
    let options = ClientOptions {
        timeout: PATIENCE,
        clock: || SystemClock.now().0,
        ..ClientOptions::new(cluster)
    };
    let mut connection = ClientConnection::connect_with(address, options)?;
    let question = InspectHead {
        id: 1,
        topic: Topic::Layout,
        argument: 0,
    };
    connection.ask(&question)?;
    let frame = connection.receive(PATIENCE)?;
    let told = serde_json::from_slice(&frame.bulk).map_err(|_| None)?;
    Ok((connection.welcome().node, told))
}
