//! Guardians that share one state, since all agree about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::SecretKey;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Block, Network, OutPoint, Transaction, TxOut, Txid};
use moneta_core::{FederationSize, PeerId, TransactionId};
use moneta_module::server::{
    ChainStatus, Facts, Fault, InputEffect, ItemRefused, OutputEffect, Pass, Processing,
    ServerModule,
};
use moneta_module::setup::Seat;
use moneta_store::{Memory, Snapshot, Store, WriteSet};
use serde_json::{Value, json};

use super::super::WalletServer;
use super::super::tables::{FEERATE_VOTES, LoggedOutput, OUTPUTS};
use crate::descriptor::{SECP, claim_tweak};
use crate::words::{
    StandardScript, WalletConfig, WalletInput, WalletInputError, WalletInputV0, WalletItem,
    WalletOutput, WalletOutputError, WalletOutputV0,
};

pub(super) struct Guardians {
    pub(super) servers: Vec<WalletServer>,
    pub(super) store: Store,
    pub(super) facts: Facts,
    /// What the effects of all accepted inputs and outputs added up to.
    pub(super) books: i128,
    outputs: u64,
}

impl Guardians {
    /// Guardians with the secret keys of the vectors.
    pub(super) fn new(total: u8, network: Network) -> Self {
        let size = FederationSize::new(usize::from(total)).unwrap();
        let secret = |peer: PeerId| SecretKey::from_slice(&[peer.index() as u8 + 1; 32]).unwrap();
        let keys = size.peer_ids().map(|peer| (peer, secret(peer).public_key(&SECP))).collect();
        let config = WalletConfig::genesis(keys, network, WalletConfig::BASE_FEE).unwrap();
        let open =
            |me| WalletServer::new(Seat { me, size }, config.clone(), secret(me), 5).unwrap();
        Self {
            servers: size.peer_ids().map(open).collect(),
            store: Memory::store(),
            facts: Facts::default(),
            books: 0,
            outputs: 0,
        }
    }

    pub(super) fn server(&self) -> &WalletServer {
        &self.servers[0]
    }

