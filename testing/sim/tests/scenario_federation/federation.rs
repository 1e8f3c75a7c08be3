//! Four engines over stores in memory, fed the same ordered units.

use std::collections::{BTreeMap, BTreeSet};

use moneta_core::version::CORE_CONSENSUS_2_1;
use moneta_core::{
    ApiError, ConsensusItem, ConsensusItemEnvelope, CoreConsensusVersion, Decode, Encode,
    FederationSize, ModuleInstanceId, PeerId, SessionIndex, SubmissionOutcome, Transaction,
};
use moneta_guardian::engine::Engine;
use moneta_meta::MetaKind;
use moneta_mint::MintKind;
use moneta_mint::words::MintConfig;
use moneta_module::LOCAL_TABLES_FROM;
use moneta_module::server::{ChainStatus, Facts, Reply, View};
use moneta_module::setup::{Seat, ServerKind};
use moneta_store::{Batch, KeyRange, Memory, Order, Read, Snapshot, Store, WriteSet};
use moneta_wallet::WalletKind;
use serde_json::Value;

use crate::vectors::{Case, number};
use crate::{META, MINT, WALLET, chain, keys};

const SESSION: SessionIndex = SessionIndex(0);

/// One guardian.
pub(crate) struct Guardian {
    pub(crate) engine: Engine,
    /// The same under the rules of core consensus 2.0.
    old_engine: Engine,
    store: Store,
}

/// All guardians, and what is ordered so far.
pub(crate) struct Federation {
    pub(crate) guardians: Vec<Guardian>,
    pub(crate) mint: MintConfig,
    /// Instances that had a part in accepted transactions that were skipped here.
    pub(crate) missed: BTreeSet<ModuleInstanceId>,
    facts: Facts,
    position: u64,
}

/// How a call of an endpoint ended.
#[derive(Debug)]
pub(crate) enum Reached {
    Answer(Value),
    Pending,
    Error(ApiError),
}

impl Federation {
    pub(crate) fn new(case: &Case) -> Self {
        let size = FederationSize::new(number(&case.input["n"])).unwrap();
        let mut mint = None;
        let guardians = size.peer_ids().map(|me| {
            let [engine, old_engine] = [CORE_CONSENSUS_2_1, CoreConsensusVersion::new(2, 0)]
                .map(|version| open_engine(case, size, me, version, &mut mint));
            Guardian { engine, old_engine, store: Memory::store() }
        });
        let guardians = guardians.collect();
        let (missed, facts) = (BTreeSet::new(), chain::facts(case));
        Self { guardians, mint: mint.unwrap(), missed, facts, position: 0 }
    }

    /// Something from each guardian, by guardian number.
    pub(crate) fn each<T>(&self, look: impl Fn(&Guardian, &Snapshot) -> T) -> Vec<T> {
        self.guardians.iter().map(|guardian| look(guardian, &guardian.store.snapshot())).collect()
    }

    /// What each guardian answers to a submission.
    pub(crate) fn submit(
        &self,
        version: CoreConsensusVersion,
        transaction: &Transaction,
    ) -> Vec<SubmissionOutcome> {
        self.each(|guardian, state| {
            guardian.engine(version).check_submission(state, transaction).unwrap()
        })
    }

    pub(crate) fn order_transaction(
        &mut self,
        version: CoreConsensusVersion,
        transaction: &Transaction,
    ) -> bool {
        let item = ConsensusItem::Transaction(transaction.clone());
        self.order(version, PeerId::new(0), &item)
    }

    pub(crate) fn order_item(&mut self, peer: PeerId, envelope: ConsensusItemEnvelope) -> bool {
        self.order(CORE_CONSENSUS_2_1, peer, &ConsensusItem::Module(envelope))
    }

