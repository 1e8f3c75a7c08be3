//! When to create the next unit: the pure decision.
//!
//! AlephBFT asks for data once per unit and waits for the answer, so the moment of the answer is
//! the pace. [`Pace`] is the state of one session by which [`Pace::decide`] says: answer now, or
//! wait until then or until something changes. It reads no clock; all times are given.
//!
//! ```text
//! Held --release--> Open --threshold of close marks seen--> (closing) --and ordered--> Ended
//!                   SitOut: creates nothing, but follows, and ends likewise
//! ```
//!
//! A session that is closing ends some rounds later, whatever is still proposed in it, so items go
//! into the next one from then on.
//!
//! While a session is open a unit is created at once if
//! * items are queued here, and it is not closing,
//! * our close mark is due and not yet out,
//! * the session is *hot*: some unit with items was seen, from anybody, that is not ordered yet
//!   (for `heat_rounds` of ours at most, since a unit may never be ordered), or more than f
//!   guardians have marked the session for closing, or a few rounds of linger remain so that
//!   slower peers finish as well;
//!
//! and otherwise when `idle_tick` has passed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::{batch::ITEM_LIMIT_BYTES, broadcast::PacingError};

/// How fast to go, and when to end a session. [`Pacing::default`] is what a guardian runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pacing {
    /// Pause between two of our units while there is something to order. 5 ms: half of it would
    /// shave 14 ms off the median latency at double the signatures; fsync takes as long anyway.
    pub round_delay: Duration,
    /// A unit is created this often when there is nothing to order. 1 s: shows within seconds
    /// that a session is stuck, and costs almost nothing.
    pub idle_tick: Duration,
    /// For how many of our rounds an unordered unit keeps us awake. 16: ordering takes about 6
    /// when the network behaves, so twice that and some.
    pub heat_rounds: u16,
    /// Rounds at full pace after the last unit was ordered, so that slower peers finish too: a
    /// dishonest one may show the unit that decides to us alone.
    pub linger_rounds: u16,
    /// Whether to tell sleeping peers that an item was queued here. Off only to measure it.
    pub wake_hints: bool,
    /// Shortest time between two wake hints of ours: while they matter they come singly.
    pub wake_interval: Duration,
    /// Age at which a guardian marks the session for closing: 180 s, as clients expect.
    pub max_age: Duration,
    /// Age at which a federation of one ends its session: 60 s, as clients expect.
    pub solo_max_age: Duration,
    /// Our round at which the session is marked for closing. What the end of a session costs grows
    /// with its units, and all guardians pay it at once; 1500 rounds still take longer than the
    /// 5 s that the next session collects for if a guardian is down. At most 60,000: AlephBFT
    /// counts in 16 bits.
    pub round_budget: u16,
    /// Bytes of units held, divided by the number of guardians, at which the session is marked for
    /// closing. AlephBFT keeps a session's units in memory until its end, at 1.3 times their bytes
    /// and more with the gaps between them, and two sessions may run. At worst a payment is in a unit
    /// of every guardian: 1 MB each are some 600 payments then, with any number of guardians, 7 s
    /// as fast as two cores go. Much less, and a session would end before the next has collected.
    pub byte_budget: usize,
    /// Most items waiting here to be ordered.
    pub queue_items: usize,
    /// Most bytes of items waiting here to be ordered.
    pub queue_bytes: usize,
    /// Ordered batches of a session that wait for the application before its pace goes down to idle.
    pub backlog_batches: usize,
    /// How many refused batches of a peer keep us awake before it counts as a nuisance; one is
    /// forgiven per second, all with the first accepted one.
    pub refusal_credit: u32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            round_delay: Duration::from_millis(5),
            idle_tick: Duration::from_secs(1),
            heat_rounds: 16,
            linger_rounds: 3,
            wake_hints: true,
            wake_interval: Duration::from_millis(10),
            max_age: Duration::from_secs(180),
            solo_max_age: Duration::from_secs(60),
            round_budget: 1500,
            byte_budget: 1 << 20,
            queue_items: 10_000,
            queue_bytes: 16 << 20,
            backlog_batches: 256,
            refusal_credit: 32,
        }
    }
}

impl Pacing {
    /// Refuses a pacing that cannot be followed.
    pub(crate) fn check(&self) -> Result<(), PacingError> {
        if !(16..=60_000).contains(&self.round_budget) {
            return Err(PacingError::RoundBudget(self.round_budget));
        }
        if self.round_delay < Duration::from_millis(1) || self.idle_tick < self.round_delay {
            return Err(PacingError::Ticks);
        }
        if self.queue_items == 0 || self.queue_bytes < ITEM_LIMIT_BYTES {
            return Err(PacingError::Queue);
        }
        Ok(())
    }
}

