//! The double of consensus: one shared log of ordered units, cut into sessions by close marks.
//!
//! It keeps the promises of the real thing and no more: everybody sees the same units in the same
//! order; a session ends with the unit that completes a threshold of close marks; units that come
//! later are void, and their creators submit the items again; a session does not begin before the
//! one two before it is signed; after a restart a guardian is told its unfinished sessions from their
//! beginning, or not at all if the others have moved on.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use moneta_core::PeerId;
use moneta_guardian::engine::{Engine, Unit};

/// What one guardian put into consensus at once. Clones share everything.
#[derive(Clone)]
pub struct Batch(Rc<Contents>);

struct Contents {
    creator: PeerId,
    items: Vec<Vec<u8>>,
    /// What the first guardian that looked at it made of the bytes. Decoding is a function of the
    /// bytes and of the configuration that all share, and most of it is curve arithmetic. Sessions
    /// that are replayed are decoded anew.
    unit: OnceCell<Option<Unit>>,
}

impl Batch {
    /// Encoded consensus items of one guardian.
    pub fn new(creator: PeerId, items: Vec<Vec<u8>>) -> Self {
        Self(Rc::new(Contents { creator, items, unit: OnceCell::new() }))
    }

    /// Who.
    pub fn creator(&self) -> PeerId {
        self.0.creator
    }

    /// Encoded consensus items.
    pub fn items(&self) -> &[Vec<u8>] {
        &self.0.items
    }

    /// The unit, unless everybody drops it.
    pub fn unit(&self, engine: &Engine) -> Option<&Unit> {
        let decode = || engine.decode_unit(self.0.creator, &self.0.items).ok();
        self.0.unit.get_or_init(decode).as_ref()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} items of {})", self.0.items.len(), self.0.creator)
    }
}

/// One session of the log.
#[derive(Debug, Default)]
pub struct Session {
    /// What is ordered, in order.
    pub units: Vec<Batch>,
    /// Whether the last unit is the last for ever.
    pub has_ended: bool,
    /// When it began, in milliseconds.
    pub begun_ms: u64,
    marks: BTreeSet<PeerId>,
}

/// All sessions.
#[derive(Debug)]
pub struct Log {
    /// By number.
    pub sessions: Vec<Session>,
    threshold: usize,
}

impl Log {
    /// A log in which session 0 has just begun.
    pub fn new(threshold: usize) -> Self {
        Self { sessions: vec![Session::default()], threshold }
    }

    /// The session that is being filled.
    pub fn current(&self) -> (usize, &Session) {
        (self.sessions.len() - 1, &self.sessions[self.sessions.len() - 1])
    }

    /// Begins the next session if the current one has ended and `signed` sessions are signed by
    /// enough guardians.
    pub fn begin_next(&mut self, signed: u64, now_ms: u64) {
        let next = self.sessions.len() as u64;
        let ended = self.sessions.last().is_some_and(|session| session.has_ended);
        if ended && signed + 1 >= next {
            self.sessions.push(Session { begun_ms: now_ms, ..Session::default() });
        }
    }

    /// Orders a unit that was made for `session`; false if it comes too late and is void.
    pub fn append(&mut self, session: usize, unit: Batch, is_close: bool) -> bool {
        let is_current = session + 1 == self.sessions.len();
        let Some(current) = self.sessions.get_mut(session) else { return false };
        if !is_current || current.has_ended {
            return false;
        }
        if is_close {
            current.marks.insert(unit.creator());
        }
        current.units.push(unit);
        current.has_ended = current.marks.len() >= self.threshold;
        true
    }

    /// What stands at a position: a unit, the end of the session, or nothing yet.
    pub fn at(&self, session: u64, position: u64) -> Entry<'_> {
        let Some(session) = self.sessions.get(session as usize) else { return Entry::Nothing };
        match session.units.get(position as usize) {
            Some(unit) => Entry::Unit(unit),
            None if session.has_ended => Entry::End,
            None => Entry::Nothing,
        }
    }
}

/// What stands at a position of the log.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A unit.
    Unit(&'a Batch),
    /// The session is over.
    End,
    /// Nothing yet.
    Nothing,
}
