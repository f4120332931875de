//! What the proof of a run found: counts of all that is wrong, and the first instances of each.

use serde::Serialize;

/// What the proof found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Correctness {
    /// On every replica, debits equal credits, and every balance is the sum of its transfers.
    pub conservation: bool,
    /// Transfers that replicas count beyond those that they hold by id, over all replicas.
    pub duplicates: u64,
    /// Acknowledged transfers missing, over all replicas.
    pub lost_acks: u64,
    /// Transfers found with other fields than were sent, over all replicas.
    pub altered: u64,
    /// Transfers present although the ledger said that it refused them, over all replicas.
    pub refused_but_present: u64,
    /// Transfers never answered for that some replicas hold and others do not.
    pub in_doubt_split: u64,
    /// Whether all replicas reached one index in every group with one state digest.
    pub replica_digests_equal: bool,
    /// Who checked.
    pub checker: &'static str,
    /// Acknowledged transfers looked up on each replica.
    pub verified: u64,
    /// Transfers that were never answered for.
    pub in_doubt: u64,
    /// How many of them took place, on the first replica.
    pub in_doubt_applied: u64,
    /// Replicas that were asked.
    pub replicas_checked: u32,
    /// Time that the proof took, in milliseconds.
    pub took_ms: u64,
    /// The first things found wrong, with their places.
    pub findings: Vec<Finding>,
}

/// One thing that the proof found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[expect(
    missing_docs,
    reason = "node and group are ids, the rest is in each variant's sentence"
)]
pub enum Finding {
    /// A transfer is missing.
    Lost { node: u32, group: u32, id: String },
    /// A transfer has other fields than were sent.
    Altered { node: u32, group: u32, id: String },
    /// A transfer that the ledger refused is there.
    RefusedButPresent { node: u32, group: u32, id: String },
    /// A transfer without an answer is on some replicas only.
    InDoubtSplit {
        group: u32,
        stream: u16,
        sequence: u32,
    },
    /// The replica counts other transfers than it holds by id.
    Count {
        node: u32,
        group: u32,
        counted: u64,
        found: u64,
    },
    /// The replica counts as many transfers as were found, but others.
    Ids { node: u32, group: u32 },
    /// The replica's debits and credits differ.
    Unbalanced {
        node: u32,
        group: u32,
        debits: String,
        credits: String,
    },
    /// An account's balance is not the sum of its transfers.
    Balance { node: u32, group: u32, account: u32 },
    /// The replica's digest differs from the first replica's at the same index.
    Digest { node: u32, group: u32, index: u64 },
    /// The replica did not reach the index of the others in time.
    Behind {
        node: u32,
        group: u32,
        applied: u64,
        wanted: u64,
    },
}

impl Correctness {
    /// Whether nothing was found wrong.
    pub fn is_right(&self) -> bool {
        self.conservation
            && self.replica_digests_equal
            && self.duplicates == 0
            && self.lost_acks == 0
            && self.altered == 0
            && self.refused_but_present == 0
            && self.in_doubt_split == 0
            && self.findings.is_empty()
    }
}