/// Rounds a wake hint keeps us awake: enough to catch up with a peer that is one ahead; its unit
/// with items then does the rest.
const WAKE_ROUNDS: u16 = 2;

/// Where a session stands for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The session before it has neither ended nor is closing: create nothing.
    Held,
    /// Running since then, or closing.
    Open(Instant),
    /// The threshold of close marks is ordered: nothing we add counts any more.
    Ended,
}

/// What to answer to AlephBFT's question for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Create a unit now.
    Answer {
        /// With our close mark.
        close: bool,
        /// With items from the queue.
        items: bool,
    },
    /// Ask again when something changed, or at this time if there is one.
    Wait(Option<Instant>),
}

/// What the decision depends on besides the session's own state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// The current time.
    pub(crate) now: Instant,
    /// When AlephBFT asked.
    pub(crate) asked_at: Instant,
    /// Items are queued that are in no unit yet.
    pub(crate) queued: bool,
    /// The application is far behind with ordered batches.
    pub(crate) congested: bool,
}

/// A unit that AlephBFT took into its graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenUnit {
    pub(crate) creator: usize,
    pub(crate) round: u16,
    pub(crate) size_bytes: usize,
    /// Carries items, and its creator is not known for refused ones.
    pub(crate) heats: bool,
    pub(crate) close: bool,
}

/// The state of one session by which its pace is decided.
#[derive(Debug)]
pub(crate) struct Pace {
    rules: Pacing,
    me: usize,
    max_faulty: usize,
    threshold: usize,
    phase: Phase,
    sits_out: bool,
    /// The round of our next unit.
    next_round: u16,
    units_bytes: usize,
    /// Units with items not ordered yet, and the round we were at when first seen.
    hot: BTreeMap<(usize, u16), u16>,
    linger_until: u16,
    marks_seen: BTreeSet<usize>,
    marks_ordered: BTreeSet<usize>,
    close_asked: bool,
}

impl Pace {
    /// A held session of guardian `me` among `total`.
    pub(crate) fn new(rules: Pacing, me: usize, max_faulty: usize, threshold: usize) -> Self {
        Self {
            rules,
            me,
            max_faulty,
            threshold,
            phase: Phase::Held,
            sits_out: false,
            next_round: 0,
            units_bytes: 0,
            hot: BTreeMap::new(),
            linger_until: 0,
            marks_seen: BTreeSet::new(),
            marks_ordered: BTreeSet::new(),
            close_asked: false,
        }
    }

    /// Lets a held session run.
    pub(crate) fn release(&mut self, now: Instant) {
        if self.phase == Phase::Held {
            self.phase = Phase::Open(now);
        }
    }

    /// Creates no units in this session, whatever happens.
    pub(crate) fn sit_out(&mut self) {
        self.sits_out = true;
    }

