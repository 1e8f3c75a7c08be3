//! Items waiting here to be ordered: bounded, first in first out.
//!
//! An item is *waiting* until a unit of ours takes it, then *in flight* until that unit is
//! ordered before its session's end; if the session ends without, it waits again, at the front.
//! The queue is memory only: items already in units survive a crash by the unit file, from which
//! [`Queue::reopen`] brings them back; waiting ones are lost, and their submitters ask again.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::batch::{self, ITEM_LIMIT_BYTES};

/// Why an item was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Unavailable: too many items or bytes wait; nothing was queued, try again later.
    #[error("too much is waiting to be ordered")]
    QueueFull,
    /// Refused: the item is longer than [`ITEM_LIMIT_BYTES`].
    #[error("an item of {size_bytes} bytes is too long")]
    TooLong {
        /// The item's length.
        size_bytes: usize,
    },
    /// Refused: an item has at least one byte.
    #[error("an empty item")]
    Empty,
    /// Unavailable: the broadcast has stopped.
    #[error("the broadcast has stopped")]
    Stopped,
}

#[derive(Debug)]
struct Item {
    bytes: Vec<u8>,
    /// When it was submitted; `None` for one restored from the unit file.
    queued_at: Option<Instant>,
}

/// The items of one unit of ours.
#[derive(Debug)]
struct Flight {
    session: u64,
    /// The items themselves tell which unit it was: units of equal items are interchangeable.
    items: Vec<Item>,
}

/// The bounded queue.
#[derive(Debug)]
pub(crate) struct Queue {
    limit_items: usize,
    limit_bytes: usize,
    waiting: VecDeque<Item>,
    flights: Vec<Flight>,
    items: usize,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(limit_items: usize, limit_bytes: usize) -> Self {
        Self {
            limit_items,
            limit_bytes,
            waiting: VecDeque::new(),
            flights: Vec::new(),
            items: 0,
            bytes: 0,
        }
    }

