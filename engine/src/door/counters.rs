//! What the door has done since it opened, for `status`.
//!
//! - Written by the door's thread alone, read by any: a number may be behind, never torn.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So many.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Everything that is counted.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Count,)*
        }

        impl Counters {
            /// All of them, by name.
            #[must_use]
            pub fn report(&self) -> Value {
                json!({ $(stringify!($name): self.$name.get(),)* })
            }
        }
    };
}

counters! {
    /// Connections there are.
    connections,
    /// Connections there were.
    accepted,
    /// Connections closed because others wanted their place.
    crowded_out,
    /// Connections closed because of what they sent.
    malformed,
    /// Connections closed because they were slow to send or to read.
    slow,
    /// Requests taken up.
    requests,
    /// Requests answered.
    replies,
    /// Requests dropped: repeated while under way, of the past, of a view not seen yet, or too many at once.
    ignored,
    /// Requests for sessions dropped: too many from one origin.
    flooded,
    /// Requests left to the leader's door.
    left_to_leader,
    /// Sessions ended.
    evictions,
    /// Parts of requests asked of a core.
    parts,
    /// Parts asked again.
    parts_again,
    /// Requests being carried out.
    requests_open,
    /// Bytes of them.
    request_bytes_open,
}
