//! What a core says of itself when it is asked.

use std::time::Duration;

use bytes::Bytes;
use engine::{Layout, NodeId};
use net::client::{ClientConnection, ClientError};
use net::inspect::{InspectHead, Topic};

/// Longer than any core that runs takes.
const PATIENCE: Duration = Duration::from_secs(100);

/// Its state, JSON.
pub(crate) fn status(layout: &Layout, node: NodeId, core: u16) -> Result<Bytes, ClientError> {
    let address = layout.address_of(node, core).expect("a node of the layout");
    let mut connection = ClientConnection::connect(address, layout.cluster, PATIENCE)?;
    connection.ask(&InspectHead {
        id: 1,
        topic: Topic::Status,
        argument: 0,
    })?;
    Ok(connection.receive(PATIENCE)?.bulk)
}
