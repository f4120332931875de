//! The nodes of a running cluster, as the command line names them, and a way to ask one.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use engine::clock::SystemClock;
use net::client::{ClientConnection, ClientError, ClientOptions};

/// Which cluster, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Nodes {
    /// Number of the cluster
    #[arg(long, value_name = "ID", env = "QUORATE_CLUSTER")]
    pub(crate) cluster: u64,

    /// Where core 0 of each node listens
    #[arg(
        long,
        value_name = "IP:PORT",
        value_delimiter = ',',
        required = true,
        env = "QUORATE_ADDRESSES"
    )]
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Nodes {
    /// A connection to a core that listens there.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<ClientConnection, ClientError> {
        let options = ClientOptions {
            timeout,
            clock: || SystemClock.now().0,
            ..ClientOptions::new(self.cluster)
        };
        ClientConnection::connect_with(address, options)
    }

    /// All addresses, for people.
    pub(crate) fn places(&self) -> String {
        let places: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        places.join(", ")
    }
}
