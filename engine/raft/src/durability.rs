//! Durability classes: how widely an entry must be stored before its reply may leave.
//!
//! - A class delays a reply; it never changes what is committed (commit is class 0).
//! - The durable index of a class never exceeds the commit index.
//! - A class asks for at most what the membership has: with one site in all, "two sites" asks for that one.
//!   A member whose place is unknown might stand anywhere, so then every voter is asked for.
//! - A reply inherits the waits of what its entry touched (`Waits`): a weak entry never makes visible the
//!   effect of a strong one that is not stored widely enough yet.

use crate::ids::{Index, NodeId};
use crate::membership::{Member, Membership, Place};

/// The most classes of a configuration.
pub const CLASSES_MAX: usize = 7;

/// What one class asks for, all at once, on top of the commit quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    /// Durable copies among the voters.
    pub count: u8,
    /// Different sites among the voters that hold it.
    pub sites: u8,
    /// Different regions among the voters that hold it.
    pub regions: u8,
    /// Copies at members that never lead (witnesses, learners) outside the leader's region.
    pub witnesses: u8,
}

/// What a member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Durable up to here.
    pub index: Index,
    /// The zone (site or region), 0 when unknown.
    pub zone: u16,
}

/// The highest index, not above `committed`, that voters of `zones` different zones hold.
#[must_use]
pub fn zoned_index(committed: Index, held: &[Held], zones: usize) -> Index {
    let mut known: Vec<u16> = held
        .iter()
        .map(|held| held.zone)
        .filter(|&zone| zone != 0)
        .collect();
    known.sort_unstable();
    known.dedup();
    let unknown = held.iter().any(|held| held.zone == 0);
    if known.len() < zones && unknown {
        let all = held.iter().map(|held| held.index).min();
        return all.unwrap_or(committed).min(committed);
    }
    // The best index of each zone, highest first: the n-th is held by n zones.
    let mut best: Vec<Index> = known
        .iter()
        .map(|&zone| {
            let of_zone = held
                .iter()
                .filter(|held| held.zone == zone)
                .map(|held| held.index);
            of_zone.max().unwrap_or_default()
        })
        .collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let asked = zones.min(best.len());
    if asked == 0 {
        committed
    } else {
        best[asked - 1].min(committed)
    }
}

impl Class {
    /// The highest index stored as widely as this class asks, not above `committed`.
    #[must_use]
    pub fn durable_index(
        &self,
        membership: &Membership,
        leader: NodeId,
        committed: Index,
        held: impl Fn(NodeId) -> Index,
    ) -> Index {
        let mut durable = committed;
        let halves: [fn(&Member) -> bool; 2] =
            [Member::votes_incoming, |member| member.outgoing.is_some()];
        for half in halves {
            let voters = || membership.members().iter().filter(|member| half(member));
            if voters().next().is_none() {
                continue;
            }
            let mut indexes: Vec<Index> = voters().map(|member| held(member.node)).collect();
            let need = usize::from(self.count).clamp(1, indexes.len());
            durable = durable.min(crate::quorum::committed(&mut indexes, need));
            for (asked, by_site) in [(self.sites, true), (self.regions, false)] {
                let zone = |place: Place| if by_site { place.site } else { place.region };
                if asked > 1 {
                    let held: Vec<Held> = voters()
                        .map(|member| Held {
                            index: held(member.node),
                            zone: zone(member.place),
                        })
                        .collect();
                    durable = zoned_index(durable, &held, usize::from(asked));
                }
            }
        }
        if self.witnesses > 0 {
            let home = membership
                .member(leader)
                .map_or(0, |member| member.place.region);
            let mut outside: Vec<Index> = membership
                .members()
                .iter()
                .filter(|member| !member.may_lead() && member.place.region != home)
                .map(|member| held(member.node))
                .collect();
            outside.sort_unstable_by(|a, b| b.cmp(a));
            // Unlike sites, witnesses are an explicit promise: too few of them hold the reply back.
            let at = usize::from(self.witnesses) - 1;
            durable = durable.min(outside.get(at).copied().unwrap_or_default());
        }
        durable
    }
}

/// What one reply waits for: an index for each class, gathered from the entry itself and from everything
/// its effects build on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    upto: [Index; CLASSES_MAX + 1],
}

impl Waits {
    /// The entry itself, in its class.
    #[must_use]
    pub fn of(index: Index, class: u8) -> Self {
        let mut waits = Self::default();
        waits.upto[0] = index;
        waits.upto[usize::from(class).min(CLASSES_MAX)] = index;
        waits
    }

    /// Takes over what something it touched waits for.
    pub fn inherit(&mut self, touched: &Self) {
        for (mine, theirs) in self.upto.iter_mut().zip(touched.upto) {
            *mine = (*mine).max(theirs);
        }
    }

    /// May the reply leave, given the durable index of each class (class 0 first)?
    #[must_use]
    pub fn released(&self, durable: impl Fn(u8) -> Index) -> bool {
        self.upto
            .iter()
            .enumerate()
            .all(|(class, &upto)| upto == Index(0) || durable(class as u8) >= upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Kind;

    fn place(site: u16, region: u16) -> Place {
        Place { site, region }
    }

    fn membership() -> Membership {
        Membership::new(
            [
                (NodeId(1), Kind::Voter, place(1, 1)),
                (NodeId(2), Kind::Voter, place(1, 1)),
                (NodeId(3), Kind::Voter, place(2, 1)),
                (NodeId(4), Kind::Learner, place(9, 2)),
            ],
            None,
        )
        .expect("three voters")
    }

    fn durable(class: Class, held: [u64; 4]) -> u64 {
        let mut sorted = [held[0], held[1], held[2]];
        sorted.sort_unstable();
        let held = |node: NodeId| Index(held[node.0 as usize - 1]);
        class
            .durable_index(&membership(), NodeId(1), Index(sorted[1]), held)
            .0
    }

    #[test]
    fn classes_only_delay() {
        let held = [10, 9, 4, 3];
        assert_eq!(durable(Class::default(), held), 9);
        assert_eq!(
            durable(
                Class {
                    count: 3,
                    ..Class::default()
                },
                held
            ),
            4
        );
        assert_eq!(
            durable(
                Class {
                    sites: 2,
                    ..Class::default()
                },
                held
            ),
            4
        );
        assert_eq!(
            durable(
                Class {
                    sites: 3,
                    ..Class::default()
                },
                held
            ),
            4,
            "two sites in all"
        );
        assert_eq!(
            durable(
                Class {
                    regions: 2,
                    ..Class::default()
                },
                held
            ),
            9,
            "one voting region"
        );
        assert_eq!(
            durable(
                Class {
                    witnesses: 1,
                    ..Class::default()
                },
                held
            ),
            3
        );
        assert_eq!(
            durable(
                Class {
                    witnesses: 2,
                    ..Class::default()
                },
                held
            ),
            0,
            "too few witnesses"
        );
    }

    #[test]
    fn a_reply_inherits_the_waits_of_what_it_touched() {
        let critical = Waits::of(Index(5), 2);
        let mut local = Waits::of(Index(7), 0);
        local.inherit(&critical);
        let durable = |critical: u64| {
            move |class: u8| {
                if class == 2 {
                    Index(critical)
                } else {
                    Index(7)
                }
            }
        };
        assert!(Waits::of(Index(7), 0).released(durable(4)));
        assert!(!local.released(durable(4)));
        assert!(local.released(durable(5)));
    }
}
