//! An object store in memory, as a shard sees it: files in, receipts out; it outlives the nodes, and fails on command.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use sealed::SegmentReader;
use shard::offload::{Arrival, Coffer, Delivery, Found, Parcel, StoreCounts};
use shard::receipt::Receipt;

#[derive(Default)]
struct Inner {
    /// Of each group, by their first entries: last entry and bytes.
    files: BTreeMap<(u64, u64), (u64, Vec<u8>)>,
    number: u64,
    /// Steps ever taken, and those that fail.
    steps: u64,
    failing: Vec<u64>,
    /// Steps after which the answer is lost although the file was stored.
    mute: Vec<u64>,
    /// On their way, of all nodes.
    waiting: Vec<(u64, Parcel)>,
    coffers: u64,
    /// Ways to it that are cut: what goes there fails.
    cut: Vec<u64>,
    /// Questions are not answered; or refused.
    is_deaf: bool,
    is_down: bool,
    /// Groups that somebody asked to have looked after.
    tended: BTreeMap<u64, u64>,
}

/// Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Vault(Rc<RefCell<Inner>>);

/// One node's way to it; what waits in it dies with the node, or arrives and nobody hears of it.
pub(crate) struct VaultCoffer {
    vault: Vault,
    number: u64,
    questions: Vec<(u64, u64, u64)>,
}

impl Vault {
    /// As it is, by itself.
    pub(crate) fn copy(&self) -> Self {
        let inner = self.0.borrow();
        Self(Rc::new(RefCell::new(Inner {
            files: inner.files.clone(),
            number: inner.number,
            ..Inner::default()
        })))
    }

    /// The same after the first so many of the files on their way have arrived.
    pub(crate) fn copy_after(&self, arrived: usize) -> Self {
        let copy = self.copy();
        for (_, parcel) in self.0.borrow().waiting.iter().take(arrived) {
            // Whoever would hear of it is gone.
            let _ = copy.0.borrow_mut().store(parcel);
        }
        copy
    }

    /// Files on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.0.borrow().waiting.len()
    }

    pub(crate) fn coffer(&self) -> VaultCoffer {
        let mut inner = self.0.borrow_mut();
        inner.coffers += 1;
        VaultCoffer {
            vault: self.clone(),
            number: inner.coffers,
            questions: Vec::new(),
        }
    }

    /// These steps, counted from the first delivery ever, fail; of those the answer is lost.
    pub(crate) fn fail(&self, failing: &[u64], mute: &[u64]) {
        let mut inner = self.0.borrow_mut();
        inner.failing = failing.to_vec();
        inner.mute = mute.to_vec();
    }

    /// These ways to it, counted from 1 in the order in which nodes started, are cut from here on, and no others.
    pub(crate) fn cut(&self, ways: &[u64]) {
        self.0.borrow_mut().cut = ways.to_vec();
    }

    /// Questions are not answered at all from here on, or answered that it cannot be said.
    pub(crate) fn silence(&self, is_deaf: bool, is_down: bool) {
        let mut inner = self.0.borrow_mut();
        (inner.is_deaf, inner.is_down) = (is_deaf, is_down);
    }

    /// How often the group's leaders asked to have it looked after.
    pub(crate) fn tended(&self, group: u64) -> u64 {
        self.0.borrow().tended.get(&group).copied().unwrap_or(0)
    }

    /// Everything up to this entry is gone for good, as when it has expired.
    pub(crate) fn expire(&self, group: u64, upto: u64) {
        let mut inner = self.0.borrow_mut();
        let is_kept = |of: u64, last: u64| of != group || last > upto;
        inner.files.retain(|(of, _), (last, _)| is_kept(*of, *last));
    }

    pub(crate) fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    /// The payload of an entry.
    pub(crate) fn entry(&self, group: u64, index: u64) -> Option<Vec<u8>> {
        let inner = self.0.borrow();
        let (_, (last, bytes)) = inner.files.range((group, 0)..=(group, index)).next_back()?;
        if *last < index {
            return None;
        }
        let segment = SegmentReader::open(bytes).expect("what is stored is sound");
        let entry = segment.entry(index).expect("a sound block");
        Some(entry.expect("it is inside").payload)
    }

    /// First and last entries of a group's files.
    pub(crate) fn files(&self, group: u64) -> Vec<(u64, u64)> {
        let inner = self.0.borrow();
        let files = inner.files.range((group, 0)..=(group, u64::MAX));
        files
            .map(|((_, first), (last, _))| (*first, *last))
            .collect()
    }
}