    /// Queues an item. Errors: see [`SubmitError`]; nothing is modified.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, now: Instant) -> Result<(), SubmitError> {
        let size_bytes = bytes.len();
        if size_bytes == 0 {
            return Err(SubmitError::Empty);
        }
        if size_bytes > ITEM_LIMIT_BYTES {
            return Err(SubmitError::TooLong { size_bytes });
        }
        if self.items >= self.limit_items || self.bytes + size_bytes > self.limit_bytes {
            return Err(SubmitError::QueueFull);
        }
        self.items += 1;
        self.bytes += size_bytes;
        self.waiting.push_back(Item { bytes, queued_at: Some(now) });
        Ok(())
    }

    /// Whether items wait for a unit.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// All items not ordered yet, and those of them in no unit yet.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.items, self.waiting.len())
    }

    /// The bytes of all items not ordered yet.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the oldest waiting items, as many as one unit carries, into a unit of `session`.
    pub(crate) fn take_batch(&mut self, session: u64) -> Vec<Vec<u8>> {
        let mut framed = 1;
        let mut items = Vec::new();
        while let Some(item) = self.waiting.front() {
            let Some(total) = batch::fits(framed, item.bytes.len()) else { break };
            framed = total;
            items.extend(self.waiting.pop_front());
        }
        let bytes = items.iter().map(|item| item.bytes.clone()).collect();
        if !items.is_empty() {
            self.flights.push(Flight { session, items });
        }
        bytes
    }

    /// Session `session` starts with these units of ours, as items each, found in the unit file.
    ///
    /// Brings back items that a restart forgot; they count towards the bounds but are not subject
    /// to them. What was in flight in a unit that never reached the file waits again.
    pub(crate) fn reopen(&mut self, session: u64, units: Vec<Vec<Vec<u8>>>) {
        let (mut known, others): (Vec<_>, Vec<_>) =
            self.flights.drain(..).partition(|flight| flight.session == session);
        self.flights = others;
        for unit in units {
            let same =
                |flight: &Flight| flight.items.iter().map(|item| &item.bytes).eq(unit.iter());
            let flight = match known.iter().position(same) {
                Some(index) => known.remove(index),
                None => {
                    self.items += unit.len();
                    self.bytes += unit.iter().map(Vec::len).sum::<usize>();
                    let item = |bytes| Item { bytes, queued_at: None };
                    Flight { session, items: unit.into_iter().map(item).collect() }
                }
            };
            self.flights.push(flight);
        }
        self.wait_again(known);
    }

    /// A unit of ours with `items` was ordered before the end of `session`: forgets them and
    /// returns how long each took.
    pub(crate) fn ordered(
        &mut self,
        session: u64,
        items: &[Vec<u8>],
        now: Instant,
    ) -> Vec<Duration> {
        let same = |flight: &Flight| {
            flight.session == session
                && flight.items.iter().map(|item| &item.bytes).eq(items.iter())
        };
        let Some(index) = self.flights.iter().position(same) else { return Vec::new() };
        let flight = self.flights.remove(index);
        self.items -= flight.items.len();
        self.bytes -= flight.items.iter().map(|item| item.bytes.len()).sum::<usize>();
        let queued_at = flight.items.iter().filter_map(|item| item.queued_at);
        queued_at.map(|queued| now.saturating_duration_since(queued)).collect()
    }

    /// Sessions before `next` are over for us: what they did not order waits again, in order.
    pub(crate) fn sessions_over(&mut self, next: u64) {
        let (over, keep): (Vec<_>, Vec<_>) =
            self.flights.drain(..).partition(|flight| flight.session < next);
        self.flights = keep;
        self.wait_again(over);
    }

    fn wait_again(&mut self, flights: Vec<Flight>) {
        for item in flights.into_iter().flat_map(|flight| flight.items).rev() {
            self.waiting.push_front(item);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn queue(items: &[&[u8]]) -> Queue {
        let mut queue = Queue::new(100, 1 << 20);
        for item in items {
            queue.push(item.to_vec(), Instant::now()).unwrap();
        }
        queue
    }

    #[test]
    fn queue_is_bounded_by_count_and_bytes_until_items_are_ordered() {
        let now = Instant::now();
        let mut queue = Queue::new(2, 10);
        assert_eq!(queue.push(vec![], now), Err(SubmitError::Empty));
        let size_bytes = ITEM_LIMIT_BYTES + 1;
        assert_eq!(queue.push(vec![0; size_bytes], now), Err(SubmitError::TooLong { size_bytes }));
        queue.push(vec![1; 8], now).unwrap();
        assert_eq!(queue.push(vec![2; 3], now), Err(SubmitError::QueueFull));
        queue.push(vec![2; 2], now).unwrap();
        assert_eq!(queue.push(vec![3], now), Err(SubmitError::QueueFull));
        let batch = queue.take_batch(0);
        assert_eq!(queue.push(vec![3], now), Err(SubmitError::QueueFull), "not ordered yet");
        assert_eq!(queue.ordered(0, &batch, now).len(), 2);
        assert_eq!((queue.counts(), queue.size_bytes()), ((0, 0), 0));
        queue.push(vec![3], now).unwrap();
    }

    #[test]
    fn batch_takes_the_oldest_items_that_fit_one_unit() {
        let big = vec![1; ITEM_LIMIT_BYTES / 2];
        let mut queue = queue(&[&big, b"small", &big, b"last"]);
        assert_eq!(queue.take_batch(0), vec![big.clone(), b"small".to_vec()]);
        assert_eq!(queue.take_batch(0), vec![big, b"last".to_vec()]);
        assert!(queue.take_batch(0).is_empty());
    }

    #[test]
    fn largest_item_travels_alone() {
        let largest = vec![1; ITEM_LIMIT_BYTES];
        let mut queue = queue(&[&largest, b"x"]);
        assert_eq!(queue.take_batch(0), vec![largest]);
    }

    #[test]
    fn items_of_an_over_session_wait_again_in_their_order() {
        let mut queue = queue(&[b"a"]);
        queue.take_batch(3);
        queue.push(b"b".to_vec(), Instant::now()).unwrap();
        queue.take_batch(3);
        queue.push(b"c".to_vec(), Instant::now()).unwrap();
        queue.sessions_over(3);
        assert_eq!(queue.counts(), (3, 1), "session 3 is not over yet");
        queue.sessions_over(4);
        assert_eq!(queue.take_batch(4), vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn batch_of_another_session_or_of_other_items_settles_nothing() {
        let now = Instant::now();
        let mut queue = queue(&[b"a"]);
        let batch = queue.take_batch(1);
        assert!(queue.ordered(0, &batch, now).is_empty());
        assert!(queue.ordered(1, &[b"b".to_vec()], now).is_empty());
        assert_eq!(queue.counts(), (1, 0));
    }

    #[test]
    fn reopening_keeps_what_reached_the_file_in_flight_and_the_rest_waits() {
        let mut queue = queue(&[b"saved"]);
        queue.take_batch(1);
        queue.push(b"lost".to_vec(), Instant::now()).unwrap();
        queue.take_batch(1);
        queue.reopen(1, vec![vec![b"saved".to_vec()]]);
        assert_eq!(queue.counts(), (2, 1));
        assert_eq!(queue.take_batch(1), vec![b"lost".to_vec()]);
        assert_eq!(queue.ordered(1, &[b"saved".to_vec()], Instant::now()).len(), 1);
    }

    #[test]
    fn restored_items_are_settled_like_others() {
        let mut queue = queue(&[]);
        queue.reopen(1, vec![vec![b"a".to_vec()], vec![b"b".to_vec()]]);
        queue.ordered(1, &[b"a".to_vec()], Instant::now());
        queue.sessions_over(2);
        assert_eq!(queue.take_batch(2), vec![b"b".to_vec()]);
    }
}
