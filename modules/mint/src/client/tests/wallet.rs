//! A wallet with a driver just good enough for these tests: one module, calls answered at once.

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Keypair, Secp256k1};
use moneta_core::MeHex;
use moneta_core::envelope::InputEnvelope;
use moneta_core::id::{FederationId, IdxRange, ModuleInstanceId, TransactionId};
use moneta_core::session::{AcceptedItem, ConsensusItem, SessionOutcome};
use moneta_core::transaction::{MAX_TX_SIZE_BYTES, Transaction, TransactionError};
use moneta_crypto::derive::DerivableSecret;
use moneta_module::client::{Call, Host, Note, Strategy, Submitted, Target};
use moneta_module::server::Reply;
use moneta_store::{Batch, Memory, Store, WriteSet};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::super::*;
use crate::testing::Federation;

pub(super) const INSTANCE: ModuleInstanceId = ModuleInstanceId::new(4);
pub(super) const FEDERATION: FederationId = FederationId([0x2a; 32]);
const ELSEWHERE: ModuleInstanceId = ModuleInstanceId::new(9);

/// Changes what a guardian answers; `None` for a guardian that is down.
pub(super) type Meddler = Box<dyn Fn(PeerId, &str, Value) -> Option<Value>>;

struct Running {
    machine: Vec<u8>,
    origin: Option<Origin>,
    operation: Option<OperationId>,
}

pub(super) struct Wallet {
    pub(super) client: MintClient,
    pub(super) store: Store,
    rng: StdRng,
    pub(super) now: Timestamp,
    machines: Vec<Running>,
    pending: Vec<Transaction>,
    fates: BTreeMap<TransactionId, bool>,
    operations: BTreeMap<OperationId, Option<End>>,
    pub(super) notes: Vec<Note>,
    pub(super) meddler: Meddler,
    /// Refuses the next transactions, whatever they are.
    pub(super) reject_next: usize,
    /// What was refused so.
    pub(super) rejected: Vec<Transaction>,
    /// Loses this share of turns before they are committed.
    pub(super) crash_rate: f64,
    pub(super) fees: u64,
}

use moneta_module::client::{End, NewOperation};

struct TestHost<'a> {
    client: &'a MintClient,
    writes: WriteSet<'a>,
    rng: &'a mut StdRng,
    now: Timestamp,
    origin: Option<Origin>,
    operation: Option<OperationId>,
    known: &'a BTreeMap<OperationId, Option<End>>,
    effects: Effects,
}

#[derive(Default)]
struct Effects {
    machines: Vec<Running>,
    transactions: Vec<(Transaction, u64)>,
    notes: Vec<(Option<OperationId>, Note)>,
    operations: Vec<OperationId>,
}

