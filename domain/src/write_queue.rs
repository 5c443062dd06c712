//! Turns of those who write the same streams: they queue in the process instead of racing in the database.
//!
//! One rule: who comes to several streams takes its place in all of their queues at once, and its turn when it is first
//! in each. So turns come in the order of arrival, and nobody waits for somebody who waits for them. A place is given back
//! when it is dropped, also by a caller that has gone; a stream that nobody waits for takes no memory.
//!
//! Those who load a history that is not known yet queue in the same way.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use crate::event_store::StreamId;

/// Places in the queue of one stream, if nothing else is said.
const PLACES: usize = 1_024;

/// The queue of a stream has no place left: try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// The queues of one process; clones share them.
#[derive(Clone, Debug)]
pub struct WriteQueue {
    places: usize,
    queues: Arc<Mutex<Queues>>,
}

impl Default for WriteQueue {
    fn default() -> Self {
        Self::new(PLACES)
    }
}

#[derive(Debug, Default)]
struct Queues {
    /// The number of the next who comes.
    next: u64,
    /// Who stands where; nobody stands in none.
    streams: HashMap<StreamId, VecDeque<u64>>,
    /// How those who wait are told.
    wakers: HashMap<u64, Waker>,
}

impl WriteQueue {
    /// Queues of at most `places` each, that of who has its turn included; at least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            queues: Arc::default(),
        }
    }

    /// A place behind everybody who stands at one of `streams`.
    ///
    /// # Errors
    /// [`QueueFull`] when one of them has none left; then none is taken.
    pub fn enter(&self, streams: BTreeSet<StreamId>) -> Result<Turn, QueueFull> {
        let mut queues = self.lock();
        let length = |stream| queues.streams.get(stream).map_or(0, VecDeque::len);
        if streams.iter().any(|stream| length(stream) >= self.places) {
            return Err(QueueFull);
        }
        let number = queues.next;
        queues.next += 1;
        for stream in &streams {
            queues
                .streams
                .entry(stream.clone())
                .or_default()
                .push_back(number);
        }
        Ok(Turn {
            queue: self.clone(),
            number,
            streams,
        })
    }

    /// How many stand at `stream`, who has its turn included.
    #[must_use]
    pub fn length(&self, stream: &StreamId) -> usize {
        self.lock().streams.get(stream).map_or(0, VecDeque::len)
    }

    /// Whether nobody stands anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let queues = self.lock();
        queues.streams.is_empty() && queues.wakers.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // No step under the lock can panic half way.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn is_first(&self, number: u64, streams: &BTreeSet<StreamId>) -> bool {
        let first = |stream| self.streams.get(stream).and_then(VecDeque::front);
        streams.iter().all(|stream| first(stream) == Some(&number))
    }

    /// Takes `number` out of all queues; those who are first somewhere with that.
    fn leave(&mut self, number: u64, streams: &BTreeSet<StreamId>) -> Vec<Waker> {
        self.wakers.remove(&number);
        let mut woken = Vec::new();
        for stream in streams {
            let Some(queue) = self.streams.get_mut(stream) else {
                continue;
            };
            let was_first = queue.front() == Some(&number);
            queue.retain(|other| *other != number);
            match queue.front() {
                None => drop(self.streams.remove(stream)),
                Some(first) if was_first => woken.extend(self.wakers.get(first).cloned()),
                Some(_) => {}
            }
        }
        woken
    }
}

/// A place in the queues of some streams, and the turn once it is first in all; given back when it is dropped.
#[derive(Debug)]
#[must_use = "a place is given back when it is dropped"]
pub struct Turn {
    queue: WriteQueue,
    number: u64,
    streams: BTreeSet<StreamId>,
}

impl Turn {
    /// The streams that it is for.
    #[must_use]
    pub fn streams(&self) -> &BTreeSet<StreamId> {
        &self.streams
    }