    pub(crate) fn sits_out(&self) -> bool {
        self.sits_out
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// A threshold of close marks was seen: the session is about to end.
    ///
    /// A dishonest guardian's mark may never be ordered, if it made two units for one place. But more
    /// than f of these are of honest ones and will be, and bring the marks of all honest guardians.
    pub(crate) fn is_closing(&self) -> bool {
        self.marks_seen.len() >= self.threshold
    }

    /// Whether what is proposed now may be ordered in time.
    pub(crate) fn takes_items(&self) -> bool {
        matches!(self.phase, Phase::Open(_)) && !self.is_closing()
    }

    /// The round of our next unit.
    pub(crate) fn next_round(&self) -> u16 {
        self.next_round
    }

    /// The round of ours at which a unit that is seen now no longer keeps us awake.
    pub(crate) fn cold_at(&self) -> u16 {
        self.next_round.saturating_add(self.rules.heat_rounds)
    }

    /// Marks the session for closing at the next unit.
    pub(crate) fn ask_close(&mut self) {
        self.close_asked = true;
    }

    /// A peer says it queued an item.
    pub(crate) fn wake(&mut self) {
        self.linger(WAKE_ROUNDS);
    }

    /// AlephBFT took a unit, ours or a peer's, into its graph.
    pub(crate) fn saw(&mut self, unit: SeenUnit) {
        if unit.creator == self.me {
            self.next_round = self.next_round.max(unit.round.saturating_add(1));
            let (next, heat) = (self.next_round, self.rules.heat_rounds);
            self.hot.retain(|_, seen| next < seen.saturating_add(heat));
        }
        self.units_bytes = self.units_bytes.saturating_add(unit.size_bytes);
        if unit.heats {
            self.hot.entry((unit.creator, unit.round)).or_insert(self.next_round);
        }
        if unit.close {
            self.marks_seen.insert(unit.creator);
        }
    }

    /// AlephBFT ordered a unit. Returns whether it is the one that ends the session.
    ///
    /// Must be called for every ordered unit, in order.
    pub(crate) fn ordered(&mut self, creator: usize, round: u16, close: bool) -> bool {
        if self.hot.remove(&(creator, round)).is_some() {
            self.linger(self.rules.linger_rounds);
        }
        if close {
            self.marks_ordered.insert(creator);
        }
        let ends = self.phase != Phase::Ended && self.marks_ordered.len() >= self.threshold;
        if ends {
            self.phase = Phase::Ended;
            self.hot.clear();
            self.linger(self.rules.linger_rounds);
        }
        ends
    }

    /// Whether to create the unit AlephBFT asks for, and with what.
    pub(crate) fn decide(&self, situation: Situation) -> Decision {
        let Situation { now, asked_at, queued, congested } = situation;
        let tick = asked_at + self.rules.idle_tick;
        let lingers = self.next_round < self.linger_until;
        let opened = match self.phase {
            _ if self.sits_out => return Decision::Wait(None),
            Phase::Held => return Decision::Wait(None),
            Phase::Ended if lingers || now >= tick => {
                return Decision::Answer { close: false, items: false };
            }
            Phase::Ended => return Decision::Wait(Some(tick)),
            Phase::Open(opened) => opened,
        };
        let close_at = opened + self.rules.max_age;
        let close = now >= close_at || self.close_due();
        let unmarked = close && !self.marks_seen.contains(&self.me);
        // When all mark at the same moment, by age, some of these units come too late for the session.
        // So items go into the next unit or the next session.
        let items = queued && !congested && !unmarked && !self.is_closing();
        let hot = lingers || !self.hot.is_empty() || self.marks_seen.len() > self.max_faulty;
        if items || unmarked || (hot && !congested) || now >= tick {
            return Decision::Answer { close, items };
        }
        Decision::Wait(Some(if close { tick } else { tick.min(close_at) }))
    }

    /// Due for another reason than age. More than f ordered marks hold one of an honest guardian,
    /// so the session's time has come although our clock, perhaps restarted, does not say so.
    fn close_due(&self) -> bool {
        self.close_asked
            || self.next_round >= self.rules.round_budget
            || self.units_bytes >= self.rules.byte_budget
            || self.marks_ordered.len() > self.max_faulty
    }

    fn linger(&mut self, rounds: u16) {
        self.linger_until = self.linger_until.max(self.next_round.saturating_add(rounds));
    }
}

/// Which peers may keep us awake: those whose items the application does not always refuse.
///
/// Each refused batch costs a peer one credit, an accepted one restores all, and one comes back
/// per second. Wallets submit one transaction to every guardian, so an honest but slow guardian
/// has many batches refused; it must not become slower for that, only a steady nuisance.
///
/// A batch that is void as a whole no honest guardian makes, and one could hide a transaction in it
/// that others leave to it. Whoever makes one keeps nobody awake, and is left nothing, from then on.
#[derive(Debug)]
pub(crate) struct Credits {
    limit: u32,
    peers: Vec<Credit>,
}

#[derive(Clone, Debug)]
struct Credit {
    used: u32,
    since: Instant,
    /// Made a void batch. Until a restart.
    barred: bool,
}

/// One refusal is forgiven after this time.
const FORGIVEN_AFTER: Duration = Duration::from_secs(1);

impl Credits {
    pub(crate) fn new(limit: u32, total: usize, now: Instant) -> Self {
        Self { limit, peers: vec![Credit { used: 0, since: now, barred: false }; total] }
    }

    /// The application accepted something of a batch of `creator`, or refused all of it.
    pub(crate) fn verdict(&mut self, creator: usize, accepted: bool, now: Instant) {
        let limit = self.limit;
        let Some(credit) = self.peers.get_mut(creator) else { return };
        credit.forgive(now);
        credit.used = if accepted { 0 } else { (credit.used + 1).min(limit) };
    }

    /// A batch of `creator` was void as a whole.
    pub(crate) fn void(&mut self, creator: usize) {
        if let Some(credit) = self.peers.get_mut(creator) {
            credit.barred = true;
        }
    }

    /// Whether items of `creator` keep us awake.
    pub(crate) fn heats(&mut self, creator: usize, now: Instant) -> bool {
        let limit = self.limit;
        self.peers.get_mut(creator).is_some_and(|credit| {
            credit.forgive(now);
            !credit.barred && credit.used < limit
        })
    }
}

impl Credit {
    fn forgive(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs();
        self.used = self.used.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
        self.since += FORGIVEN_AFTER * u32::try_from(passed).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests;
