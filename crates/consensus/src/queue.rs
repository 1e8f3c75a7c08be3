//! Items waiting here to be ordered: bounded, first in first out.
//!
//! An item is *waiting* until a unit takes it, then *in flight* until that unit is ordered before
//! its session's end; if the session ends without, it waits again, at the front. Items that came
//! meanwhile may be in the next session already, so around the end of one they may change places.
//!
//! The unit is one of ours, or for a relayed item a peer's that came before ours and holds the same
//! bytes: wallets bring a transaction to every guardian, and once in the log is enough. A peer's
//! unit may never be ordered, so it has some rounds for it, after which its items wait again.
//! (docs/decisions/0020-transactions-are-relayed.md)
//!
//! The queue is memory only: items already in units of ours survive a crash by the unit file, from
//! which [`Queue::reopen`] brings them back; others are lost, and their submitters ask again.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use aleph_bft::Hasher as _;
use tokio::time::Instant;

use crate::{
    batch::{self, ITEM_LIMIT_BYTES},
    keys::Sha256,
};

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

/// Who has to propose an item for it to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proposer {
    /// This guardian: it speaks for itself.
    Us,
    /// Any guardian.
    Anyone,
}

/// The hash of an item.
type Name = [u8; 32];

#[derive(Debug)]
struct Item {
    bytes: Vec<u8>,
    /// Of an item that anyone may propose.
    name: Option<Name>,
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

/// Where a peer's unit stands in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) session: u64,
    pub(crate) creator: usize,
    pub(crate) round: u16,
}

/// A peer's unit with items that is not ordered yet.
#[derive(Debug)]
struct PeerUnit {
    place: Place,
    /// The round of ours from which on it is no longer counted on.
    until: u16,
    names: HashSet<Name>,
    /// Items of ours that it carries.
    items: Vec<Item>,
}

/// Most items of a peer's unit that are looked at: more than transactions fit into one, and a
/// bound on the work and memory that tiny ones would make.
const NAMES_MAX: usize = 256;

