//! The hatch between the door and a core of the same node: what either has for the other is handed over in memory, not sent.
//!
//! - To the core it is one client's connection, which opens once and never closes; what comes through is a client's request.
//! - Bytes are lent, never copied. Their checksum comes with them, so the log still tells whether they changed on the way.
//! - Each direction keeps its order. Who means to sleep says so and looks once more in the same breath: no news is overslept,
//!   and who is awake is not woken.
//! - Bounded by the door: it hands over no more questions at once than a line may have unanswered.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use net::transport::{ConnectionId, Event, Frame, Outgoing, Remote};
use raft::ids::Time;

use crate::driver::wake::Wake;

/// The connection's id at its core. Sockets' ids count up from 1 and never come here.
pub(crate) const CONNECTION: ConnectionId = ConnectionId(u64::MAX);

/// Bytes of questions that one look takes.
const LOOK_BYTES: usize = 8 << 20;
/// Questions that one look takes.
const LOOK_QUESTIONS: usize = 1024;

/// Both directions between one core and the door. One per core of a node that has a door; cloning clones the handle.
#[derive(Clone, Debug, Default)]
pub struct Hatch(Arc<Both>);

#[derive(Debug, Default)]
struct Both {
    questions: Way<Frame>,
    answers: Way<Outgoing>,
}

/// One direction.
struct Way<T> {
    /// Something waits; read without the lock.
    has_news: AtomicBool,
    inner: Mutex<Inner<T>>,
    wake: OnceLock<Wake>,
}

struct Inner<T> {
    waiting: VecDeque<T>,
    is_asleep: bool,
}

impl<T> Default for Way<T> {
    fn default() -> Self {
        Self {
            has_news: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                waiting: VecDeque::new(),
                is_asleep: false,
            }),
            wake: OnceLock::new(),
        }
    }
}

impl<T> fmt::Debug for Way<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way")
            .field("has_news", &self.has_news)
            .finish_non_exhaustive()
    }
}

impl<T> Way<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over; wakes who takes, if it sleeps.
    fn put(&self, news: impl Iterator<Item = T>) {
        let mut inner = self.lock();
        inner.waiting.extend(news);
        let wakes = !inner.waiting.is_empty() && std::mem::take(&mut inner.is_asleep);
        self.has_news
            .store(!inner.waiting.is_empty(), Ordering::Release);
        drop(inner);
        if wakes && let Some(wake) = self.wake.get() {
            wake.wake();
        }
    }

    /// Takes what waits while `wants` it.
    fn take(&self, mut wants: impl FnMut(&T) -> bool, mut to: impl FnMut(T)) {
        if !self.has_news.load(Ordering::Acquire) {
            return;
        }
        let mut inner = self.lock();
        inner.is_asleep = false;
        while inner.waiting.front().is_some_and(&mut wants) {
            to(inner.waiting.pop_front().expect("it is in front"));
        }
        self.has_news
            .store(!inner.waiting.is_empty(), Ordering::Release);
    }

    /// True when nothing waits; then whoever puts something wakes.
    fn may_sleep(&self) -> bool {
        let mut inner = self.lock();
        inner.is_asleep = inner.waiting.is_empty();
        inner.is_asleep
    }
}

/// The door's side.
impl Hatch {
    /// What wakes the door when there are answers.
    pub(crate) fn wakes_door(&self, wake: Wake) {
        // A door that is opened again has a hatch of its own: this one knows its door already.
        let _ = self.0.answers.wake.set(wake);
    }

    /// Hands questions to the core.
    pub(crate) fn ask(&self, questions: impl Iterator<Item = Frame>) {
        self.0.questions.put(questions);
    }

    /// Takes the answers that are there.
    pub(crate) fn hear(&self, to: impl FnMut(Outgoing)) {
        self.0.answers.take(|_| true, to);
    }

    /// May the door sleep? It is woken then.
    pub(crate) fn door_may_sleep(&self) -> bool {
        self.0.answers.may_sleep()
    }
}

/// The core's side of its hatch, as a connection of its transport.
#[derive(Debug)]
pub(crate) struct Counter {
    hatch: Hatch,
    is_open: bool,
    /// Answers that leave at the next flush.
    answers: Vec<Outgoing>,
    /// Tokens of answers that left, and when.
    left: Vec<(u64, Time)>,
}

impl Counter {
    /// The core's side; `wake` wakes the core.
    pub(crate) fn of(hatch: Hatch, wake: Wake) -> Self {
        let _ = hatch.0.questions.wake.set(wake);
        Self {
            hatch,
            is_open: false,
            answers: Vec::new(),
            left: Vec::new(),
        }
    }

    /// What came, as events of the connection, within what one look takes.
    pub(crate) fn poll(&mut self, events: &mut Vec<Event>) {
        if !self.is_open {
            self.is_open = true;
            events.push(Event::Opened(CONNECTION, Remote::Client));
        }
        let sent = |(token, at): (u64, Time)| Event::Sent(CONNECTION, token, at.0);
        events.extend(self.left.drain(..).map(sent));
        let (mut bytes, mut count) = (0, 0);
        let wants = |frame: &Frame| {
            let fits = bytes < LOOK_BYTES && count < LOOK_QUESTIONS;
            bytes += frame.bulk.len();
            count += 1;
            fits
        };
        let received = |frame| events.push(Event::Received(CONNECTION, frame));
        self.hatch.0.questions.take(wants, received);
    }

    /// Takes an answer, which leaves with the next flush.
    pub(crate) fn send(&mut self, frame: Outgoing) {
        self.answers.push(frame);
    }

