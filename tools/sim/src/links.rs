//! Links that are slow for a while, and streams of which one end is gone.
//!
//! - Nothing is lost by it: what waited arrives.

use crate::faults::{Kind, Undo};
use crate::world::World;

const MILLISECOND: u64 = 1_000_000;
/// The least that a narrow link carries, per second: what queued before it is widened is through soon after.
const NARROW_BYTES: u64 = 256 << 10;

impl World {
    /// The links of a node become slow, one way or another.
    pub(crate) fn slow_links(&mut self, kind: Kind, node: usize, lasts: u64) {
        match kind {
            Kind::Swizzle => self.swizzle(node, lasts),
            Kind::HalfOpen => {
                let other = self.peer_of(node);
                self.network.half_open(node, other);
            }
            Kind::Narrow => {
                let bytes = self.dice.magnitude(NARROW_BYTES, 64 * NARROW_BYTES);
                let pairs = self.all_of(node);
                for (from, to) in &pairs {
                    self.network
                        .change(*from, *to, |link| link.bytes_per_second = bytes);
                }
                self.later(lasts, Undo::Widen(pairs));
            }
            _ => {
                let clog = self.dice.magnitude(MILLISECOND, 400 * MILLISECOND);
                let pairs = self.all_of(node);
                for (from, to) in &pairs {
                    self.network.change(*from, *to, |link| link.clog_ns = clog);
                }
                self.later(lasts, Undo::Unclog(pairs));
            }
        }
    }

    /// Links are slow or fast from here on.
    pub(crate) fn hurry(&mut self, undo: Undo) {
        match undo {
            Undo::Unclog(pairs) => {
                for (from, to) in pairs {
                    self.network.change(from, to, |link| link.clog_ns = 0);
                }
            }
            Undo::Calm(pairs) => {
                for (from, to) in pairs {
                    self.network.change(from, to, |link| {
                        (link.flip_one_in, link.tear_one_in) = (0, 0)
                    });
                }
            }
            Undo::Clog((from, to), clog) => {
                self.network.change(from, to, |link| link.clog_ns = clog);
            }
            Undo::Widen(pairs) => {
                for (from, to) in pairs {
                    self.network
                        .change(from, to, |link| link.bytes_per_second = 0);
                }
            }
            _ => {}
        }
    }

    /// Links become slow one after the other, and are well again in another order.
    fn swizzle(&mut self, node: usize, lasts: u64) {
        for pair in self.all_of(node) {
            let clog = self.dice.magnitude(MILLISECOND, 400 * MILLISECOND);
            let begins = self.dice.below(lasts / 2 + 1);
            let ends = lasts / 2 + 1 + self.dice.below(lasts / 2 + 1);
            self.later(begins, Undo::Clog(pair, clog));
            self.later(ends, Undo::Unclog(vec![pair]));
        }
    }
}