impl Inner {
    fn receipt(&self, group: u64, first: u64) -> Receipt {
        let (last, bytes) = &self.files[&(group, first)];
        let mut since = first;
        for ((_, first), (last, _)) in self.files.range((group, 0)..(group, first)).rev() {
            if last + 1 != since {
                break;
            }
            since = *first;
        }
        Receipt::new(
            since,
            (first, *last),
            bytes.len() as u64,
            self.number,
            [7; 32],
        )
    }

    fn store(&mut self, parcel: &Parcel) -> Delivery {
        let group = parcel.group;
        let step = self.steps;
        self.steps += 1;
        let nothing = Delivery {
            group,
            receipt: None,
        };
        if self.failing.contains(&step) {
            return nothing;
        }
        let files = self.files.range((group, 0)..=(group, parcel.last));
        let overlapping = files
            .filter(|(_, (last, _))| *last >= parcel.first)
            .map(|((_, first), _)| *first)
            .next();
        let first = overlapping.unwrap_or_else(|| {
            let bytes = parcel.contents.as_ref().as_ref().to_vec();
            self.files
                .insert((group, parcel.first), (parcel.last, bytes));
            self.number += 1;
            parcel.first
        });
        if self.mute.contains(&step) {
            return nothing;
        }
        Delivery {
            group,
            receipt: Some(self.receipt(group, first)),
        }
    }
}

impl Coffer for VaultCoffer {
    fn offer(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        let waiting = &mut self.vault.0.borrow_mut().waiting;
        if waiting.iter().filter(|(of, _)| *of == self.number).count() >= 2 {
            return Err(parcel);
        }
        waiting.push((self.number, parcel));
        Ok(())
    }

    fn poll(&mut self, deliveries: &mut Vec<Delivery>) {
        let mut inner = self.vault.0.borrow_mut();
        let (ours, others) = std::mem::take(&mut inner.waiting)
            .into_iter()
            .partition(|(of, _)| *of == self.number);
        inner.waiting = others;
        let ours: Vec<(u64, Parcel)> = ours;
        let is_cut = inner.cut.contains(&self.number);
        deliveries.extend(ours.iter().map(|(_, parcel)| match is_cut {
            true => Delivery {
                group: parcel.group,
                receipt: None,
            },
            false => inner.store(parcel),
        }));
    }

    fn find(&mut self, token: u64, group: u64, index: u64) -> bool {
        if self.questions.len() >= 2 {
            return false;
        }
        self.questions.push((token, group, index));
        true
    }

    fn poll_found(&mut self, arrivals: &mut Vec<Arrival>) {
        let inner = self.vault.0.borrow();
        if inner.is_deaf {
            return;
        }
        arrivals.extend(self.questions.drain(..).map(|(token, group, index)| {
            let holding = inner.files.range((group, 0)..=(group, index)).next_back();
            let holding = holding.filter(|(_, (last, _))| *last >= index);
            let later = inner.files.range((group, index + 1)..=(group, u64::MAX));
            let found = match holding {
                _ if inner.is_down => Found::Failed,
                Some((_, (_, bytes))) => Found::File(Arc::new(bytes.clone())),
                None => Found::Nowhere(later.map(|((_, first), _)| *first).next()),
            };
            Arrival { token, found }
        }));
    }

    fn tend(&mut self, groups: &[u64]) {
        let mut inner = self.vault.0.borrow_mut();
        for group in groups {
            *inner.tended.entry(*group).or_default() += 1;
        }
    }

    fn counts(&self) -> StoreCounts {
        StoreCounts::default()
    }
}

impl Drop for VaultCoffer {
    fn drop(&mut self) {
        let waiting = &mut self.vault.0.borrow_mut().waiting;
        waiting.retain(|(of, _)| *of != self.number);
    }
}
