//! Guardians in the world: their lives, their units, and what leaves them.

use std::collections::BTreeMap;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_client::query::CallFailure;
use moneta_core::api::Method;
use moneta_core::{PeerId, SessionIndex};
use moneta_module::server::{ChainStatus, Facts, Need};
use rand::Rng as _;

use super::{BEGINNING_MS, Event, World};
use crate::federation::GUARDIANS;
use crate::guardian::{CallId, Effect, Guardian, Trouble};
use crate::order::Batch;
use crate::vice::{self, Vice};

/// Between two looks of a guardian at what there is to do.
const TICK_MS: u64 = 1000;

impl World {
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
        let calls = self.guardians[guardian].crash();
        self.bury(guardian, calls);
    }

    /// The calls of a process that ended break, and its machine starts again.
    pub(super) fn bury(&mut self, guardian: usize, calls: Vec<CallId>) {
        for call in calls {
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
        counts[self.federation.size.threshold() - 1]
    }

    pub(super) fn order(&mut self, guardian: usize, life: u64) -> Result<(), String> {
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
        let unit = Batch::new(creator, items);
        let delay = self.delay();
        self.plan(delay, Event::Ordered { session, unit, is_close });
        Ok(())
    }

    pub(super) fn follow(&mut self, guardian: usize, life: u64) -> Result<(), String> {
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

    pub(super) fn order_soon(&mut self, guardian: usize, life: u64) {
        let delay = self.rng.gen_range(1..30);
        self.plan(delay, Event::Order(guardian, life));
    }

    pub(super) fn tick(&mut self, guardian: usize, life: u64) -> Result<(), String> {
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

    pub(super) fn fetched(&mut self, guardian: usize, life: u64, need: Need) -> Result<(), String> {
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
}
