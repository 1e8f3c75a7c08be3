//! One guardian: the real engine over a store that crashes, and the thin shell that a node would be.
//!
//! The shell does what `moneta_guardian::node` does around the engine, without waiting for anything:
//! each function takes the time and what arrived, and returns what should leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::api::{Method, endpoint};
use moneta_core::session::SignerRule;
use moneta_core::{
    ApiError, ConsensusItem, Encode, MeHex, PeerId, SessionHeader, SessionIndex,
    SignedSessionOutcome, SubmissionOutcome, Transaction, TransactionId,
};
use moneta_guardian::engine::{Engine, Halt, ReplayError, Stop, SubmissionError, Unit};
use moneta_module::LOCAL_TABLES_FROM;
use moneta_module::server::{Broken, ChainStatus, Facts, Need, Reply, View};
use moneta_store::testing::CrashProne;
use moneta_store::{Batch as Writes, Read as _, Store, StoreError, WriteSet};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::check::Ledger;
use crate::federation::{Federation, federation};
use crate::order::{Batch, Entry, Log};

/// How long a call waits before it is told to come again.
const LONG_POLL_MS: u64 = 50_000;
/// An item that is still wanted this long after it was submitted is submitted again.
const AGAIN_AFTER_MS: u64 = 10_000;
/// Looks at a gap of one session before it is fetched.
const PATIENCE_LOOKS: u32 = 6;

/// Why a guardian cannot go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Its store failed: the process dies and starts again.
    Died,
    /// Something that must not happen.
    Broken(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } | StoreError::Damaged { .. } => {
                Self::Broken(error.to_string())
            }
            _ => Self::Died,
        }
    }
}

impl From<Halt> for Trouble {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Store(error) => error.into(),
            halt => Self::Broken(format!("halted: {halt}")),
        }
    }
}

/// A call that a wallet made, so that the answer finds its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallId {
    pub(crate) wallet: usize,
    pub(crate) life: u64,
    pub(crate) request: u64,
}

/// What leaves a guardian.
#[derive(Debug)]
pub(crate) enum Effect {
    /// To all other guardians.
    Tell(SessionIndex, BTreeMap<PeerId, Signature>),
    /// To one guardian that is behind.
    Help(PeerId, SessionIndex, BTreeMap<PeerId, Signature>),
    /// To a wallet.
    Answer(CallId, Method, Result<Value, ApiError>),
    /// To the bitcoin network.
    Broadcast(bitcoin::Transaction),
    /// To the chain source.
    Fetch(Need),
}

/// Something that was ordered and is not processed yet; without a unit the session has ended.
struct Ordered {
    session: SessionIndex,
    position: u64,
    unit: Option<Batch>,
}

struct Waiting {
    call: CallId,
    method: Method,
    params: Value,
    key: Vec<u8>,
    since_ms: u64,
}

enum Reached {
    Now(Result<Value, ApiError>),
    Wait(Vec<u8>),
}

/// A guardian's machine: it outlives its processes.
pub(crate) struct Guardian {
    pub(crate) me: PeerId,
    pub(crate) disk: CrashProne,
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    block_vote_step: u64,
}

/// One life.
pub(crate) struct Process {
    pub(crate) me: PeerId,
    federation: &'static Federation,
    pub(crate) engine: Engine,
    store: Store,
    facts: Facts,
    pub(crate) chain: Option<ChainStatus>,
    queue: VecDeque<Vec<u8>>,
    pub(crate) in_flight: bool,
    submitted: BTreeMap<Vec<u8>, u64>,
    /// Units of earlier sessions are not told to this life.
    told_from: u64,
    cursor: (u64, u64),
    pending: VecDeque<Ordered>,
    is_fetching: bool,
    ended: BTreeMap<SessionIndex, SessionHeader>,
    signatures: BTreeMap<SessionIndex, BTreeMap<PeerId, Signature>>,
    waiting: Vec<Waiting>,
    behind_for: u32,
}

impl Guardian {
    pub(crate) fn new(me: PeerId, block_vote_step: u64) -> Self {
        Self { me, disk: CrashProne::new(), life: 0, process: None, block_vote_step }
    }

