//! When something is due, or never: one word instead of an optional instant.
//!
//! - The earlier of two alarms is the smaller; "never" is the largest.

use crate::ids::Time;

/// An instant at which something is due, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Alarm(Time);

impl Alarm {
    /// Nothing is due.
    pub(crate) const NEVER: Self = Self(Time(u64::MAX));

    /// Due at `time`.
    #[inline]
    pub(crate) const fn at(time: Time) -> Self {
        Self(time)
    }

    #[inline]
    pub(crate) fn is_set(self) -> bool {
        self != Self::NEVER
    }

    /// Due at `now` or before.
    #[inline]
    pub(crate) fn is_due(self, now: Time) -> bool {
        self.is_set() && self.0 <= now
    }

    /// The instant, if there is one.
    #[inline]
    pub(crate) fn time(self) -> Option<Time> {
        self.is_set().then_some(self.0)
    }
}

/// What a replica that does not lead waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Alarms {
    /// When to campaign, if nothing happens before.
    pub(crate) campaign_at: Alarm,
    /// When to look after the leader's liveness again.
    pub(crate) check_at: Alarm,
}

impl Alarms {
    /// There is a leader: no campaign.
    pub(crate) const REST: Self = Self {
        campaign_at: Alarm::NEVER,
        check_at: Alarm::NEVER,
    };

    /// A campaign at `time`.
    pub(crate) const fn campaign(time: Time) -> Self {
        Self {
            campaign_at: Alarm::at(time),
            check_at: Alarm::NEVER,
        }
    }

    /// The earlier of the two.
    #[inline]
    pub(crate) fn next(self) -> Alarm {
        self.campaign_at.min(self.check_at)
    }
}
