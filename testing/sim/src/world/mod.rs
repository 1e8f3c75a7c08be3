//! The world: virtual time, everything that is on its way, and the loop that moves it.

mod guardians;
mod misfortune;
mod wallets;

use std::collections::BTreeMap;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_client::query::CallFailure;
use moneta_core::api::Method;
use moneta_core::{PeerId, SessionIndex, TransactionId};
use moneta_module::server::Need;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::chain::Chain;
use crate::check::{Ledger, check_now};
use crate::federation::{Federation, GUARDIANS, Notes, WALLETS, federation};
use crate::guardian::{CallId, Guardian};
use crate::order::{Batch, Log};
use crate::vice::Vice;
use crate::wallet::Wallet;
use crate::workload::Workload;

/// A simulation that goes on for longer has got stuck.
const EVENTS_MAX: u64 = 600_000;
/// One simulation of so many has a federation with all denominations.
const FULL_ONE_IN: u32 = 12;
/// Virtual time of the first moment: some day.
const BEGINNING_MS: u64 = 1_700_000_000_000;

/// What a simulation came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Events that were handled.
    pub events: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// Sessions that ended.
    pub sessions: usize,
    /// Units that were ordered.
    pub units: usize,
    /// What was done and what went wrong, by name.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What did not hold, and when.
#[derive(Debug, thiserror::Error)]
#[error("after {events} events, {seconds} virtual seconds: {what}")]
pub struct Failure {
    /// Events that were handled.
    pub events: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// What.
    pub what: String,
}

/// Runs the simulation of `seed` from beginning to end.
///
/// Errors: the first thing that did not hold. The same seed gives the same result for ever.
pub fn run(seed: u64) -> Result<Report, Failure> {
    let mut world = World::new(seed);
    let result = world.run();
    let seconds = (world.now - BEGINNING_MS) / 1000;
    let events = world.events;
    match result {
        Ok(()) => {
            let (sessions, units) = world.ledger.extent();
            Ok(Report { events, seconds, sessions, units, counts: world.counts })
        }
        Err(what) => Err(Failure { events, seconds, what }),
    }
}

/// Something that happens at a time.
pub(crate) enum Event {
    /// A guardian makes a unit.
    Order(usize, u64),
    /// A unit reaches everybody.
    Ordered { session: u64, unit: Batch, is_close: bool },
    /// A guardian takes what was ordered.
    Follow(usize, u64),
    /// A guardian looks at what there is to do.
    Tick(usize, u64),
    /// A guardian's chain source answers.
    Fetched(usize, u64, Need),
    /// Signatures reach a guardian.
    Hear(usize, PeerId, SessionIndex, BTreeMap<PeerId, Signature>),
    /// A call reaches a guardian.
    Call(usize, CallId, Method, Value),
    /// An answer reaches a wallet.
    Answer(CallId, Result<Value, CallFailure>),
    /// A wallet goes on.
    Poll(usize, u64),
    /// A machine starts again.
    StartGuardian(usize),
    /// The same of a wallet.
    StartWallet(usize),
    /// A block is found.
    Mine,
    /// Users and misfortune have their turn.
    Act,
}