    /// Starts a process. It is told units from `told_from` on; what is signed before is fetched.
    pub(crate) fn start(&mut self, told_from: u64) -> Result<(), Trouble> {
        self.life += 1;
        let federation = federation();
        let engine = federation.engine(self.me, self.block_vote_step);
        let store = self.disk.start();
        engine.check_books(&store.snapshot())?;
        let count = engine.session_count(&store.snapshot())?.0;
        let mut process = Process {
            me: self.me,
            federation,
            engine,
            store,
            facts: Facts::default(),
            chain: None,
            queue: VecDeque::new(),
            in_flight: false,
            submitted: BTreeMap::new(),
            told_from,
            cursor: (count, 0),
            pending: VecDeque::new(),
            is_fetching: false,
            ended: BTreeMap::new(),
            signatures: BTreeMap::new(),
            waiting: Vec::new(),
            behind_for: 0,
        };
        process.resume_signing()?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process. Returns the calls that were waiting, whose connections break.
    pub(crate) fn crash(&mut self) -> Vec<CallId> {
        self.disk.crash();
        let process = self.process.take();
        process.map_or(Vec::new(), |process| process.waiting.iter().map(|w| w.call).collect())
    }

    /// How many sessions are signed on its disk.
    pub(crate) fn session_count(&self) -> u64 {
        let engine = self.process.as_ref().map(|process| &process.engine);
        let count = engine.and_then(|engine| engine.session_count(&self.disk.durable()).ok());
        count.map_or(0, |count| count.0)
    }
}

impl Process {
    /// Outcomes that are stored are signed again, always the same.
    fn resume_signing(&mut self) -> Result<(), Trouble> {
        let view = self.store.snapshot();
        let count = self.engine.session_count(&view)?;
        for session in [count, SessionIndex(count.0 + 1)] {
            if let Some(ended) = self.engine.ended_session(&view, session)? {
                self.ended.insert(session, ended.header);
                self.sign(ended.header);
            }
        }
        Ok(())
    }

    fn sign(&mut self, header: SessionHeader) -> BTreeMap<PeerId, Signature> {
        let key = self.federation.broadcast_key(self.me);
        let signature = header.sign(&self.federation.broadcast_keys, key);
        self.ended.insert(header.index, header);
        self.signatures.entry(header.index).or_default().insert(self.me, signature);
        BTreeMap::from([(self.me, signature)])
    }

    /// Adds an item that is to be ordered.
    fn submit(&mut self, item: Vec<u8>) {
        if !self.queue.contains(&item) {
            self.queue.push_back(item);
        }
    }

    /// The session it is in, and a unit for it with what is queued, if none is on its way.
    pub(crate) fn make_unit(&self, limit: usize) -> Option<(u64, Vec<Vec<u8>>)> {
        let items = || self.queue.iter().take(limit).cloned().collect();
        (!self.in_flight).then(|| (self.cursor.0, items()))
    }