    /// Hands the answers over.
    pub(crate) fn flush(&mut self, now: impl FnOnce() -> Time) {
        if self.answers.is_empty() {
            return;
        }
        let at = now();
        let tokens = self.answers.iter().map(|frame| frame.token);
        self.left
            .extend(tokens.filter(|&token| token != 0).map(|token| (token, at)));
        self.hatch.0.answers.put(self.answers.drain(..));
    }

    /// May the core sleep? It is woken then.
    pub(crate) fn may_sleep(&self) -> bool {
        self.hatch.0.questions.may_sleep()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use net::frame::Kind;
    use net::transport::{Event, Frame, Outgoing, Remote};
    use raft::ids::Time;

    use super::{CONNECTION, Counter, Hatch, LOOK_BYTES};
    use crate::driver::wake::Wake;

    fn counting() -> (Wake, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let pulled = Arc::clone(&count);
        let wake = Wake::new(Arc::new(move || {
            pulled.fetch_add(1, Ordering::Relaxed);
        }));
        (wake, count)
    }

    fn question(bulk: &Bytes) -> Frame {
        Frame {
            kind: Kind::REQUEST,
            head: Bytes::new(),
            bulk: bulk.clone(),
            bulk_crc: 0,
            began_at: 1,
            arrived_at: 1,
        }
    }

    fn questions_of(counter: &mut Counter) -> Vec<Bytes> {
        let mut events = Vec::new();
        counter.poll(&mut events);
        let questions = events.into_iter().filter_map(|event| match event {
            Event::Received(CONNECTION, frame) => Some(frame.bulk),
            _ => None,
        });
        questions.collect()
    }

    #[test]
    fn it_opens_once_as_a_client() {
        let (wake, _) = counting();
        let mut counter = Counter::of(Hatch::default(), wake);
        let mut events = Vec::new();
        counter.poll(&mut events);
        assert!(matches!(
            events[..],
            [Event::Opened(CONNECTION, Remote::Client)]
        ));
        counter.poll(&mut events);
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn questions_are_lent_in_order_and_wake_only_who_sleeps() {
        let (wake, woken) = counting();
        let hatch = Hatch::default();
        let mut counter = Counter::of(hatch.clone(), wake);
        let bodies = [Bytes::from(vec![1; 64]), Bytes::from(vec![2; 64])];
        hatch.ask(bodies.iter().map(question));
        assert_eq!(woken.load(Ordering::Relaxed), 0, "it had not gone to sleep");
        assert!(!counter.may_sleep(), "there is news");
        let came = questions_of(&mut counter);
        assert_eq!(came, bodies);
        assert_eq!(came[0].as_ptr(), bodies[0].as_ptr());
        assert!(counter.may_sleep());
        hatch.ask(bodies.iter().map(question));
        hatch.ask(bodies.iter().map(question));
        assert_eq!(woken.load(Ordering::Relaxed), 1, "who was woken is awake");
        assert_eq!(questions_of(&mut counter).len(), 4);
    }

    #[test]
    fn one_look_takes_a_bounded_amount_and_leaves_the_rest_for_the_next() {
        let (wake, _) = counting();
        let hatch = Hatch::default();
        let mut counter = Counter::of(hatch.clone(), wake);
        let quarter = Bytes::from(vec![0; LOOK_BYTES / 4]);
        hatch.ask(std::iter::repeat_with(|| question(&quarter)).take(6));
        assert_eq!(questions_of(&mut counter).len(), 4);
        assert!(!counter.may_sleep());
        assert_eq!(questions_of(&mut counter).len(), 2);
        assert!(counter.may_sleep());
    }

    #[test]
    fn answers_leave_with_the_flush_and_are_told_as_sent() {
        let (wake, woken) = counting();
        let hatch = Hatch::default();
        hatch.wakes_door(wake);
        let mut counter = Counter::of(hatch.clone(), counting().0);
        assert!(hatch.door_may_sleep());
        let token = 7;
        counter.send(Outgoing {
            token,
            ..Outgoing::bare(Kind::REPLY, &[5])
        });
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        counter.flush(|| Time(9));
        counter.flush(|| unreachable!("nothing is left to hand over"));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let mut heard = Vec::new();
        hatch.hear(|answer| heard.push(answer.head));
        assert_eq!(heard, [[5]]);
        let mut events = Vec::new();
        counter.poll(&mut events);
        assert!(matches!(events[1], Event::Sent(CONNECTION, 7, 9)));
    }

    #[test]
    fn between_threads_nothing_is_lost_or_overslept() {
        const ROUNDS: u64 = 2_000;
        let hatch = Hatch::default();
        let asker = std::thread::current();
        hatch.wakes_door(Wake::new(Arc::new(move || asker.unpark())));
        let core = {
            let hatch = hatch.clone();
            std::thread::spawn(move || {
                let me = std::thread::current();
                let wake = Wake::new(Arc::new(move || me.unpark()));
                let mut counter = Counter::of(hatch, wake);
                let mut seen = 0;
                while seen < ROUNDS {
                    let came = questions_of(&mut counter);
                    seen += came.len() as u64;
                    for body in came {
                        counter.send(Outgoing::bare(Kind::REPLY, &body));
                    }
                    counter.flush(|| Time(1));
                    if seen < ROUNDS && counter.may_sleep() {
                        std::thread::park();
                    }
                }
            })
        };
        for round in 0..ROUNDS {
            let body = Bytes::copy_from_slice(&round.to_le_bytes());
            hatch.ask(std::iter::once(question(&body)));
            let mut heard = None;
            while heard.is_none() {
                hatch.hear(|answer| heard = Some(answer.head));
                if heard.is_none() && hatch.door_may_sleep() {
                    std::thread::park();
                }
            }
            assert_eq!(heard.as_deref(), Some(&body[..]));
        }
        core.join().expect("the core ends");
    }
}
