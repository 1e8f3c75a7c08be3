//! Who is to be looked at next, and when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use moneta_core::id::TransactionId;
use moneta_module::client::Timestamp;

use super::tables::MachineId;

/// Whatever waits for calls or times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// A module's machine.
    Machine(MachineId),
    /// The sending of a transaction.
    Submit(TransactionId),
    /// The question whether a transaction was accepted.
    Confirm(TransactionId),
    /// The patience with a transaction whose fate is open.
    Patience(TransactionId),
}

/// Owners that are to be looked at: now, in the order they were touched, or at a time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    now: VecDeque<Owner>,
    queued: BTreeSet<Owner>,
    timers: BTreeSet<(Timestamp, Owner)>,
    timer_of: BTreeMap<Owner, Timestamp>,
}

impl Agenda {
    /// Has `owner` looked at in the next poll.
    pub(crate) fn touch(&mut self, owner: Owner) {
        if self.queued.insert(owner) {
            self.now.push_back(owner);
        }
    }

    /// Has `owner` looked at at `time`, in place of the time set before.
    pub(crate) fn set_timer(&mut self, owner: Owner, time: Option<Timestamp>) {
        let former = match time {
            Some(time) => self.timer_of.insert(owner, time),
            None => self.timer_of.remove(&owner),
        };
        if let Some(former) = former {
            self.timers.remove(&(former, owner));
        }
        if let Some(time) = time {
            self.timers.insert((time, owner));
        }
    }

    /// Takes everybody whose time has come.
    pub(crate) fn ring(&mut self, now: Timestamp) {
        while let Some((time, owner)) = self.timers.first().copied() {
            if time > now {
                break;
            }
            self.set_timer(owner, None);
            self.touch(owner);
        }
    }

    /// Returns who is to be looked at now.
    pub(crate) fn next(&mut self) -> Option<Owner> {
        let owner = self.now.pop_front()?;
        self.queued.remove(&owner);
        Some(owner)
    }

    /// When somebody is to be looked at: the beginning of time if at once.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        match self.now.is_empty() {
            true => self.timers.first().map(|(time, _)| *time),
            false => Some(Timestamp(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_come_in_the_order_they_were_touched_and_once() {
        let [a, b, c] = [1, 2, 3].map(|id| Owner::Machine(MachineId(id)));
        let mut agenda = Agenda::default();
        agenda.touch(c);
        agenda.touch(a);
        agenda.touch(c);
        agenda.set_timer(b, Some(Timestamp(20)));
        agenda.set_timer(b, Some(Timestamp(10)));
        agenda.ring(Timestamp(9));
        assert_eq!([agenda.next(), agenda.next(), agenda.next()], [Some(c), Some(a), None]);
        assert_eq!(agenda.next_wakeup(), Some(Timestamp(10)));
        agenda.ring(Timestamp(30));
        assert_eq!([agenda.next(), agenda.next()], [Some(b), None]);
        assert_eq!(agenda.next_wakeup(), None);
    }
}
