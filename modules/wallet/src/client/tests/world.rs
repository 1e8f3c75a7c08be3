//! A wallet with its machines, and a federation that answers its calls.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::secp256k1::SecretKey;
use bitcoin::{Address, Amount, Network, OutPoint, ScriptBuf, Txid};
use moneta_core::transaction::TransactionError;
use moneta_core::{
    Decode, Encode, FederationId, FederationSize, ModuleInstanceId, Msat, OperationId,
    TransactionId,
};
use moneta_crypto::derive::DerivableSecret;
use moneta_module::client::{
    Call, ClientModule as _, Draft, Env, NewOperation, Note, Origin, Outcome, Target, Timestamp,
    Turn,
};
use moneta_store::{Memory, Store, WriteSet};
use serde_json::{Value, json};

use super::super::tables::SEARCH;
use super::super::{Deposit, Machine, WalletClient};
use super::host::{Effects, FakeHost};
use crate::descriptor::SECP;
use crate::words::{OutputInfo, WalletConfig, WalletInput, WalletInputV0};

/// The first valid indices of the wallet of the vectors.
pub(super) const VALID_INDICES: [u64; 3] = [172_249, 210_617, 252_106];
pub(super) const INSTANCE: ModuleInstanceId = ModuleInstanceId(6);

pub(super) struct Running {
    pub(super) machine: Machine,
    origin: Option<Origin>,
    operation: Option<OperationId>,
}