    /// Has all guardians process a unit of one item; true if they accept it.
    fn order(
        &mut self,
        version: CoreConsensusVersion,
        creator: PeerId,
        item: &ConsensusItem,
    ) -> bool {
        let bytes = [item.to_bytes()];
        let mut verdicts = BTreeSet::new();
        for guardian in &self.guardians {
            let engine = guardian.engine(version);
            let unit = engine.decode_unit(creator, &bytes).unwrap();
            engine.prepare(&[&unit]);
            let processed = guardian.store.update(|writes: &mut WriteSet<'_>| {
                engine.process_unit(writes, SESSION, self.position, &unit, &self.facts)
            });
            let processed = processed.unwrap();
            assert!(processed.accepted.iter().all(|accepted| accepted.item == *item));
            verdicts.insert(!processed.accepted.is_empty());
            engine.check_books(&guardian.store.snapshot()).unwrap();
        }
        self.position += 1;
        assert_eq!(verdicts.len(), 1, "guardians disagree");
        verdicts.contains(&true)
    }

    /// Calls an endpoint as the node does.
    pub(crate) fn call(
        &mut self,
        peer: usize,
        instance: ModuleInstanceId,
        endpoint: &str,
        params: &Value,
        is_admin: bool,
    ) -> Reached {
        let guardian = &self.guardians[peer];
        let module = guardian.engine.module(instance).unwrap();
        let snapshot = guardian.store.snapshot();
        let state = guardian.engine.module_state(&snapshot, instance);
        let reply = match module.call(&View { state: &state, salt: 7 }, endpoint, params) {
            Ok(reply) => reply,
            Err(error) => return Reached::Error(error),
        };
        let known = module.endpoints().iter().find(|known| known.name == endpoint);
        if known.expect("the endpoint is listed").admin && !is_admin {
            return Reached::Error(ApiError::unauthorized());
        }
        match reply {
            Reply::Value(value) => Reached::Answer(value),
            Reply::Json(text) => Reached::Answer(serde_json::from_str(&text).unwrap()),
            Reply::WaitFor(_) => Reached::Pending,
            Reply::Write { batch, value } => {
                let mut full = Batch::new();
                for (key, written) in batch.iter() {
                    assert!(key[0] >= LOCAL_TABLES_FROM);
                    let key = guardian.engine.module_key(instance, key);
                    full.put(key, written.expect("nothing is removed"));
                }
                guardian.store.commit(full).unwrap();
                Reached::Answer(value)
            }
        }
    }

    /// What guardian `peer` would propose for one module. Its view of the chain is one that it has
    /// voted for already, so that no new votes come in between.
    pub(crate) fn proposals(
        &self,
        peer: usize,
        instance: ModuleInstanceId,
    ) -> Vec<ConsensusItemEnvelope> {
        let guardian = &self.guardians[peer];
        let state = guardian.store.snapshot();
        let feerate = if peer == 3 { 1001 } else { 1000 };
        let chain = ChainStatus { block_count: 0, feerate_sat_per_kvb: Some(feerate) };
        let items = guardian.engine.proposals(&state, Some(&chain)).unwrap();
        let items = items.iter().map(|bytes| ConsensusItem::from_bytes(bytes).unwrap());
        let envelopes = items.map(|item| match item {
            ConsensusItem::Module(envelope) => envelope,
            other => panic!("{other:?}"),
        });
        envelopes.filter(|envelope| envelope.instance == instance).collect()
    }

    /// At the end guardians agree on every row of consensus state, and on the session.
    pub(crate) fn check_end(&self) {
        let rows = self.each(|guardian, state| consensus_rows(&guardian.engine, state));
        assert!(rows.windows(2).all(|pair| pair[0] == pair[1]), "consensus state differs");
        let headers = self.guardians.iter().map(|guardian| {
            let ended = guardian
                .store
                .update(|writes: &mut WriteSet<'_>| guardian.engine.end_session(writes, SESSION));
            ended.unwrap()
        });
        let headers: Vec<_> = headers.collect();
        assert!(headers.windows(2).all(|pair| pair[0] == pair[1]), "session headers differ");
    }
}

impl Guardian {
    fn engine(&self, version: CoreConsensusVersion) -> &Engine {
        if version == CORE_CONSENSUS_2_1 { &self.engine } else { &self.old_engine }
    }
}

/// Everything but the modules' local tables.
fn consensus_rows(engine: &Engine, state: &Snapshot) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let local = engine.modules().map(|(instance, _)| engine.module_key(instance, &[]));
    let local: Vec<_> = local.collect();
    let rows = state.scan(KeyRange::all(), Order::Ascending).map(Result::unwrap);
    rows.filter(|(key, _)| {
        let table = local.iter().find_map(|prefix| key.strip_prefix(prefix.as_slice()));
        table.and_then(<[u8]>::first).is_none_or(|table| *table < LOCAL_TABLES_FROM)
    })
    .collect()
}

fn open_engine(
    case: &Case,
    size: FederationSize,
    me: PeerId,
    version: CoreConsensusVersion,
    mint: &mut Option<MintConfig>,
) -> Engine {
    let kinds: [(ModuleInstanceId, &dyn ServerKind); 3] =
        [(META, &MetaKind), (MINT, &MintKind), (WALLET, &WalletKind::default())];
    let modules = kinds.map(|(instance, kind)| {
        let genesis = keys::genesis(case, size, me, instance, kind);
        if instance == MINT {
            *mint = Some(MintConfig::from_bytes(&genesis.config).unwrap());
        }
        let server = kind.open(Seat { me, size }, &genesis.config, &genesis.private);
        (instance, server.unwrap())
    });
    Engine::new(modules.into(), size, version)
}