impl Host for TestHost<'_> {
    fn state(&mut self) -> Box<dyn Write + '_> {
        struct Borrowed<'b, 'w>(&'b mut WriteSet<'w>);
        impl Read for Borrowed<'_, '_> {
            fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
                self.0.get(key)
            }
            fn scan(
                &self,
                range: moneta_store::KeyRange,
                order: moneta_store::Order,
            ) -> moneta_store::Scan<'_> {
                self.0.scan(range, order)
            }
        }
        impl Write for Borrowed<'_, '_> {
            fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
                self.0.put(key, value);
            }
            fn delete(&mut self, key: &[u8]) {
                self.0.delete(key);
            }
        }
        Box::new(Borrowed(&mut self.writes))
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn rng(&mut self) -> &mut dyn RngCore {
        self.rng
    }

    fn origin(&self) -> Option<Origin> {
        self.origin
    }

    fn begin_operation(&mut self, new: NewOperation) -> Result<OperationId, SubmitError> {
        let id = new.id.unwrap_or_else(|| OperationId(self.rng.r#gen()));
        if self.known.contains_key(&id) || self.effects.operations.contains(&id) {
            return Err(SubmitError::OperationExists(id));
        }
        self.effects.operations.push(id);
        self.operation = Some(id);
        Ok(id)
    }

    fn spawn(&mut self, machine: Vec<u8>) {
        let operation = self.operation;
        self.effects.machines.push(Running { machine, origin: None, operation });
    }

    fn submit(&mut self, draft: Draft<Vec<u8>>) -> Result<Submitted, SubmitError> {
        let sum = |amounts: &mut dyn Iterator<Item = Msat>| amounts.map(|a| a.0).sum::<u64>();
        let Draft { mut inputs, mut outputs, machine } = draft;
        let own = (inputs.len() as u64, outputs.len() as u64);
        let costs = |inputs: &[DraftInput], outputs: &[DraftOutput]| {
            sum(&mut inputs.iter().map(|item| item.fee))
                + sum(&mut outputs.iter().map(|item| item.fee))
                + sum(&mut outputs.iter().map(|item| item.amount))
        };
        let bytes = inputs.iter().map(|item| item.input.to_bytes().len() + 64).sum::<usize>()
            + outputs.iter().map(|item| item.output.to_bytes().len()).sum::<usize>();
        let imbalance = Imbalance {
            inputs: Msat(sum(&mut inputs.iter().map(|item| item.amount))),
            outputs_and_fees: Msat(costs(&inputs, &outputs)),
            space_bytes: MAX_TX_SIZE_BYTES - 30 - bytes,
        };
        let mut child = TestHost {
            client: self.client,
            writes: self.writes.child(),
            rng: &mut *self.rng,
            now: self.now,
            origin: None,
            operation: None,
            known: self.known,
            effects: Effects::default(),
        };
        let balance = self.client.balance(&mut Turn::new(&mut child), imbalance)?;
        let batch = child.writes.into_batch();
        self.writes.absorb(batch);
        inputs.extend(balance.inputs);
        outputs.extend(balance.outputs);
        let brings = sum(&mut inputs.iter().map(|item| item.amount));
        assert!(brings >= costs(&inputs, &outputs), "the transaction is funded");
        let fees = brings - sum(&mut outputs.iter().map(|item| item.amount));
        let (all_in, all_out) = (inputs.len() as u64, outputs.len() as u64);
        let (inputs, keys): (Vec<_>, Vec<Keypair>) =
            inputs.into_iter().map(|item| (item.input, item.key)).unzip();
        let outputs = outputs.into_iter().map(|item| item.output).collect();
        let transaction = Transaction::new_signed(inputs, outputs, self.rng.r#gen(), &keys);
        assert!(transaction.fits_size_limit());
        let txid = transaction.txid();
        let origin = |inputs: std::ops::Range<u64>, outputs: std::ops::Range<u64>| Origin {
            txid,
            inputs: IdxRange::from(inputs),
            outputs: IdxRange::from(outputs),
        };
        let operation = self.operation;
        let (own_origin, rest) =
            (origin(0..own.0, 0..own.1), origin(own.0..all_in, own.1..all_out));
        if let Some(machine) = machine {
            self.effects.machines.push(Running { machine, origin: Some(own_origin), operation });
        }
        if let Some(machine) = balance.machine {
            let machine = machine.to_bytes();
            self.effects.machines.push(Running { machine, origin: Some(rest), operation });
        }
        self.effects.transactions.push((transaction, fees));
        Ok(Submitted { origin: own_origin, fees: Msat(fees) })
    }

    fn note(&mut self, note: Note) {
        self.effects.notes.push((self.operation, note));
    }
}

impl Wallet {
    pub(super) fn new(federation: &Federation, seed: u64) -> Self {
        let secret = DerivableSecret::root(&seed.to_be_bytes(), b"test");
        let env = Env { instance: INSTANCE, federation: FEDERATION, size: federation.size, secret };
        Self {
            client: MintClient::new(env, federation.config.clone()).unwrap(),
            store: Memory::store(),
            rng: StdRng::seed_from_u64(seed),
            now: Timestamp(0),
            machines: Vec::new(),
            pending: Vec::new(),
            fates: BTreeMap::new(),
            operations: BTreeMap::new(),
            notes: Vec::new(),
            meddler: Box::new(|_, _, answer| Some(answer)),
            reject_next: 0,
            rejected: Vec::new(),
            crash_rate: 0.0,
            fees: 0,
        }
    }

    /// One turn. Nothing of it happens on errors.
    pub(super) fn act<T, E>(
        &mut self,
        action: impl FnOnce(&MintClient, &mut MintTurn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (value, batch, effects) = self.turn(None, None, action)?;
        self.commit(batch, effects);
        Ok(value)
    }

    fn turn<T, E>(
        &mut self,
        origin: Option<Origin>,
        operation: Option<OperationId>,
        action: impl FnOnce(&MintClient, &mut MintTurn<'_>) -> Result<T, E>,
    ) -> Result<(T, Batch, Effects), E> {
        let snapshot = self.store.snapshot();
        let mut host = TestHost {
            client: &self.client,
            writes: WriteSet::new(&snapshot),
            rng: &mut self.rng,
            now: self.now,
            origin,
            operation,
            known: &self.operations,
            effects: Effects::default(),
        };
        let value = action(&self.client, &mut Turn::new(&mut host))?;
        let TestHost { writes, effects, .. } = host;
        Ok((value, writes.into_batch(), effects))
    }

    fn commit(&mut self, batch: Batch, effects: Effects) {
        self.store.commit(batch).unwrap();
        self.machines.extend(effects.machines);
        for (transaction, fees) in effects.transactions {
            self.pending.push(transaction);
            self.fees += fees;
        }
        self.operations.extend(effects.operations.into_iter().map(|id| (id, None)));
        for (operation, note) in effects.notes {
            if let Some(end) = operation.and_then(|id| self.operations.get_mut(&id)) {
                *end = end.or(note.end);
            }
            self.notes.push(note);
        }
    }

    /// How an operation ended, if it has.
    pub(super) fn end(&self, operation: OperationId) -> Option<End> {
        self.operations[&operation]
    }

    pub(super) fn holdings(&self) -> u64 {
        let state = self.store.snapshot();
        assert_eq!(stock::counts(&state).unwrap(), stock::recount(&state).unwrap());
        self.client.holdings(&state).unwrap().0
    }

    pub(super) fn set_aside(&self) -> Vec<SpendableNote> {
        self.client.set_aside(&self.store.snapshot()).unwrap()
    }

    /// A deposit from outside the mint.
    pub(super) fn deposit(&mut self, federation: &Federation, amount: u64) {
        let key = Keypair::from_seckey_slice(&Secp256k1::new(), &[1; 32]).unwrap();
        let input = InputEnvelope::from_raw(ELSEWHERE, vec![1]);
        let input = DraftInput { input, amount: Msat(amount), fee: Msat::ZERO, key };
        let draft = Draft { inputs: vec![input], ..Draft::default() };
        self.act(|_, turn| turn.submit(draft)).unwrap();
        self.settle(federation);
    }

    /// A payment to outside the mint.
    pub(super) fn pay(&mut self, amount: u64) -> Result<Submitted, SubmitError> {
        let output = moneta_core::envelope::OutputEnvelope::from_raw(ELSEWHERE, vec![1]);
        let output = DraftOutput { output, amount: Msat(amount), fee: Msat::ZERO };
        let draft = Draft { outputs: vec![output], ..Draft::default() };
        self.act(|_, turn| turn.submit(draft))
    }

    /// A guardian has a transaction ordered that was rejected before. Returns whether it is accepted.
    pub(super) fn order_rejected(&mut self, federation: &Federation) -> bool {
        let transaction = self.rejected.remove(0);
        let (inputs, outputs) = of_mint(&transaction);
        federation.process(transaction.txid(), &inputs, &outputs).is_ok()
    }

    /// Lets time pass and has the grinder start what is due. Returns how many checks that are.
    pub(super) fn pass(&mut self, federation: &Federation, ms: u64) -> usize {
        self.now = self.now.after_ms(ms);
        let before = self.machines.len();
        self.act(|client, turn| client.check_void(turn)).unwrap();
        let begun = self.machines.len() - before;
        self.settle(federation);
        self.now = self.now.after_ms(10_000);
        self.settle(federation);
        begun
    }

    /// Runs all machines until nothing moves any more.
    pub(super) fn settle(&mut self, federation: &Federation) {
        for _ in 0..10_000 {
            let submitted = self.submit_pending(federation);
            let stepped = (0..self.machines.len()).any(|index| self.step(federation, index));
            if !submitted && !stepped {
                return;
            }
        }
        panic!("the wallet does not come to rest");
    }

    /// Whether machines are left besides the grinder.
    pub(super) fn is_idle(&self) -> bool {
        self.machines
            .iter()
            .all(|running| matches!(Machine::from_bytes(&running.machine), Ok(Machine::Grinder(_))))
    }

    fn submit_pending(&mut self, federation: &Federation) -> bool {
        let pending = std::mem::take(&mut self.pending);
        let any = !pending.is_empty();
        for transaction in pending {
            let (inputs, outputs) = of_mint(&transaction);
            let txid = transaction.txid();
            let rejected = self.reject_next > 0;
            self.reject_next = self.reject_next.saturating_sub(1);
            let accepted = !rejected && federation.process(txid, &inputs, &outputs).is_ok();
            self.fates.insert(txid, accepted);
            if accepted {
                federation.history.borrow_mut().push(transaction);
            } else if rejected {
                self.rejected.push(transaction);
            }
        }
        any
    }

    fn step(&mut self, federation: &Federation, index: usize) -> bool {
        let Running { machine, origin, operation } = &self.machines[index];
        let (origin, operation) = (*origin, *operation);
        let machine = Machine::from_bytes(machine).unwrap();
        if matches!(machine, Machine::Grinder(_)) {
            return false;
        }
        let Some(outcome) = self.outcome(federation, &machine, origin) else { return false };
        loop {
            let (machine, outcome) = (machine.clone(), outcome.clone());
            let advance = |client: &MintClient, turn: &mut MintTurn<'_>| {
                client.advance(turn, machine, outcome)
            };
            let (next, batch, effects) = self.turn(origin, operation, advance).unwrap();
            if self.rng.gen_bool(self.crash_rate) {
                continue;
            }
            match next {
                Some(next) => self.machines[index].machine = next.to_bytes(),
                None => drop(self.machines.swap_remove(index)),
            }
            self.commit(batch, effects);
            return true;
        }
    }

    fn outcome(
        &self,
        federation: &Federation,
        machine: &Machine,
        origin: Option<Origin>,
    ) -> Option<Outcome> {
        let wait = self.client.wait(machine, origin.as_ref());
        if let Some(transaction) = wait.transaction {
            match self.fates.get(&transaction.txid) {
                Some(true) if transaction.accepted => return Some(Outcome::Accepted),
                Some(false) => return Some(Outcome::Rejected(TransactionError::OVERFLOW)),
                _ => {}
            }
        }
        let Some(call) = wait.call else {
            return wait.transaction.is_none().then_some(Outcome::Due);
        };
        let answered = self.ask(federation, machine, origin, &call);
        let is_due = wait.until.is_some_and(|until| until <= self.now);
        answered.or_else(|| is_due.then_some(Outcome::Due))
    }

    fn ask(
        &self,
        federation: &Federation,
        machine: &Machine,
        origin: Option<Origin>,
        call: &Call,
    ) -> Option<Outcome> {
        let endpoint = match call.target {
            Target::Module(endpoint) => endpoint,
            Target::Core("session_count") => return Some(Outcome::Answer(Value::from(1))),
            Target::Core("await_session_outcome") => {
                return Some(Outcome::Answer(session(federation, &call.params)));
            }
            Target::Core(other) => panic!("{other} is not called"),
        };
        let mut answers = BTreeMap::new();
        let mut refusals = 0;
        for (peer, guardian) in federation.size.peer_ids().zip(&federation.guardians) {
            let answer = match guardian.call(endpoint, &call.params) {
                Ok(Reply::Value(value)) => value,
                Ok(Reply::Json(json)) => serde_json::from_str(&json).unwrap(),
                Ok(Reply::WaitFor(_)) => continue,
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    refusals += 1;
                    if refusals > federation.size.max_faulty() {
                        let (code, message) = (error.code, error.message);
                        return Some(Outcome::CallRefused { code, message });
                    }
                    continue;
                }
            };
            let Some(answer) = (self.meddler)(peer, endpoint, answer) else { continue };
            if call.strategy == Strategy::JudgeOne {
                answers.clear();
            }
            answers.insert(peer, answer.clone());
            match call.strategy {
                Strategy::Agree | Strategy::AgreeOnce => {
                    let same = answers.values().filter(|other| **other == answer).count();
                    if same >= federation.size.threshold() {
                        return Some(Outcome::Answer(answer));
                    }
                }
                Strategy::JudgeAll | Strategy::JudgeOne => {
                    match self.client.judge(machine, origin.as_ref(), &answers) {
                        Judgement::More => {}
                        Judgement::Enough => return Some(Outcome::Answers(answers)),
                        Judgement::Bad(bad) => answers.retain(|peer, _| !bad.contains(peer)),
                    }
                }
            }
        }
        None
    }
}

/// The mint's part of a transaction.
fn of_mint(transaction: &Transaction) -> (Vec<MintInput>, Vec<(u64, MintOutput)>) {
    let mint = |instance: ModuleInstanceId| instance == INSTANCE;
    let inputs = transaction
        .inputs
        .iter()
        .filter(|envelope| mint(envelope.instance))
        .map(|envelope| envelope.decode().unwrap());
    let outputs = (0..)
        .zip(&transaction.outputs)
        .filter(|(_, envelope)| mint(envelope.instance))
        .map(|(index, envelope)| (index, envelope.decode().unwrap()));
    (inputs.collect(), outputs.collect())
}

/// History in two sessions.
fn session(federation: &Federation, index: &Value) -> Value {
    let history = federation.history.borrow();
    let (first, second) = history.split_at(history.len() / 2);
    let transactions = if index == 0 { first } else { second };
    let items = transactions.iter().map(|transaction| AcceptedItem {
        item: ConsensusItem::Transaction(transaction.clone()),
        peer: PeerId::new(0),
    });
    serde_json::to_value(MeHex(SessionOutcome { items: items.collect() })).unwrap()
}
