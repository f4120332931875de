//! Makes segment files ahead of need on a thread of its own, so that the core never waits for zeros.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use crate::device::DeviceError;
use crate::device::folder::Maker;

/// Called on another thread when something has completed.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// One thread that makes one file at a time; it ends with its owner.
#[derive(Debug)]
pub(crate) struct Filler {
    orders: Option<Sender<u32>>,
    made: Receiver<(u32, Result<(), DeviceError>)>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    /// Starts the thread; it waits for orders.
    pub(crate) fn start(maker: Maker, waker: Option<Waker>) -> std::io::Result<Self> {
        let (orders, ordered) = mpsc::channel::<u32>();
        let (report, made) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("log-filler".into())
            .spawn(move || {
                for slot in ordered {
                    if report.send((slot, maker.make(slot))).is_err() {
                        return;
                    }
                    if let Some(wake) = &waker {
                        wake();
                    }
                }
            })?;
        Ok(Self {
            orders: Some(orders),
            made,
            thread: Some(thread),
        })
    }

    /// Begins to make the file of a slot.
    pub(crate) fn order(&self, slot: u32) {
        let orders = self.orders.as_ref().expect("taken only by drop");
        orders
            .send(slot)
            .expect("the thread lives as long as its orders can be sent");
    }

    /// The next file made, if any.
    pub(crate) fn next_made(&self) -> Option<(u32, Result<(), DeviceError>)> {
        self.made.try_recv().ok()
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}