    pub(super) fn view(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// Runs one call of processing, and keeps its writes only if it succeeds.
    fn process<T, E>(
        &mut self,
        call: impl FnOnce(&WalletServer, &mut Processing<'_>) -> Result<T, Fault<E>>,
    ) -> Result<T, Fault<E>> {
        let view = self.store.snapshot();
        let mut writes = WriteSet::new(&view);
        let mut processing =
            Processing { state: &mut writes, facts: &self.facts, pass: Pass::Final };
        let value = call(&self.servers[0], &mut processing)?;
        self.store.commit(writes.into_batch()).unwrap();
        Ok(value)
    }

    pub(super) fn item(&mut self, peer: u16, item: &WalletItem) -> Result<(), Fault<ItemRefused>> {
        self.process(|server, call| server.process_item(call, PeerId::new(peer), item))
    }

    pub(super) fn input(&mut self, input: &WalletInput) -> Result<InputEffect, WalletInputError> {
        let effect = refusal(self.process(|server, call| server.process_input(call, input)))?;
        self.books += effect.net_msat;
        Ok(effect)
    }

    pub(super) fn output(
        &mut self,
        output: &WalletOutput,
        out_point: moneta_core::OutPoint,
    ) -> Result<OutputEffect, WalletOutputError> {
        let effect =
            refusal(self.process(|server, call| server.process_output(call, output, out_point)))?;
        self.books += effect.net_msat;
        Ok(effect)
    }

    pub(super) fn claim(
        &mut self,
        output_index: u64,
        key: &SecretKey,
        fee: u64,
    ) -> Result<InputEffect, WalletInputError> {
        let (tweak, fee) = (key.public_key(&SECP), Amount::from_sat(fee));
        self.input(&WalletInput::V0(WalletInputV0 { output_index, tweak, fee }))
    }

    /// A withdrawal at an out point of its own.
    pub(super) fn withdraw(
        &mut self,
        value: u64,
        fee: u64,
    ) -> Result<OutputEffect, WalletOutputError> {
        self.outputs += 1;
        let out_point =
            moneta_core::OutPoint { txid: TransactionId([7; 32]), out_idx: self.outputs };
        let destination = StandardScript::P2WPKH(bitcoin::hashes::hash160::Hash::hash(b"somebody"));
        let (value, fee) = (Amount::from_sat(value), Amount::from_sat(fee));
        self.output(&WalletOutput::V0(WalletOutputV0 { destination, value, fee }), out_point)
    }

    /// Has all guardians vote for a feerate.
    pub(super) fn set_feerate(&mut self, feerate: u64) {
        let view = self.store.snapshot();
        let mut writes = WriteSet::new(&view);
        for server in &self.servers {
            FEERATE_VOTES.insert(&mut writes, &server.seat.me, &Some(feerate));
        }
        self.store.commit(writes.into_batch()).unwrap();
    }

    /// Logs a deposit to `key` as if a block had been scanned. Returns its position.
    pub(super) fn deposit(&mut self, key: &SecretKey, value: u64) -> u64 {
        let tweak = claim_tweak(&key.public_key(&SECP));
        let script_pubkey = self.server().descriptor.script_pubkey(&tweak).unwrap();
        let output = TxOut { value: Amount::from_sat(value), script_pubkey };
        let view = self.store.snapshot();
        let mut writes = WriteSet::new(&view);
        let index = OUTPUTS.last_key(&writes, &()).unwrap().map_or(0, |last| last + 1);
        let txid = Txid::hash(&index.to_be_bytes());
        let logged = LoggedOutput { outpoint: OutPoint { txid, vout: 0 }, output };
        OUTPUTS.insert(&mut writes, &index, &logged);
        self.store.commit(writes.into_batch()).unwrap();
        index
    }

    /// Gives all guardians a chain of `count` blocks, empty but for `blocks`.
    pub(super) fn set_chain(&mut self, count: u64, mut blocks: BTreeMap<u64, Block>) {
        self.facts.block_count = Some(count);
        self.facts.blocks = (0..count)
            .map(|height| (height, Arc::new(blocks.remove(&height).unwrap_or_else(empty_block))))
            .collect();
    }

    pub(super) fn call(&self, endpoint: &str, params: &Value) -> Value {
        self.server().answer(&self.view(), endpoint, params).unwrap()
    }

    pub(super) fn fee(&self, endpoint: &str) -> Option<u64> {
        self.call(endpoint, &json!(null)).as_u64()
    }

    pub(super) fn proposals(&self, peer: u16, chain: Option<ChainStatus>) -> Vec<WalletItem> {
        self.servers[usize::from(peer)].proposals(&self.view(), chain.as_ref()).unwrap()
    }

    /// Guardian `peer` proposes its signatures and they are ordered. Returns how many items.
    pub(super) fn sign(&mut self, peer: u16) -> usize {
        let mut items = self.proposals(peer, None);
        items.retain(|item| matches!(item, WalletItem::Signatures(..)));
        for item in &items {
            self.item(peer, item).unwrap();
        }
        items.len()
    }

    /// The books say what the state says.
    pub(super) fn assert_audit(&self) {
        assert_eq!(self.server().audit(&self.view()).unwrap(), self.books);
    }
}

/// What the protocol says; blocked or broken fails the test.
#[track_caller]
fn refusal<T, E: std::fmt::Debug>(result: Result<T, Fault<E>>) -> Result<T, E> {
    match result {
        Ok(value) => Ok(value),
        Err(Fault::Refused(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

pub(super) fn key(number: u8) -> SecretKey {
    SecretKey::from_slice(&[0x40 | number; 32]).unwrap()
}

pub(super) fn paying(outputs: Vec<TxOut>) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: Vec::new(),
        output: outputs,
    }
}

pub(super) fn block(txdata: Vec<Transaction>) -> Block {
    Block { txdata, ..empty_block() }
}

fn empty_block() -> Block {
    Block { txdata: Vec::new(), ..genesis_block(Network::Regtest) }
}
