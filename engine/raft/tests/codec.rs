//! What must hold of any bytes as a message or a configuration: shared by the property tests and the fuzz target.

use raft::membership::Membership;
use raft::wire::{decode, encode};

/// Whatever decodes encodes to the same bytes.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(message) = decode(bytes) {
        let mut again = Vec::new();
        encode(&message, &mut again);
        assert_eq!(again, bytes);
    }
    if let Ok(membership) = Membership::decode(bytes) {
        let mut again = Vec::new();
        membership.encode(&mut again);
        assert_eq!(again, bytes);
    }
}