    /// Whether it is its turn.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.queue.lock().is_first(self.number, &self.streams)
    }

    /// Waits until it is. Whoever stops waiting drops the place or waits again.
    pub async fn come(&self) {
        std::future::poll_fn(|context| {
            let mut queues = self.queue.lock();
            if queues.is_first(self.number, &self.streams) {
                queues.wakers.remove(&self.number);
                return Poll::Ready(());
            }
            queues.wakers.insert(self.number, context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let woken = self.queue.lock().leave(self.number, &self.streams);
        // Outside of the lock: a waker may run what it wakes.
        for waker in woken {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Poll, Wake, Waker},
    };

    use super::{QueueFull, StreamId, Turn, WriteQueue};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn at<const N: usize>(keys: [&str; N]) -> BTreeSet<StreamId> {
        keys.map(|key| StreamId::new("test.counter", key)).into()
    }

    fn poll(turn: &Turn, wakes: &Arc<Wakes>) -> Poll<()> {
        let waker = Waker::from(Arc::clone(wakes));
        pin!(turn.come()).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn turns_come_in_the_order_of_arrival_and_others_are_not_waited_for() {
        let (queue, wakes) = (WriteQueue::default(), Arc::new(Wakes::default()));
        let first = queue.enter(at(["a"])).expect("a place");
        let second = queue.enter(at(["a"])).expect("a place");
        let third = queue.enter(at(["a"])).expect("a place");
        let other = queue.enter(at(["b"])).expect("a place");
        assert!(first.has_come() && other.has_come() && !second.has_come());
        assert!(poll(&second, &wakes).is_pending() && poll(&third, &wakes).is_pending());
        drop(first);
        assert_eq!(
            wakes.0.load(Ordering::SeqCst),
            1,
            "only who is first now is wakes"
        );
        assert!(poll(&second, &wakes).is_ready() && poll(&third, &wakes).is_pending());
        drop(second);
        assert!(poll(&third, &wakes).is_ready());
        drop((third, other));
        assert!(queue.is_empty(), "a stream that nobody waits for takes no memory");
    }

    #[test]
    fn who_comes_to_several_streams_is_first_in_all_or_waits_and_nobody_waits_for_ever() {
        let (queue, wakes) = (WriteQueue::default(), Arc::new(Wakes::default()));
        let ab = queue.enter(at(["a", "b"])).expect("a place");
        let bc = queue.enter(at(["b", "c"])).expect("a place");
        let ca = queue.enter(at(["c", "a"])).expect("a place");
        assert!(poll(&ab, &wakes).is_ready());
        assert!(poll(&bc, &wakes).is_pending() && poll(&ca, &wakes).is_pending());
        drop(ab);
        assert!(poll(&bc, &wakes).is_ready() && poll(&ca, &wakes).is_pending());
        drop(bc);
        assert!(poll(&ca, &wakes).is_ready());
    }

    #[test]
    fn who_has_gone_is_not_waited_for() {
        let (queue, wakes) = (WriteQueue::default(), Arc::new(Wakes::default()));
        let first = queue.enter(at(["a"])).expect("a place");
        let gone = queue.enter(at(["a"])).expect("a place");
        let last = queue.enter(at(["a"])).expect("a place");
        assert!(poll(&gone, &wakes).is_pending() && poll(&last, &wakes).is_pending());
        drop(gone);
        assert_eq!(queue.length(first.streams().first().expect("a stream")), 2);
        drop(first);
        assert!(poll(&last, &wakes).is_ready());
        drop(last);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_queue_takes_nobody_and_leaves_no_place_behind() {
        let queue = WriteQueue::new(2);
        let places = [queue.enter(at(["a"])), queue.enter(at(["a"]))];
        assert_eq!(queue.enter(at(["a", "b"])).expect_err("full"), QueueFull);
        assert_eq!(queue.length(&StreamId::new("test.counter", "b")), 0);
        drop(places);
        assert!(queue.enter(at(["a", "b"])).is_ok());
    }
}