    /// Takes what the log has behind what it took before; true if there was anything.
    pub(crate) fn follow(&mut self, log: &Log) -> Result<bool, Trouble> {
        let count = self.engine.session_count(&self.store.snapshot())?.0;
        let (mut session, mut position) = self.cursor;
        if session < count {
            // The rest of it was fetched; units of ours in it may be void.
            (session, position) = (count, 0);
            self.in_flight = false;
        }
        // Consensus does not run further ahead of signatures than this.
        if count < self.told_from || session > count + 1 {
            self.cursor = (session, position);
            return Ok(false);
        }
        let index = SessionIndex(session);
        match log.at(session, position) {
            Entry::Unit(unit) => {
                if unit.creator == self.me {
                    self.in_flight = false;
                    self.queue.retain(|item| !unit.items.contains(item));
                }
                let unit = Some(unit.clone());
                self.pending.push_back(Ordered { session: index, position, unit });
                self.cursor = (session, position + 1);
            }
            Entry::End => {
                // A unit of ours that is not among these is void.
                self.in_flight = false;
                self.pending.push_back(Ordered { session: index, position, unit: None });
                self.cursor = (session + 1, 0);
            }
            Entry::Nothing => {
                self.cursor = (session, position);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Processes what is pending, as one commit.
    pub(crate) fn process(
        &mut self,
        ledger: &mut Ledger,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        if self.is_fetching || self.pending.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.store.snapshot();
        let count = self.engine.session_count(&view)?;
        let units: Vec<Option<Unit>> =
            self.pending.iter().map(|ordered| decode(&self.engine, ordered)).collect();
        self.engine.prepare(&units.iter().flatten().collect::<Vec<_>>());
        let mut writes = WriteSet::new(&view);
        let mut effects = Vec::new();
        let (mut refused, mut headers) = (BTreeSet::new(), Vec::new());
        let mut done = 0;
        for (ordered, unit) in self.pending.iter().zip(&units) {
            let mut of_unit = writes.child();
            match self.process_one(&mut of_unit, count, ordered, unit.as_ref(), &mut refused) {
                Ok(header) => {
                    headers.extend(header);
                    let batch = of_unit.into_batch();
                    if !batch.is_empty() {
                        ledger.note_unit(
                            &self.engine,
                            ordered.session,
                            ordered.position,
                            &batch,
                        )?;
                    }
                    writes.absorb(batch);
                    done += 1;
                }
                Err(Stop::Blocked(need)) => {
                    self.is_fetching = true;
                    effects.push(Effect::Fetch(need));
                    break;
                }
                Err(Stop::Halt(halt)) => return Err(halt.into()),
                Err(other) => return Err(Trouble::Broken(other.to_string())),
            }
        }
        self.pending.drain(..done);
        if done > 0 {
            self.facts.blocks.clear();
        }
        let batch = writes.into_batch();
        self.commit(batch, &refused, now_ms, &mut effects)?;
        for header in headers {
            ledger.note_header(header)?;
            effects.push(Effect::Tell(header.index, self.sign(header)));
        }
        self.complete(ledger, now_ms, &mut effects)?;
        self.propose(now_ms)?;
        self.broadcast(&mut effects)?;
        Ok(effects)
    }

    fn process_one(
        &self,
        writes: &mut WriteSet<'_>,
        count: SessionIndex,
        ordered: &Ordered,
        unit: Option<&Unit>,
        refused: &mut BTreeSet<TransactionId>,
    ) -> Result<Option<SessionHeader>, Stop> {
        let Ordered { session, position, unit: raw } = ordered;
        let (session, position) = (*session, *position);
        if raw.is_none() {
            let ended = (session >= count).then(|| self.engine.end_session(writes, session));
            return Ok(ended.transpose()?.map(|ended| ended.header));
        }
        let known = session < count
            || self.engine.ended_session(writes, session)?.is_some()
            || self.engine.progress(writes, session)? > position;
        if known {
            return Ok(None);
        }
        let Some(unit) = unit else {
            self.engine.skip_unit(writes, session, position)?;
            return Ok(None);
        };
        let processed = self.engine.process_unit(writes, session, position, unit, &self.facts)?;
        refused.extend(processed.refused);
        Ok(None)
    }

    /// Makes writes durable, then answers whoever waited for one of them.
    fn commit(
        &mut self,
        batch: Writes,
        refused: &BTreeSet<TransactionId>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        let mut keys: BTreeSet<Vec<u8>> = batch.iter().map(|(key, _)| key.to_vec()).collect();
        keys.extend(refused.iter().map(|txid| self.engine.accepted_key(*txid)));
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        let (woken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|w| keys.contains(&w.key));
        self.waiting = left;
        for Waiting { call, method, params, since_ms, .. } in woken {
            // What was queued has been ordered or is queued once more.
            self.look(call, method, params, since_ms, now_ms, effects)?;
        }
        Ok(())
    }

    /// Takes a call of a wallet.
    pub(crate) fn call(
        &mut self,
        call: CallId,
        method: Method,
        params: Value,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        self.look(call, method, params, now_ms, now_ms, &mut effects)?;
        Ok(effects)
    }

    fn look(
        &mut self,
        call: CallId,
        method: Method,
        params: Value,
        since_ms: u64,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        match self.answer(&method, &params)? {
            Reached::Now(result) => effects.push(Effect::Answer(call, method, result)),
            Reached::Wait(key) if now_ms.saturating_sub(since_ms) < LONG_POLL_MS => {
                self.waiting.push(Waiting { call, method, params, key, since_ms });
            }
            Reached::Wait(_) => {
                effects.push(Effect::Answer(call, method, Err(ApiError::timeout())))
            }
        }
        Ok(())
    }

    fn answer(&mut self, method: &Method, params: &Value) -> Result<Reached, Trouble> {
        let view = self.store.snapshot();
        let bad = |error: serde_json::Error| Reached::Now(Err(ApiError::bad_request(error)));
        match method {
            Method::Core(name) if name == endpoint::SUBMIT_TRANSACTION => {
                let transaction = match MeHex::<Transaction>::deserialize(params) {
                    Ok(MeHex(transaction)) => transaction,
                    Err(error) => return Ok(bad(error)),
                };
                self.submit_transaction(&transaction)
            }
            Method::Core(name) if name == endpoint::AWAIT_TRANSACTION => {
                let txid = match TransactionId::deserialize(params) {
                    Ok(txid) => txid,
                    Err(error) => return Ok(bad(error)),
                };
                Ok(match self.engine.is_accepted(&view, txid)? {
                    true => Reached::Now(Ok(json!(txid))),
                    false => Reached::Wait(self.engine.accepted_key(txid)),
                })
            }
            Method::Core(name) => Ok(Reached::Now(Err(ApiError::not_found(name)))),
            Method::Module(instance, name) => {
                let Some(module) = self.engine.module(*instance) else {
                    return Ok(Reached::Now(Err(ApiError::not_found(instance))));
                };
                let known = module.endpoints().iter().find(|known| known.name == name);
                if known.is_none_or(|known| known.admin) {
                    return Ok(Reached::Now(Err(ApiError::not_found(name))));
                }
                let state = self.engine.module_state(&view, *instance);
                Ok(match module.call(&View { state: &state, salt: 0 }, name, params) {
                    Ok(Reply::Value(value)) => Reached::Now(Ok(value)),
                    Ok(Reply::Json(text)) => match serde_json::from_str(&text) {
                        Ok(value) => Reached::Now(Ok(value)),
                        Err(error) => return Err(Trouble::Broken(error.to_string())),
                    },
                    Ok(Reply::WaitFor(key)) => {
                        Reached::Wait(self.engine.module_key(*instance, &key))
                    }
                    Ok(Reply::Write { .. }) => {
                        return Err(Trouble::Broken("a public endpoint writes".to_owned()));
                    }
                    Err(error) => Reached::Now(Err(error)),
                })
            }
        }
    }

    fn submit_transaction(&mut self, transaction: &Transaction) -> Result<Reached, Trouble> {
        let view = self.store.snapshot();
        match self.engine.check_submission(&view, transaction) {
            Ok(SubmissionOutcome(Ok(txid))) => {
                if self.engine.is_accepted(&view, txid)? {
                    let outcome = SubmissionOutcome(Ok(txid));
                    return Ok(Reached::Now(Ok(json!(MeHex(outcome)))));
                }
                self.submit(ConsensusItem::Transaction(transaction.clone()).to_bytes());
                Ok(Reached::Wait(self.engine.accepted_key(txid)))
            }
            Ok(refused) => Ok(Reached::Now(Ok(json!(MeHex(refused))))),
            // A guardian that lags behind may meet a note whose issue it has not processed yet.
            Err(SubmissionError::Halt(Halt::Module { broken: Broken::Invariant(_), .. })) => {
                Ok(Reached::Now(Err(ApiError::internal("an impossible state"))))
            }
            Err(SubmissionError::Halt(halt)) => Err(halt.into()),
            Err(error) => Ok(Reached::Now(Err(ApiError::bad_request(error)))),
        }
    }

    /// The operator wishes for a value of metadata.
    pub(crate) fn wish(&mut self, value: &str, salt: u64, now_ms: u64) -> Result<(), Trouble> {
        let instance = crate::federation::META;
        let view = self.store.snapshot();
        let state = self.engine.module_state(&view, instance);
        let Some(module) = self.engine.module(instance) else { return Ok(()) };
        let params = json!({ "key": 0, "value": hex::encode(value) });
        let reply = module.call(&View { state: &state, salt }, "submit", &params);
        let Ok(Reply::Write { batch, .. }) = reply else {
            return Err(Trouble::Broken("a wish was refused".to_owned()));
        };
        let mut full = Writes::new();
        for (key, value) in batch.iter() {
            if key.first().is_none_or(|table| *table < LOCAL_TABLES_FROM) {
                return Err(Trouble::Broken("an endpoint writes consensus state".to_owned()));
            }
            full.put(self.engine.module_key(instance, key), value.unwrap_or_default());
        }
        self.store.commit(full)?;
        self.propose(now_ms)
    }

    fn propose(&mut self, now_ms: u64) -> Result<(), Trouble> {
        let items = self.engine.proposals(&self.store.snapshot(), self.chain.as_ref())?;
        self.submitted.retain(|item, _| items.contains(item));
        // What is no longer wanted need not be ordered.
        for item in items {
            let recent = self.submitted.get(&item).is_some_and(|at| now_ms - *at < AGAIN_AFTER_MS);
            if !recent {
                self.submitted.insert(item.clone(), now_ms);
                self.submit(item);
            }
        }
        Ok(())
    }

    fn broadcast(&self, effects: &mut Vec<Effect>) -> Result<(), Trouble> {
        let transactions = self.engine.broadcasts(&self.store.snapshot())?;
        effects.extend(transactions.into_iter().map(Effect::Broadcast));
        Ok(())
    }

    /// Takes blocks from the chain source. What is there stays: one unit may hold several votes, each
    /// of which needs other blocks, and it is processed whole or not at all.
    pub(crate) fn fetched(&mut self, facts: Facts) {
        self.facts.block_count = facts.block_count;
        self.facts.blocks.extend(facts.blocks);
        self.is_fetching = false;
    }

    /// What happens every now and then.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        let due = |w: &Waiting| now_ms.saturating_sub(w.since_ms) >= LONG_POLL_MS;
        let (over, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(due);
        self.waiting = left;
        for Waiting { call, method, .. } in over {
            effects.push(Effect::Answer(call, method, Err(ApiError::timeout())));
        }
        self.propose(now_ms)?;
        self.broadcast(&mut effects)?;
        let count = self.engine.session_count(&self.store.snapshot())?;
        for (session, header) in self.ended.clone() {
            if session >= count {
                effects.push(Effect::Tell(session, self.sign(header)));
            }
        }
        Ok(effects)
    }

    /// Takes signatures of a session from a peer that has signed `claimed` sessions.
    pub(crate) fn hear(
        &mut self,
        from: PeerId,
        session: SessionIndex,
        signatures: BTreeMap<PeerId, Signature>,
        ledger: &mut Ledger,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        let view = self.store.snapshot();
        let count = self.engine.session_count(&view)?;
        if session < count {
            if signatures.len() == 1
                && let Some(signed) = self.engine.signed_session(&view, session)?
            {
                effects.push(Effect::Help(from, session, signed.signatures));
            }
            return Ok(effects);
        }
        if session.0 > count.0 + 1 {
            return Ok(effects);
        }
        let known = self.signatures.entry(session).or_default();
        for (signer, signature) in signatures {
            if self.federation.size.contains(signer) {
                known.entry(signer).or_insert(signature);
            }
        }
        self.complete(ledger, now_ms, &mut effects)?;
        Ok(effects)
    }

    fn complete(
        &mut self,
        ledger: &mut Ledger,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        loop {
            let view = self.store.snapshot();
            let session = self.engine.session_count(&view)?;
            let Some(header) = self.ended.get(&session).copied() else { return Ok(()) };
            let keys = &self.federation.broadcast_keys;
            let known = self.signatures.entry(session).or_default();
            known.retain(|signer, signature| header.verify_one(keys, *signer, signature));
            let threshold = self.federation.size.threshold();
            if known.len() < threshold {
                return Ok(());
            }
            let chosen = known.iter().take(threshold).map(|(p, s)| (*p, *s)).collect();
            let Some(ended) = self.engine.ended_session(&view, session)? else {
                return Err(Trouble::Broken(format!("session {session} ended without outcome")));
            };
            let mut writes = WriteSet::new(&view);
            self.engine.complete_session(&mut writes, session, ended.outcome, chosen);
            let batch = writes.into_batch();
            self.commit(batch, &BTreeSet::new(), now_ms, effects)?;
            self.finished(session, ledger)?;
        }
    }

    fn finished(&mut self, session: SessionIndex, ledger: &mut Ledger) -> Result<(), Trouble> {
        self.ended.retain(|index, _| *index > session);
        self.signatures.retain(|index, _| *index > session);
        self.pending.retain(|ordered| ordered.session > session);
        let view = self.store.snapshot();
        let signed = self.engine.signed_session(&view, session)?;
        let signed = signed.ok_or(Trouble::Broken("a signed session is not stored".to_owned()))?;
        let rule = SignerRule::ExactlyThreshold;
        signed
            .verify(session, &self.federation.broadcast_keys, rule)
            .map_err(|error| Trouble::Broken(format!("session {session}: {error}")))?;
        ledger.note_header(signed.session_outcome.header(session))
    }

    /// Whether this guardian has waited long enough to fetch the next session from others, of which
    /// the furthest has signed `best` sessions.
    pub(crate) fn wants_history(&mut self, best: u64) -> Result<Option<SessionIndex>, Trouble> {
        let count = self.engine.session_count(&self.store.snapshot())?;
        if best <= count.0 || self.is_fetching {
            self.behind_for = 0;
            return Ok(None);
        }
        self.behind_for += 1;
        let far = best > count.0 + 1;
        Ok((far || self.behind_for >= PATIENCE_LOOKS).then_some(count))
    }

    /// A signed session for a peer.
    pub(crate) fn history(
        &self,
        session: SessionIndex,
    ) -> Result<Option<SignedSessionOutcome>, Trouble> {
        Ok(self.engine.signed_session(&self.store.snapshot(), session)?)
    }

    /// Applies a session that was fetched from a peer.
    pub(crate) fn replay(
        &mut self,
        session: SessionIndex,
        signed: SignedSessionOutcome,
        ledger: &mut Ledger,
        facts: &Facts,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        let view = self.store.snapshot();
        if session != self.engine.session_count(&view)? {
            return Ok(effects);
        }
        let keys = &self.federation.broadcast_keys;
        if signed.verify(session, keys, SignerRule::ExactlyThreshold).is_err() {
            return Ok(effects);
        }
        let mut writes = WriteSet::new(&view);
        match self.engine.replay_session(&mut writes, session, signed, facts) {
            Ok(()) => {}
            // The chain source is behind; the next look tries again.
            Err(ReplayError::Stop(Stop::Blocked(_))) => return Ok(effects),
            Err(ReplayError::Stop(Stop::Halt(halt))) => return Err(halt.into()),
            Err(error) => return Err(Trouble::Broken(error.to_string())),
        }
        let batch = writes.into_batch();
        self.commit(batch, &BTreeSet::new(), now_ms, &mut effects)?;
        self.finished(session, ledger)?;
        self.propose(now_ms)?;
        Ok(effects)
    }

    /// Whether everything that was ordered is processed, and every session that ended is signed.
    pub(crate) fn has_followed(&self, log: &Log) -> bool {
        let (session, position) = self.cursor;
        let (last, current) = log.current();
        let at_end = session == last as u64 && position == current.units.len() as u64;
        let behind_end = current.has_ended && session == last as u64 + 1;
        let is_signed = self.ended.is_empty();
        self.pending.is_empty() && is_signed && ((at_end && !current.has_ended) || behind_end)
    }

    /// Where it stands, for a failure's text.
    pub(crate) fn describe(&self) -> String {
        let (session, position) = self.cursor;
        format!(
            "at {session}/{position} with {} items queued, {} units pending, in flight {}, \
             fetching {}, {} sessions unsigned, {} calls waiting",
            self.queue.len(),
            self.pending.len(),
            self.in_flight,
            self.is_fetching,
            self.ended.len(),
            self.waiting.len(),
        )
    }

    /// A view of everything committed.
    pub(crate) fn view(&self) -> moneta_store::Snapshot {
        self.store.snapshot()
    }

    /// What the guardian answers to a plain call of a module, for users who ask just one.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Option<Value> {
        let instance = crate::federation::WALLET;
        let view = self.store.snapshot();
        let state = self.engine.module_state(&view, instance);
        let module = self.engine.module(instance)?;
        match module.call(&View { state: &state, salt: 0 }, method, params) {
            Ok(Reply::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// Whether a row exists, for checks.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.store.snapshot().get(key).is_ok_and(|value| value.is_some())
    }
}

fn decode(engine: &Engine, ordered: &Ordered) -> Option<Unit> {
    let Batch { creator, items } = ordered.unit.as_ref()?;
    engine.decode_unit(*creator, items).ok()
}