pub(super) struct World {
    pub(super) client: WalletClient,
    pub(super) store: Store,
    pub(super) machines: BTreeMap<u64, Running>,
    pub(super) operations: BTreeMap<OperationId, NewOperation>,
    pub(super) notes: Vec<(Option<OperationId>, Note)>,
    pub(super) transactions: Vec<(TransactionId, Draft<Vec<u8>>)>,
    pub(super) fates: BTreeMap<TransactionId, Outcome>,
    pub(super) now: Timestamp,
    pub(super) money: Msat,
    /// Every turn is taken once more before, and lost.
    pub(super) crashes: bool,
    /// The federation: its log, hidden entries as `None`.
    pub(super) log: Vec<Option<OutputInfo>>,
    pub(super) pending: usize,
    pub(super) fee: Option<u64>,
    pub(super) bitcoin_txid: Option<Txid>,
    pub(super) calls: Vec<Call>,
    next_machine: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let size = FederationSize::new(4).unwrap();
        let key = |peer: u16| SecretKey::from_slice(&[peer as u8 + 1; 32]).unwrap();
        let keys = size.peer_ids().map(|peer| (peer, key(peer.0).public_key(&SECP))).collect();
        let config = WalletConfig::genesis(keys, Network::Regtest, WalletConfig::BASE_FEE).unwrap();
        let env = Env {
            instance: INSTANCE,
            federation: FederationId([3; 32]),
            size,
            secret: DerivableSecret::root(&[0; 32], &[0; 32]),
        };
        let mut world = Self {
            client: WalletClient::new(env, config).unwrap(),
            store: Memory::store(),
            machines: BTreeMap::new(),
            operations: BTreeMap::new(),
            notes: Vec::new(),
            transactions: Vec::new(),
            fates: BTreeMap::new(),
            now: Timestamp(1_000_000),
            money: Msat::ZERO,
            crashes: false,
            log: Vec::new(),
            pending: 0,
            fee: Some(316),
            bitcoin_txid: None,
            calls: Vec::new(),
            next_machine: 0,
        };
        world.act(|client, turn| client.begin(turn, false)).unwrap();
        world
    }

    /// A wallet that has searched almost all the way to its first address.
    pub(super) fn near_first_address() -> Self {
        let mut world = Self::new();
        world.search_from(VALID_INDICES[0] - 300);
        world
    }

    /// Puts the search close to its goal; the way there takes seconds.
    pub(super) fn search_from(&mut self, index: u64) {
        let view = self.store.snapshot();
        let mut writes = WriteSet::new(&view);
        SEARCH.insert(&mut writes, &(), &index);
        self.store.commit(writes.into_batch()).unwrap();
    }

    /// One action of the user.
    pub(super) fn act<T, E>(
        &mut self,
        action: impl FnOnce(&WalletClient, &mut Turn<'_, Machine>) -> Result<T, E>,
    ) -> Result<T, E> {
        let known: BTreeSet<_> = self.operations.keys().copied().collect();
        let view = self.store.snapshot();
        let mut host = FakeHost::new(&view, &known, self.now);
        host.money = self.money;
        let value = action(&self.client, &mut Turn::new(&mut host))?;
        let FakeHost { writes, effects, .. } = host;
        self.store.commit(writes.into_batch()).unwrap();
        self.apply(effects);
        Ok(value)
    }

    fn apply(&mut self, effects: Effects) {
        self.notes.extend(effects.notes);
        self.operations.extend(effects.operations);
        self.transactions.extend(effects.transactions);
        for (bytes, origin, operation) in effects.spawned {
            let machine = Machine::from_bytes(&bytes).unwrap();
            self.machines.insert(self.next_machine, Running { machine, origin, operation });
            self.next_machine += 1;
        }
    }

    /// One turn of a machine.
    pub(super) fn advance(&mut self, id: u64, outcome: Outcome) {
        if self.crashes {
            self.turn(id, outcome.clone(), false);
        }
        self.turn(id, outcome, true);
    }

    fn turn(&mut self, id: u64, outcome: Outcome, is_committed: bool) {
        let known: BTreeSet<_> = self.operations.keys().copied().collect();
        let Running { machine, origin, operation } = &self.machines[&id];
        // What is stored is what goes on.
        let machine = Machine::from_bytes(&machine.to_bytes()).unwrap();
        let (origin, operation) = (*origin, *operation);
        let view = self.store.snapshot();
        let mut host = FakeHost::new(&view, &known, self.now);
        (host.origin, host.operation, host.money) = (origin, operation, self.money);
        let next = self.client.advance(&mut Turn::new(&mut host), machine, outcome).unwrap();
        let FakeHost { writes, effects, .. } = host;
        if !is_committed {
            return;
        }
        self.store.commit(writes.into_batch()).unwrap();
        match next {
            Some(machine) => {
                self.machines.insert(id, Running { machine, origin, operation });
            }
            None => {
                self.machines.remove(&id);
            }
        }
        self.apply(effects);
    }

    /// What came of a machine's wait, if it is over.
    fn outcome(&mut self, id: u64) -> Option<Outcome> {
        let Running { machine, origin, .. } = &self.machines[&id];
        let wait = self.client.wait(machine, origin.as_ref());
        if let Some(transaction) = wait.transaction {
            return self.fates.get(&transaction.txid).cloned();
        }
        if let Some(call) = wait.call {
            let answer = self.answer(&call);
            self.calls.push(call);
            return Some(Outcome::Answer(answer));
        }
        wait.until.is_none_or(|until| until <= self.now).then_some(Outcome::Due)
    }

    fn answer(&self, call: &Call) -> Value {
        let Target::Module(name) = call.target else { panic!("a call to the core") };
        match name {
            "output_info_slice" => {
                let (start, end): (usize, usize) =
                    serde_json::from_value(call.params.clone()).unwrap();
                let end = end.min(self.log.len());
                let slice = self.log.get(start..end).unwrap_or_default();
                json!(slice.iter().flatten().take(1000).collect::<Vec<_>>())
            }
            "pending_transaction_chain" => Value::Array(vec![json!({}); self.pending]),
            "receive_fee" => json!(self.fee),
            "transaction_id" => json!(self.bitcoin_txid),
            other => panic!("a call to {other}"),
        }
    }

    /// Goes on until everybody waits for time or for a transaction.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let ids: Vec<u64> = self.machines.keys().copied().collect();
            let mut is_idle = true;
            for id in ids {
                if let Some(outcome) = self.outcome(id) {
                    self.advance(id, outcome);
                    is_idle = false;
                }
            }
            // A search pauses for a moment between its parts.
            let searches = self.machines.values().any(|running| {
                matches!(running.machine, Machine::Scan(super::super::Scanner::Search { .. }))
            });
            if is_idle && !searches {
                return;
            }
            self.now = self.now.after_ms(u64::from(searches));
        }
        panic!("the machines never come to rest");
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
        self.settle();
    }

    /// Logs an output to one of the wallet's addresses, or to somebody else's.
    pub(super) fn pay(&mut self, address: Option<&Address>, value: u64, spent: bool) {
        let script = match address {
            Some(address) => address.script_pubkey(),
            None => ScriptBuf::new_p2wsh(&bitcoin::hashes::Hash::all_zeros()),
        };
        let index = self.log.len() as u64;
        let value = Amount::from_sat(value);
        let outpoint = Some(OutPoint { vout: index as u32, ..OutPoint::null() });
        self.log.push(Some(OutputInfo { index, script, value, spent, outpoint }));
    }

    pub(super) fn decide_last(&mut self, outcome: Outcome) {
        let (txid, _) = self.transactions.last().unwrap();
        self.fates.insert(*txid, outcome);
        self.settle();
    }

    pub(super) fn reject_last(&mut self, error: &crate::words::WalletInputError) {
        let error = moneta_core::InputErrorEnvelope::new(INSTANCE, error);
        self.decide_last(Outcome::Rejected(TransactionError::Input(error)));
    }

    pub(super) fn address(&self) -> Address {
        self.client.current_address(&self.store.snapshot()).unwrap()
    }

    pub(super) fn deposits(&self) -> Vec<Deposit> {
        let deposits = self.client.deposits(&self.store.snapshot()).unwrap();
        deposits.into_iter().map(|(_, deposit)| deposit).collect()
    }

    /// The claims that were submitted.
    pub(super) fn claims(&self) -> Vec<WalletInputV0> {
        let inputs = self.transactions.iter().flat_map(|(_, draft)| &draft.inputs);
        inputs
            .map(|input| match input.input.decode().unwrap() {
                WalletInput::V0(input) => input,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    pub(super) fn notes(&self, kind: &str) -> Vec<&Value> {
        let notes = self.notes.iter().filter(|(_, note)| note.kind == kind);
        notes.map(|(_, note)| &note.payload).collect()
    }
}
