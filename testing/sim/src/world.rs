//! The world: virtual time, everything that is on its way, and the loop that moves it.

use std::collections::BTreeMap;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_client::driver::Request;
use moneta_client::query::CallFailure;
use moneta_core::api::Method;
use moneta_core::{ApiError, PeerId, SessionIndex};
use moneta_module::server::{ChainStatus, Facts, Need};
use moneta_store::testing::Fault;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::chain::Chain;
use crate::check::Ledger;
use crate::federation::{GUARDIANS, WALLETS, federation};
use crate::guardian::{CallId, Effect, Guardian, Trouble};
use crate::order::{Batch, Log};
use crate::vice::{self, Vice};
use crate::wallet::Wallet;
use crate::workload::Workload;

/// A simulation that goes on for longer has got stuck.
const EVENTS_MAX: u64 = 600_000;
/// Virtual time of the first moment: some day.
const BEGINNING_MS: u64 = 1_700_000_000_000;
/// Between two looks of a guardian at what there is to do.
const TICK_MS: u64 = 1000;

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
        let size = federation().size;
        let step = if rng.gen_bool(0.5) { 5 } else { 100 };
        let wallets = rng.gen_range(2..=WALLETS);
        let wallets = (0..wallets).map(|n| Wallet::new(n, StdRng::seed_from_u64(rng.r#gen())));
        let wallets = wallets.collect();
        Self {
            now: BEGINNING_MS,
            guardians: size.peer_ids().map(|me| Guardian::new(me, step)).collect(),
            wallets,
            log: Log::new(size.threshold()),
            chain: Chain::new(),
            ledger: Ledger::default(),
            vice: None,
            is_calm: false,
            is_frozen: false,
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
        for wallet in &mut self.wallets {
            wallet.set_up(self.now).map_err(unexpected)?;
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

    // Guardians

    pub(crate) fn start_guardian(&mut self, guardian: usize) -> Result<(), String> {
        if self.guardians[guardian].process.is_some() {
            return Ok(());
        }
        let signed = self.signed_by_threshold();
        let told_from = if self.rng.gen_bool(0.5) { signed } else { 0 };
        match self.guardians[guardian].start(told_from) {
            Ok(()) => {
                let life = self.guardians[guardian].life;
                let delay = self.rng.gen_range(1..TICK_MS);
                self.plan(delay, Event::Tick(guardian, life));
                self.plan(1, Event::Follow(guardian, life));
                Ok(())
            }
            Err(trouble) => self.settle_guardian(guardian, Err(trouble)),
        }
    }

    pub(crate) fn crash_guardian(&mut self, guardian: usize) {
        self.count("guardian crashes");
        for call in self.guardians[guardian].crash() {
            let delay = self.delay();
            self.plan(delay, Event::Answer(call, Err(CallFailure::unavailable("closed"))));
        }
        let away = if self.is_calm { 100 } else { self.rng.gen_range(10..40_000) };
        self.plan(away, Event::StartGuardian(guardian));
    }

    /// How many sessions a threshold of guardians has signed.
    fn signed_by_threshold(&self) -> u64 {
        let mut counts: Vec<u64> = self.guardians.iter().map(Guardian::session_count).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts[federation().size.threshold() - 1]
    }

    fn order(&mut self, guardian: usize, life: u64) -> Result<(), String> {
        if self.guardians[guardian].life != life
            || self.is_frozen
            || self.has_vice(guardian, Vice::Silent)
        {
            return Ok(());
        }
        let limit = self.rng.gen_range(1..6);
        let Some(process) = self.guardians[guardian].process.as_mut() else { return Ok(()) };
        let Some((session, mut items)) = process.make_unit(limit) else { return Ok(()) };
        let Some(current) = self.log.sessions.get(session as usize) else { return Ok(()) };
        let age = self.now - current.begun_ms.max(BEGINNING_MS);
        let is_close = age > self.session_ms || current.units.len() >= self.session_units;
        if items.is_empty() && !is_close {
            return Ok(());
        }
        process.in_flight = true;
        let creator = process.me;
        let is_spammer = self.has_vice(guardian, Vice::Spammer);
        if is_spammer && self.rng.gen_bool(0.5) {
            self.count("spam");
            let nonsense = vice::spam(&self.spam_seen, &mut self.rng);
            items.push(nonsense);
        }
        self.spam_seen.extend(items.iter().take(1).cloned());
        self.spam_seen.truncate(50);
        let unit = Batch { creator, items: items.into() };
        let delay = self.delay();
        self.plan(delay, Event::Ordered { session, unit, is_close });
        Ok(())
    }

    fn follow(&mut self, guardian: usize, life: u64) -> Result<(), String> {
        if self.guardians[guardian].life != life {
            return Ok(());
        }
        let at_once = self.rng.gen_range(1..8);
        let Some(process) = self.guardians[guardian].process.as_mut() else { return Ok(()) };
        let mut taken = 0;
        while taken < at_once {
            match process.follow(&self.log) {
                Ok(true) => taken += 1,
                Ok(false) => break,
                Err(trouble) => return self.settle_guardian(guardian, Err(trouble)),
            }
        }
        let processed = process.process(&mut self.ledger, self.now);
        self.settle_guardian(guardian, processed)?;
        if taken == at_once {
            self.plan(1, Event::Follow(guardian, life));
        }
        self.order_soon(guardian, life);
        Ok(())
    }

    fn order_soon(&mut self, guardian: usize, life: u64) {
        let delay = self.rng.gen_range(1..30);
        self.plan(delay, Event::Order(guardian, life));
    }

    fn tick(&mut self, guardian: usize, life: u64) -> Result<(), String> {
        if self.guardians[guardian].life != life {
            return Ok(());
        }
        let signed = self.signed_by_threshold();
        self.log.begin_next(signed, self.now);
        let lag = self.rng.gen_range(0..3_u64);
        let is_blind = !self.is_calm && self.rng.gen_bool(0.02);
        let block_count =
            self.chain.block_count().saturating_sub(if self.is_calm { 0 } else { lag });
        let status = ChainStatus { block_count, feerate_sat_per_kvb: Some(self.feerate) };
        let Some(process) = self.guardians[guardian].process.as_mut() else { return Ok(()) };
        process.chain = (!is_blind).then_some(status);
        let ticked = process.tick(self.now);
        self.settle_guardian(guardian, ticked)?;
        self.catch_up(guardian)?;
        self.plan(TICK_MS, Event::Tick(guardian, life));
        self.plan(1, Event::Follow(guardian, life));
        Ok(())
    }

    /// Fetches the next session from a peer, if this guardian is behind for long.
    fn catch_up(&mut self, guardian: usize) -> Result<(), String> {
        let best = self.guardians.iter().map(Guardian::session_count).max().unwrap_or(0);
        let Some(process) = self.guardians[guardian].process.as_mut() else { return Ok(()) };
        let session = match process.wants_history(best) {
            Ok(Some(session)) => session,
            Ok(None) => return Ok(()),
            Err(trouble) => return self.settle_guardian(guardian, Err(trouble)),
        };
        let peer = self.rng.gen_range(0..GUARDIANS);
        let is_forger = self.has_vice(peer, Vice::Forger);
        if self.has_vice(peer, Vice::Silent) {
            return Ok(());
        }
        let Some(other) = self.guardians[peer].process.as_ref() else { return Ok(()) };
        let mut signed = match other.history(session) {
            Ok(Some(signed)) => signed,
            Ok(None) => return Ok(()),
            Err(trouble) => return self.settle_guardian(peer, Err(trouble)),
        };
        if is_forger {
            vice::rewrite(&mut signed);
        }
        let facts = self.facts(0, self.chain.block_count());
        let Some(process) = self.guardians[guardian].process.as_mut() else { return Ok(()) };
        let replayed = process.replay(session, signed, &mut self.ledger, &facts, self.now);
        self.count("replays");
        self.settle_guardian(guardian, replayed)
    }

    fn facts(&self, from: u64, to: u64) -> Facts {
        let blocks = (from..to).filter_map(|height| Some((height, self.chain.block(height)?)));
        Facts { block_count: Some(self.chain.block_count()), blocks: blocks.collect() }
    }

    fn fetched(&mut self, guardian: usize, life: u64, need: Need) -> Result<(), String> {
        if self.guardians[guardian].life != life {
            return Ok(());
        }
        let Need::Blocks { from, to, block_count } = need;
        if self.chain.block_count() < block_count {
            self.plan(500, Event::Fetched(guardian, life, need));
            return Ok(());
        }
        let facts = self.facts(from, to);
        let Some(process) = self.guardians[guardian].process.as_mut() else { return Ok(()) };
        process.fetched(facts);
        let processed = process.process(&mut self.ledger, self.now);
        self.settle_guardian(guardian, processed)
    }

    /// Sends out what a guardian has to say, or buries it.
    pub(crate) fn settle_guardian(
        &mut self,
        guardian: usize,
        result: Result<Vec<Effect>, Trouble>,
    ) -> Result<(), String> {
        let effects = match result {
            Ok(effects) => effects,
            Err(Trouble::Died) => {
                self.count("guardian deaths in a commit");
                self.crash_guardian(guardian);
                return Ok(());
            }
            Err(Trouble::Broken(what)) => return Err(format!("guardian {guardian}: {what}")),
        };
        let me = self.guardians[guardian].me;
        let life = self.guardians[guardian].life;
        let is_silent = self.has_vice(guardian, Vice::Silent);
        for effect in effects {
            match effect {
                Effect::Fetch(need) => {
                    let delay = self.delay();
                    self.plan(delay, Event::Fetched(guardian, life, need));
                }
                Effect::Broadcast(transaction) => self.chain.broadcast(&transaction)?,
                Effect::Tell(..) | Effect::Help(..) | Effect::Answer(..) if is_silent => {}
                Effect::Tell(session, mut signatures) => {
                    if self.has_vice(guardian, Vice::Forger) {
                        vice::forge(&mut signatures, &mut self.rng);
                    }
                    for peer in (0..GUARDIANS).filter(|peer| *peer != guardian) {
                        self.tell(peer, me, session, signatures.clone());
                    }
                }
                Effect::Help(peer, session, mut signatures) => {
                    if self.has_vice(guardian, Vice::Forger) {
                        vice::forge(&mut signatures, &mut self.rng);
                    }
                    self.tell(peer.index(), me, session, signatures);
                }
                Effect::Answer(call, method, result) => {
                    let is_liar = self.has_vice(guardian, Vice::Liar);
                    let result = match is_liar && matches!(method, Method::Module(..)) {
                        true => vice::twist(result, &mut self.rng),
                        false => result,
                    };
                    self.send_answer(call, result);
                }
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        peer: usize,
        from: PeerId,
        session: SessionIndex,
        signatures: BTreeMap<PeerId, Signature>,
    ) {
        if !self.is_lost() {
            let delay = self.delay();
            self.plan(delay, Event::Hear(peer, from, session, signatures));
        }
    }

    // Wallets and the links to guardians

    pub(crate) fn start_wallet(&mut self, wallet: usize) -> Result<(), String> {
        if self.wallets[wallet].driver.is_some() {
            return Ok(());
        }
        match self.wallets[wallet].start(self.now) {
            Ok(()) => self.poll_soon(wallet),
            Err(trouble) => self.settle_wallet(wallet, trouble)?,
        }
        Ok(())
    }

    pub(crate) fn crash_wallet(&mut self, wallet: usize) {
        self.count("wallet crashes");
        self.wallets[wallet].disk.crash();
        self.wallets[wallet].driver = None;
        let away = if self.is_calm { 100 } else { self.rng.gen_range(10..30_000) };
        self.plan(away, Event::StartWallet(wallet));
    }

    /// Buries a wallet whose store failed.
    pub(crate) fn settle_wallet(&mut self, wallet: usize, trouble: Trouble) -> Result<(), String> {
        match trouble {
            Trouble::Died => {
                self.count("wallet deaths in a commit");
                self.crash_wallet(wallet);
                Ok(())
            }
            Trouble::Broken(what) => Err(format!("wallet {wallet}: {what}")),
        }
    }

    /// Has a wallet go on after something happened to it.
    pub(crate) fn poll_soon(&mut self, wallet: usize) {
        let life = self.wallets[wallet].life;
        self.plan(0, Event::Poll(wallet, life));
    }

    fn poll(&mut self, wallet: usize) -> Result<(), String> {
        let requests = match self.wallets[wallet].poll(self.now) {
            Ok(requests) => requests,
            Err(trouble) => return self.settle_wallet(wallet, trouble),
        };
        let rejected = std::mem::take(&mut self.wallets[wallet].rejected);
        *self.counts.entry("rejected transactions").or_default() += rejected;
        let life = self.wallets[wallet].life;
        for request in requests {
            self.send_request(wallet, life, request);
        }
        let (now, of) = (self.now, &mut self.wallets[wallet]);
        let wakeup = of.driver.as_ref().and_then(|driver| driver.next_wakeup());
        if let Some(wakeup) = wakeup.map(|time| time.0.max(now + 1))
            && of.poll_at.is_none_or(|planned| wakeup < planned || planned < now)
        {
            of.poll_at = Some(wakeup);
            self.plan(wakeup - now, Event::Poll(wallet, life));
        }
        Ok(())
    }

    fn send_request(&mut self, wallet: usize, life: u64, request: Request) {
        let Request { id, peer, method, params } = request;
        let call = CallId { wallet, life, request: id.0 };
        let guardian = peer.index();
        if self.is_lost() {
            let delay = self.rng.gen_range(100..5000);
            self.plan(delay, Event::Answer(call, Err(CallFailure::unavailable("lost"))));
            return;
        }
        if !self.is_calm && self.rng.gen_bool(0.03) {
            self.count("doubled calls");
            let delay = self.delay();
            let copy = Event::Call(guardian, call, method.clone(), params.clone());
            self.plan(delay, copy);
        }
        let delay = self.delay();
        self.plan(delay, Event::Call(guardian, call, method, params));
    }

    fn call(
        &mut self,
        guardian: usize,
        call: CallId,
        method: Method,
        params: Value,
    ) -> Result<(), String> {
        if self.has_vice(guardian, Vice::Silent) {
            self.plan(20_000, Event::Answer(call, Err(CallFailure::unavailable("silence"))));
            return Ok(());
        }
        if self.has_vice(guardian, Vice::Liar)
            && let Some(lie) = vice::hasty_answer(&method, &params, &mut self.rng)
        {
            self.count("lies");
            self.send_answer(call, Ok(lie));
            return Ok(());
        }
        let now = self.now;
        let Some(process) = self.guardians[guardian].process.as_mut() else {
            let delay = self.delay();
            self.plan(delay, Event::Answer(call, Err(CallFailure::unavailable("closed"))));
            return Ok(());
        };
        let called = process.call(call, method, params, now);
        let is_dead = matches!(called, Err(Trouble::Died));
        self.settle_guardian(guardian, called)?;
        if is_dead {
            self.plan(10, Event::Answer(call, Err(CallFailure::unavailable("closed"))));
        }
        let life = self.guardians[guardian].life;
        self.order_soon(guardian, life);
        Ok(())
    }

    fn send_answer(&mut self, call: CallId, result: Result<Value, ApiError>) {
        let result = match self.is_lost() {
            true => Err(CallFailure::unavailable("lost")),
            false => result.map_err(CallFailure::from_answer),
        };
        let delay = self.delay();
        self.plan(delay, Event::Answer(call, result));
    }

    fn answer(&mut self, call: CallId, result: Result<Value, CallFailure>) -> Result<(), String> {
        let CallId { wallet, life, request } = call;
        if self.wallets[wallet].life != life || self.wallets[wallet].driver.is_none() {
            return Ok(());
        }
        self.wallets[wallet].answer(request, result, self.now);
        self.poll(wallet)
    }

    // The bitcoin network

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

    // Misfortune

    /// Has the store of a guardian or a wallet fail at one of its next commits.
    pub(crate) fn strike(&mut self) {
        const FAULTS: [Fault; 5] = [
            Fault::Refuse,
            Fault::FailBefore,
            Fault::FailAfter,
            Fault::CrashBefore,
            Fault::CrashAfter,
        ];
        let fault = FAULTS[self.rng.gen_range(0..FAULTS.len())];
        let nth = self.rng.gen_range(1..10);
        let machines = self.guardians.len() + self.wallets.len();
        let machine = self.rng.gen_range(0..machines);
        match machine.checked_sub(self.guardians.len()) {
            Some(wallet) => self.wallets[wallet].disk.strike(nth, fault),
            None => self.guardians[machine].disk.strike(nth, fault),
        }
        self.count("planned store faults");
    }

    /// Takes all planned misfortune back.
    pub(crate) fn calm_down(&mut self) {
        self.is_calm = true;
        self.vice = None;
        // A fault that far away never strikes.
        let disks = self.guardians.iter().map(|guardian| &guardian.disk);
        for disk in disks.chain(self.wallets.iter().map(|wallet| &wallet.disk)) {
            disk.strike(u64::MAX / 2, Fault::Refuse);
        }
        for guardian in 0..self.guardians.len() {
            self.plan(10, Event::StartGuardian(guardian));
        }
        for wallet in 0..self.wallets.len() {
            self.plan(10, Event::StartWallet(wallet));
        }
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

fn unexpected(trouble: Trouble) -> String {
    format!("before anything happened: {trouble:?}")
}