/// The bounded queue.
#[derive(Debug)]
pub(crate) struct Queue {
    limit_items: usize,
    limit_bytes: usize,
    waiting: VecDeque<Item>,
    flights: Vec<Flight>,
    /// A few: those of the last rounds.
    peer_units: Vec<PeerUnit>,
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
            peer_units: Vec::new(),
            items: 0,
            bytes: 0,
        }
    }

    /// Queues an item; true if it waits for a unit of ours, false if a peer's carries it already.
    /// Errors: see [`SubmitError`]; nothing is modified.
    pub(crate) fn push(
        &mut self,
        bytes: Vec<u8>,
        proposer: Proposer,
        now: Instant,
    ) -> Result<bool, SubmitError> {
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
        let name = (proposer == Proposer::Anyone).then(|| Sha256::hash(&bytes));
        let item = Item { bytes, name, queued_at: Some(now) };
        let carries = |unit: &&mut PeerUnit| name.is_some_and(|name| unit.names.contains(&name));
        match self.peer_units.iter_mut().find(carries) {
            Some(unit) => {
                unit.items.push(item);
                Ok(false)
            }
            None => {
                self.waiting.push_back(item);
                Ok(true)
            }
        }
    }

    /// A peer's unit at `place` with `items` is in our graph. What waits here and is in it is left
    /// to it, until it was ordered or our round `until` has come.
    pub(crate) fn peer_has_proposed(&mut self, place: Place, until: u16, items: &[Vec<u8>]) {
        if self.peer_units.iter().any(|unit| unit.place == place) {
            return;
        }
        let names: HashSet<Name> =
            items.iter().take(NAMES_MAX).map(|item| Sha256::hash(item)).collect();
        let is_carried = |item: &Item| item.name.is_some_and(|name| names.contains(&name));
        if !self.waiting.iter().any(is_carried) {
            self.peer_units.push(PeerUnit { place, until, names, items: Vec::new() });
            return;
        }
        let (mut items, mut waiting) = (Vec::new(), VecDeque::new());
        for item in self.waiting.drain(..) {
            if is_carried(&item) { items.push(item) } else { waiting.push_back(item) }
        }
        self.waiting = waiting;
        self.peer_units.push(PeerUnit { place, until, names, items });
    }

    /// A peer's unit with `items` was ordered before the end of its session: forgets what it carried
    /// of ours and returns how long each took. If it is not the unit that was counted on, since the
    /// peer made two for one place, what it lacks waits again.
    pub(crate) fn peer_ordered(
        &mut self,
        place: Place,
        items: &[Vec<u8>],
        now: Instant,
    ) -> Vec<Duration> {
        let found = self.peer_units.iter().position(|unit| unit.place == place);
        let Some(index) = found else { return Vec::new() };
        let unit = self.peer_units.swap_remove(index);
        let (carried, lacking): (Vec<_>, Vec<_>) =
            unit.items.into_iter().partition(|item| items.contains(&item.bytes));
        self.wait_again(lacking.into_iter());
        self.forget(&carried, now)
    }

    /// We are at round `next_round` of `session`: what peers' units had until now to carry waits
    /// again.
    pub(crate) fn lose_patience(&mut self, session: u64, next_round: u16) {
        self.give_up(|unit| unit.place.session == session && unit.until <= next_round);
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
        self.give_up(|unit| unit.place.session == session);
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
                    let item = |bytes| Item { bytes, name: None, queued_at: None };
                    Flight { session, items: unit.into_iter().map(item).collect() }
                }
            };
            self.flights.push(flight);
        }
        self.wait_again(known.into_iter().flat_map(|flight| flight.items));
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
        self.forget(&flight.items, now)
    }

    fn forget(&mut self, ordered: &[Item], now: Instant) -> Vec<Duration> {
        self.items -= ordered.len();
        self.bytes -= ordered.iter().map(|item| item.bytes.len()).sum::<usize>();
        let queued_at = ordered.iter().filter_map(|item| item.queued_at);
        queued_at.map(|queued| now.saturating_duration_since(queued)).collect()
    }

    /// Sessions before `next` are over for us: what they did not order waits again, in order.
    pub(crate) fn sessions_over(&mut self, next: u64) {
        let (over, keep): (Vec<_>, Vec<_>) =
            self.flights.drain(..).partition(|flight| flight.session < next);
        self.flights = keep;
        self.give_up(|unit| unit.place.session < next);
        self.wait_again(over.into_iter().flat_map(|flight| flight.items));
    }

    /// Peers' units are no longer counted on.
    fn give_up(&mut self, which: impl Fn(&PeerUnit) -> bool) {
        if !self.peer_units.iter().any(&which) {
            return;
        }
        let (lost, keep): (Vec<_>, Vec<_>) = self.peer_units.drain(..).partition(which);
        self.peer_units = keep;
        self.wait_again(lost.into_iter().flat_map(|unit| unit.items));
    }

    fn wait_again(&mut self, items: impl DoubleEndedIterator<Item = Item>) {
        items.rev().for_each(|item| self.waiting.push_front(item));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        Proposer::{Anyone, Us},
        *,
    };

    fn queue(items: &[&[u8]]) -> Queue {
        let mut queue = Queue::new(100, 1 << 20);
        for item in items {
            queue.push(item.to_vec(), Us, Instant::now()).unwrap();
        }
        queue
    }

    #[test]
    fn queue_is_bounded_by_count_and_bytes_until_items_are_ordered() {
        let now = Instant::now();
        let mut queue = Queue::new(2, 10);
        assert_eq!(queue.push(vec![], Us, now), Err(SubmitError::Empty));
        let size_bytes = ITEM_LIMIT_BYTES + 1;
        assert_eq!(
            queue.push(vec![0; size_bytes], Us, now),
            Err(SubmitError::TooLong { size_bytes })
        );
        queue.push(vec![1; 8], Us, now).unwrap();
        assert_eq!(queue.push(vec![2; 3], Us, now), Err(SubmitError::QueueFull));
        queue.push(vec![2; 2], Us, now).unwrap();
        assert_eq!(queue.push(vec![3], Us, now), Err(SubmitError::QueueFull));
        let batch = queue.take_batch(0);
        assert_eq!(queue.push(vec![3], Us, now), Err(SubmitError::QueueFull), "not ordered yet");
        assert_eq!(queue.ordered(0, &batch, now).len(), 2);
        assert_eq!((queue.counts(), queue.size_bytes()), ((0, 0), 0));
        queue.push(vec![3], Us, now).unwrap();
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
        queue.push(b"b".to_vec(), Us, Instant::now()).unwrap();
        queue.take_batch(3);
        queue.push(b"c".to_vec(), Us, Instant::now()).unwrap();
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
        queue.push(b"lost".to_vec(), Us, Instant::now()).unwrap();
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

    const PEER: Place = Place { session: 1, creator: 2, round: 7 };

    #[test]
    fn relayed_item_is_left_to_the_peer_that_was_first() {
        let now = Instant::now();
        let mut queue = queue(&[]);
        assert_eq!(queue.push(b"early".to_vec(), Anyone, now), Ok(true));
        queue.peer_has_proposed(PEER, 20, &[b"late".to_vec(), b"early".to_vec()]);
        assert_eq!(queue.push(b"late".to_vec(), Anyone, now), Ok(false));
        assert_eq!(queue.push(b"other".to_vec(), Anyone, now), Ok(true));
        assert_eq!(queue.counts(), (3, 1));
        assert_eq!(queue.take_batch(1), vec![b"other".to_vec()]);
        let ordered = [b"early".to_vec(), b"late".to_vec()];
        assert_eq!(queue.peer_ordered(PEER, &ordered, now).len(), 2);
        assert!(queue.peer_ordered(PEER, &ordered, now).is_empty(), "settled once");
        assert_eq!(queue.counts(), (1, 0));
        assert_eq!(
            queue.push(b"late".to_vec(), Anyone, now),
            Ok(true),
            "ordered, no longer coming"
        );
    }

    #[test]
    fn own_item_is_never_left_to_a_peer() {
        let mut queue = queue(&[b"vote"]);
        queue.peer_has_proposed(PEER, 20, &[b"vote".to_vec()]);
        assert_eq!(queue.push(b"vote".to_vec(), Us, Instant::now()), Ok(true));
        assert_eq!(queue.take_batch(1), vec![b"vote".to_vec(), b"vote".to_vec()]);
    }

    #[test]
    fn what_a_peer_does_not_get_ordered_in_time_waits_again() {
        let now = Instant::now();
        let mut queue = queue(&[]);
        queue.push(b"kept".to_vec(), Anyone, now).unwrap();
        queue.peer_has_proposed(PEER, 20, &[b"kept".to_vec()]);
        queue.lose_patience(2, 30);
        queue.lose_patience(1, 19);
        assert!(!queue.has_waiting());
        queue.lose_patience(1, 20);
        assert!(queue.peer_ordered(PEER, &[b"kept".to_vec()], now).is_empty());
        assert_eq!(queue.take_batch(1), vec![b"kept".to_vec()]);
        assert_eq!(queue.ordered(1, &[b"kept".to_vec()], now).len(), 1);
    }

    #[test]
    fn what_a_peer_did_not_get_ordered_in_its_session_waits_again() {
        let now = Instant::now();
        for reopened in [false, true] {
            let mut queue = queue(&[]);
            queue.push(b"kept".to_vec(), Anyone, now).unwrap();
            queue.peer_has_proposed(PEER, 20, &[b"kept".to_vec()]);
            if reopened {
                queue.reopen(1, Vec::new())
            } else {
                queue.sessions_over(2)
            }
            assert_eq!(queue.take_batch(2), vec![b"kept".to_vec()], "reopened: {reopened}");
        }
    }

    #[test]
    fn what_another_unit_of_the_same_place_lacks_waits_again() {
        let now = Instant::now();
        let mut queue = queue(&[]);
        for item in [b"both", b"left"] {
            queue.push(item.to_vec(), Anyone, now).unwrap();
        }
        queue.peer_has_proposed(PEER, 20, &[b"both".to_vec(), b"left".to_vec()]);
        assert_eq!(queue.peer_ordered(PEER, &[b"both".to_vec()], now).len(), 1);
        assert_eq!((queue.counts(), queue.size_bytes()), ((1, 1), 4));
        assert_eq!(queue.take_batch(1), vec![b"left".to_vec()]);
    }

    #[test]
    fn unit_of_tiny_items_is_looked_at_up_to_a_bound() {
        let now = Instant::now();
        let mut queue = queue(&[]);
        let items: Vec<Vec<u8>> = (0..=NAMES_MAX).map(|i| i.to_be_bytes().to_vec()).collect();
        queue.peer_has_proposed(PEER, 20, &items);
        assert_eq!(queue.push(items[NAMES_MAX - 1].clone(), Anyone, now), Ok(false));
        assert_eq!(queue.push(items[NAMES_MAX].clone(), Anyone, now), Ok(true));
    }
}
