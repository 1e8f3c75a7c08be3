//! A federation of four for tests: real keys, real server halves, stores in memory.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use moneta_core::peers::FederationSize;
use moneta_core::{OutPoint, PeerId, Transaction, TransactionId};
use moneta_crypto::dkg::{Shape, deal_trusted};
use moneta_module::server::{
    Facts, Fault, InputEffect, OutputEffect, Pass, Processing, ServerModule, View,
};
use moneta_module::setup::{Genesis, Seat, ServerKind, SetupParams, TbsKeys};
use moneta_store::{Memory, Store, StoreError, WriteSet};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::MintKind;
use crate::server::MintServer;
use crate::words::{
    Denomination, MintConfig, MintInput, MintInputError, MintOutput, MintOutputError, MintPrivate,
};
use moneta_core::Decode as _;

/// One guardian's mint.
pub(crate) struct Guardian {
    pub(crate) server: MintServer,
    pub(crate) store: Store,
}

/// All guardians' mints.
pub(crate) struct Federation {
    pub(crate) size: FederationSize,
    pub(crate) config: MintConfig,
    pub(crate) guardians: Vec<Guardian>,
    /// Accepted transactions, for tests that read history.
    pub(crate) history: RefCell<Vec<Transaction>>,
}

/// Why a transaction is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Input(MintInputError),
    Output(MintOutputError),
}

pub(crate) fn seat(peer: u16, total: usize) -> Seat {
    Seat { me: PeerId::new(peer), size: FederationSize::new(total).unwrap() }
}

/// What the ceremony ends with, per guardian.
pub(crate) fn genesis(total: usize, disable_base_fees: bool) -> Vec<Genesis> {
    let size = FederationSize::new(total).unwrap();
    let shape = Shape::new(total, size.threshold(), Denomination::COUNT).unwrap();
    let dealt = deal_trusted(shape, &[7; 32]);
    let make = |(peer, keys): (PeerId, Vec<moneta_crypto::dkg::ThresholdKey>)| {
        let network = bitcoin::Network::Regtest;
        let params = SetupParams { size, me: peer, network, disable_base_fees };
        let own = MintKind.contribute(&params, &mut StdRng::seed_from_u64(1));
        assert_eq!((own.tbs_keys, own.public.len()), (Denomination::COUNT, 0));
        let keys = keys.into_iter().map(|key| TbsKeys {
            secret_share: key.secret_share,
            public_shares: key
                .public_shares
                .iter()
                .map(|(peer, share)| (PeerId::new(u16::try_from(*peer).unwrap()), *share))
                .collect(),
            aggregate: key.aggregate,
        });
        let publics: BTreeMap<_, _> = size.peer_ids().map(|peer| (peer, Vec::new())).collect();
        MintKind.genesis(&params, &own, &publics, keys.collect()).unwrap()
    };
    size.peer_ids().zip(dealt).map(make).collect()
}

impl Federation {
    pub(crate) fn new(total: usize, disable_base_fees: bool) -> Self {
        let all = genesis(total, disable_base_fees);
        let config = MintConfig::from_bytes(&all[0].config).unwrap();
        let guardians = all.iter().map(|genesis| {
            let private = MintPrivate::from_bytes(&genesis.private).unwrap();
            Guardian { server: MintServer::new(config.clone(), private), store: Memory::store() }
        });
        let guardians = guardians.collect();
        Self {
            size: FederationSize::new(total).unwrap(),
            config,
            guardians,
            history: RefCell::default(),
        }
    }

    /// Runs a transaction on all guardians, all or nothing; they must agree.
    pub(crate) fn process(
        &self,
        txid: TransactionId,
        inputs: &[MintInput],
        outputs: &[(u64, MintOutput)],
    ) -> Result<(Vec<InputEffect>, Vec<OutputEffect>), Refusal> {
        let results: Vec<_> =
            self.guardians.iter().map(|guardian| guardian.process(txid, inputs, outputs)).collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "guardians agree");
        results.into_iter().next().unwrap()
    }
}

impl Guardian {
    pub(crate) fn process(
        &self,
        txid: TransactionId,
        inputs: &[MintInput],
        outputs: &[(u64, MintOutput)],
    ) -> Result<(Vec<InputEffect>, Vec<OutputEffect>), Refusal> {
        enum Error {
            Refused(Refusal),
            Store(StoreError),
        }
        impl From<StoreError> for Error {
            fn from(error: StoreError) -> Self {
                Self::Store(error)
            }
        }
        fn refused<E: std::fmt::Debug>(fault: Fault<E>) -> E {
            match fault {
                Fault::Refused(error) => error,
                other => panic!("{other:?}"),
            }
        }
        let facts = Facts::default();
        let done = self.store.update(|state: &mut WriteSet<'_>| {
            let mut effects = (Vec::new(), Vec::new());
            let mut call = Processing { state, facts: &facts, pass: Pass::Final };
            for input in inputs {
                let effect = self.server.process_input(&mut call, input);
                effects
                    .0
                    .push(effect.map_err(|fault| Error::Refused(Refusal::Input(refused(fault))))?);
            }
            for (out_idx, output) in outputs {
                let out_point = OutPoint { txid, out_idx: *out_idx };
                let effect = self.server.process_output(&mut call, output, out_point);
                effects
                    .1
                    .push(effect.map_err(|fault| Error::Refused(Refusal::Output(refused(fault))))?);
            }
            Ok::<_, Error>(effects)
        });
        done.map_err(|error| match error {
            Error::Refused(refusal) => refusal,
            Error::Store(error) => panic!("{error}"),
        })
    }

    pub(crate) fn audit(&self) -> i128 {
        self.server.audit(&self.store.snapshot()).unwrap()
    }

    pub(crate) fn call(
        &self,
        endpoint: &str,
        params: &serde_json::Value,
    ) -> Result<moneta_module::server::Reply, moneta_core::api::ApiError> {
        let snapshot = self.store.snapshot();
        self.server.call(&View { state: &snapshot, salt: 0 }, endpoint, params)
    }
}
