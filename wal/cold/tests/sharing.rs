//! One store in memory for several who use it side by side.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use cold::jobs::publish::Change;
use cold::manifest::Manifest;
use cold::store::memory::{Faults, Memory};
use cold::store::{Busy, Ended, ObjectStore, Task};
use cold::tier::Finished;

use crate::driving::{Driven, GROUP};

/// One store that several writers use; each hears only what it asked itself.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) who: u64,
    pub(crate) store: Rc<RefCell<Memory>>,
    pub(crate) heard: Rc<RefCell<BTreeMap<u64, Vec<Ended>>>>,
}

const WHO: u32 = 48;

impl ObjectStore for Shared {
    fn submit(&mut self, token: u64, task: Task) -> Result<(), Busy> {
        self.store
            .borrow_mut()
            .submit(self.who << WHO | token, task)
    }

    fn poll(&mut self, ended: &mut Vec<Ended>) {
        let mut all = Vec::new();
        self.store.borrow_mut().poll(&mut all);
        let mut heard = self.heard.borrow_mut();
        for mut one in all {
            let who = one.token >> WHO;
            one.token &= (1 << WHO) - 1;
            heard.entry(who).or_default().push(one);
        }
        ended.append(heard.entry(self.who).or_default());
    }
}

/// The newest manifest, from a store that is well from here on.
pub(crate) fn newest(store: &Rc<RefCell<Memory>>) -> Manifest {
    store.borrow_mut().set_faults(Faults::default());
    let shared = Shared {
        who: 99,
        store: Rc::clone(store),
        heard: Rc::default(),
    };
    let mut driven = Driven::new(shared, false, 1);
    let id = driven
        .tier
        .publish(Change::Read, Manifest::empty(GROUP))
        .expect("idle");
    match driven.finish(id, &mut || {}) {
        Ok(Finished::Published(manifest)) => manifest,
        other => panic!("the manifest reads: {other:?}"),
    }
}
