//! What the log found wrong: named by place, and by group and index where that can be known.

/// One thing found wrong on the disk, never skipped in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Sequence number of the segment.
    pub segment: u64,
    /// Number of the file, when there is one.
    pub slot: Option<u32>,
    /// Offset in the file in bytes.
    pub offset: u64,
    /// Bytes concerned.
    pub bytes: u64,
    /// What is wrong.
    pub kind: DamageKind,
    /// The group concerned, if known.
    pub group: Option<u64>,
    /// First index concerned, if known.
    pub first: Option<u64>,
    /// Last index concerned, if known.
    pub last: Option<u64>,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageKind {
    /// A segment's header does not pass; its blocks were read all the same.
    SegmentHeader,
    /// A whole segment is not there.
    SegmentMissing,
    /// A file that the log once made is not there.
    FileMissing,
    /// One or more blocks, once durable, cannot be read.
    Block,
    /// Records of a readable block have lost their headers.
    Records,
    /// One entry's payload does not match its checksum; group and index are known.
    Payload,
    /// The payload of a group's metadata does not match its checksum; an older one may have been shown.
    Metadata,
    /// Entries between two readable ones of a group are lost; follows from another damage.
    Gap,
}