/// Everything.
pub(crate) struct World {
    pub(crate) federation: &'static Federation,
    pub(crate) now: u64,
    pub(crate) rng: StdRng,
    pub(crate) guardians: Vec<Guardian>,
    pub(crate) wallets: Vec<Wallet>,
    pub(crate) log: Log,
    pub(crate) chain: Chain,
    pub(crate) ledger: Ledger,
    pub(crate) vice: Option<(usize, Vice)>,
    /// Links work, nobody crashes, everybody is honest: what is open must come to an end.
    pub(crate) is_calm: bool,
    /// Nothing new is ordered: guardians draw level.
    pub(crate) is_frozen: bool,
    /// Transactions that must never be accepted.
    pub(crate) cheats: Vec<TransactionId>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    feerate: u64,
    loss: f64,
    latency_ms: u64,
    session_ms: u64,
    session_units: usize,
    events: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    spam_seen: Vec<Vec<u8>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let notes = if rng.gen_ratio(1, FULL_ONE_IN) { Notes::All } else { Notes::Few };
        let federation = federation(notes);
        let size = federation.size;
        let step = if rng.gen_bool(0.5) { 5 } else { 100 };
        let wallets = rng.gen_range(2..=WALLETS);
        let wallets =
            (0..wallets).map(|n| Wallet::new(n, federation, StdRng::seed_from_u64(rng.r#gen())));
        let wallets = wallets.collect();
        Self {
            federation,
            now: BEGINNING_MS,
            guardians: size.peer_ids().map(|me| Guardian::new(me, federation, step)).collect(),
            wallets,
            log: Log::new(size.threshold()),
            chain: Chain::new(),
            ledger: Ledger::default(),
            vice: None,
            is_calm: false,
            is_frozen: false,
            cheats: Vec::new(),
            counts: BTreeMap::new(),
            feerate: rng.gen_range(500..5000),
            loss: *[0.0, 0.02, 0.15].get(rng.gen_range(0..3)).unwrap_or(&0.0),
            latency_ms: rng.gen_range(2..300),
            session_ms: rng.gen_range(3_000..60_000),
            session_units: rng.gen_range(3..60),
            events: 0,
            agenda: BTreeMap::new(),
            next_event: 0,
            spam_seen: Vec::new(),
            rng,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for guardian in 0..self.guardians.len() {
            self.start_guardian(guardian)?;
        }
        for wallet in 0..self.wallets.len() {
            self.start_wallet(wallet)?;
        }
        self.plan(1000, Event::Mine);
        self.plan(10, Event::Act);
        let mut workload = Workload::draw(&mut self.rng);
        while let Some(((at, _), event)) = self.agenda.pop_first() {
            self.now = at;
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err(format!("no end: {}", self.describe_open()));
            }
            match event {
                Event::Act => {
                    check_now(self)?;
                    if workload.act(self)? {
                        return Ok(());
                    }
                }
                event => self.handle(event)?,
            }
        }
        Err("nothing is left to happen".to_owned())
    }

    /// Plans an event for `after_ms` from now.
    pub(crate) fn plan(&mut self, after_ms: u64, event: Event) {
        self.next_event += 1;
        self.agenda.insert((self.now + after_ms, self.next_event), event);
    }

    /// Counts something.
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// How long something takes on its way.
    fn delay(&mut self) -> u64 {
        let most = if self.is_calm { 20 } else { self.latency_ms };
        self.rng.gen_range(1..=most)
    }

    fn is_lost(&mut self) -> bool {
        let lost = !self.is_calm && self.rng.gen_bool(self.loss);
        if lost {
            self.count("lost messages");
        }
        lost
    }

    fn has_vice(&self, guardian: usize, vice: Vice) -> bool {
        self.vice == Some((guardian, vice))
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Order(guardian, life) => self.order(guardian, life),
            Event::Ordered { session, unit, is_close } => {
                if self.log.append(session as usize, unit, is_close) {
                    for guardian in 0..GUARDIANS {
                        let (life, delay) = (self.guardians[guardian].life, self.delay());
                        self.plan(delay, Event::Follow(guardian, life));
                    }
                } else {
                    self.count("void units");
                }
                Ok(())
            }
            Event::Follow(guardian, life) => self.follow(guardian, life),
            Event::Tick(guardian, life) => self.tick(guardian, life),
            Event::Fetched(guardian, life, need) => self.fetched(guardian, life, need),
            Event::Hear(guardian, from, session, signatures) => {
                let now = self.now;
                let Some(process) = self.guardians[guardian].process.as_mut() else {
                    return Ok(());
                };
                let heard = process.hear(from, session, signatures, &mut self.ledger, now);
                self.settle_guardian(guardian, heard)
            }
            Event::Call(guardian, call, method, params) => {
                self.call(guardian, call, method, params)
            }
            Event::Answer(call, result) => self.answer(call, result),
            Event::Poll(wallet, life) => {
                if self.wallets[wallet].life == life {
                    if self.wallets[wallet].poll_at == Some(self.now) {
                        self.wallets[wallet].poll_at = None;
                    }
                    return self.poll(wallet);
                }
                Ok(())
            }
            Event::StartGuardian(guardian) => self.start_guardian(guardian),
            Event::StartWallet(wallet) => self.start_wallet(wallet),
            Event::Mine => self.mine(),
            Event::Act => Ok(()),
        }
    }

    fn mine(&mut self) -> Result<(), String> {
        if !self.is_calm && self.rng.gen_bool(0.03) {
            self.count("reorganisations");
            self.chain.reorganise(&mut self.rng);
        } else {
            self.chain.mine(&mut self.rng);
        }
        if !self.is_calm && self.rng.gen_bool(0.1) {
            self.feerate = self.rng.gen_range(500..5000);
        }
        let next = self.rng.gen_range(2_000..10_000);
        self.plan(next, Event::Mine);
        Ok(())
    }

    /// What has not come to an end, for a failure's text.
    pub(crate) fn describe_open(&self) -> String {
        let wallets: Vec<String> = self
            .wallets
            .iter()
            .map(|wallet| {
                let (transactions, machines) = wallet.pending();
                let open = wallet.open_deposits().unwrap_or(0);
                format!("{transactions} transactions, {machines} machines, {open} deposits")
            })
            .collect();
        let counts: Vec<u64> = self.guardians.iter().map(Guardian::session_count).collect();
        let standing: Vec<String> = self
            .guardians
            .iter()
            .filter_map(|guardian| guardian.process.as_ref())
            .map(|process| process.describe())
            .collect();
        let (session, log) = self.log.current();
        format!(
            "wallets have {wallets:?} open; guardians have signed {counts:?} sessions and are \
             {standing:?}; session {session} has {} units, ended {}; {} events are planned",
            log.units.len(),
            log.has_ended,
            self.agenda.len(),
        )
    }
}
