//! A small module whose every rule a test can choose, and its kind.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use moneta_core::amount::AmountUnit;
use moneta_core::version::{ApiVersion, CORE_CONSENSUS_2_1};
use moneta_core::{
    ApiError, ConsensusItem, ConsensusItemEnvelope, Decode, Encode, FederationSize, InputEnvelope,
    ModuleConsensusVersion, ModuleInstanceId, ModuleKind, Msat, OutPoint, OutputEnvelope, PeerId,
    Transaction,
};
use moneta_module::erased::{AnyServer, erase_server};
use moneta_module::server::{
    Broken, ChainStatus, Endpoint, Fault, InputEffect, ItemRefused, Need, OutputEffect, Processing,
    Reply, ServerModule, View,
};
use moneta_module::setup::{
    Contribution, Genesis, GenesisError, OpenError, Seat, ServerKind, SetupParams, TbsKeys,
};
use moneta_store::{Read, StoreError};
use rand::RngCore;

use crate::engine::Engine;

/// What processing does with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Rule {
    /// Accepted once.
    Fine,
    /// Refused, after something was written.
    Refuse,
    /// Needs the block at this height.
    NeedBlock(u64),
    /// Finds its state impossible.
    Break,
    /// Accepted, and reports another change of assets than its books show.
    Misreport,
    /// Accepted, and 100 msat are gone.
    Lose,
}

/// Input and output alike: brings or costs `amount`, which the books follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Coin {
    pub(crate) number: u64,
    pub(crate) amount: u64,
    pub(crate) fee: u64,
    pub(crate) rule: Rule,
}

pub(crate) fn coin(number: u64, amount: u64) -> Coin {
    Coin { number, amount, fee: 0, rule: Rule::Fine }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Vote {
    pub(crate) number: u64,
    pub(crate) rule: Rule,
    /// Makes it long.
    pub(crate) padding: Vec<u8>,
}

pub(crate) fn vote(number: u64) -> Vote {
    Vote { number, rule: Rule::Fine, padding: Vec::new() }
}

/// The module.
pub(crate) struct Fake;

pub(crate) const KIND: ModuleKind = ModuleKind::from_static("fake");
const SPENT: u8 = 1;
const ISSUED: u8 = 2;
const VOTED: u8 = 3;
const BOOKS: u8 = 4;
const GARBAGE: u8 = 9;

fn key(table: u8, number: u64) -> Vec<u8> {
    [&[table][..], &number.to_be_bytes()[..]].concat()
}

fn books(state: &dyn Read) -> Result<i128, StoreError> {
    let bytes = state.get(&[BOOKS])?;
    Ok(bytes.map_or(0, |bytes| i128::from_be_bytes(bytes.try_into().unwrap())))
}

fn apply<E>(
    call: &mut Processing<'_>,
    table: u8,
    number: u64,
    rule: Rule,
    net: i128,
    refused: E,
) -> Result<i128, Fault<E>> {
    call.state.put(key(GARBAGE, number), vec![1]);
    let misreport = match rule {
        Rule::Refuse => return Err(Fault::Refused(refused)),
        Rule::Break => return Err(Fault::Broken(Broken::Invariant("a test wants it"))),
        Rule::NeedBlock(height) if !call.facts.blocks.contains_key(&height) => {
            return Err(Fault::Blocked(Need::Blocks {
                from: height,
                to: height + 1,
                block_count: height + 1,
            }));
        }
        Rule::Misreport => 1,
        Rule::Fine | Rule::NeedBlock(_) | Rule::Lose => 0,
    };
    let net = if rule == Rule::Lose { net - 100 } else { net };
    if call.state.get(&key(table, number))?.is_some() {
        return Err(Fault::Refused(refused));
    }
    call.state.put(key(table, number), vec![1]);
    let sum = books(call.state)? + net;
    call.state.put(vec![BOOKS], sum.to_be_bytes().to_vec());
    Ok(net + misreport)
}

/// The key that input `number` asks for.
pub(crate) fn keypair(number: u64) -> Keypair {
    let mut bytes = [1; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&bytes).unwrap())
}

impl ServerModule for Fake {
    type Input = Coin;
    type Output = Coin;
    type Item = Vote;
    type InputError = u64;
    type OutputError = u64;

    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn process_input(
        &self,
        call: &mut Processing<'_>,
        input: &Coin,
    ) -> Result<InputEffect, Fault<u64>> {
        let net = i128::from(input.amount);
        let net_msat = apply(call, SPENT, input.number, input.rule, net, input.number)?;
        Ok(InputEffect {
            unit: AmountUnit::BITCOIN,
            amount: Msat(input.amount),
            fee: Msat(input.fee),
            key: keypair(input.number).public_key(),
            net_msat,
        })
    }

    fn process_output(
        &self,
        call: &mut Processing<'_>,
        output: &Coin,
        out_point: OutPoint,
    ) -> Result<OutputEffect, Fault<u64>> {
        let net = -i128::from(output.amount);
        let net_msat = apply(call, ISSUED, output.number, output.rule, net, output.number)?;
        call.state.put(out_point.to_bytes(), vec![42]);
        Ok(OutputEffect {
            unit: AmountUnit::BITCOIN,
            amount: Msat(output.amount),
            fee: Msat(output.fee),
            net_msat,
        })
    }

    fn process_item(
        &self,
        call: &mut Processing<'_>,
        _peer: PeerId,
        item: &Vote,
    ) -> Result<(), Fault<ItemRefused>> {
        let refused = ItemRefused("known");
        apply(call, VOTED, item.number, item.rule, 0, refused)?;
        Ok(())
    }

    fn proposals(
        &self,
        _state: &dyn Read,
        _chain: Option<&ChainStatus>,
    ) -> Result<Vec<Vote>, StoreError> {
        Ok(Vec::new())
    }

    fn audit(&self, state: &dyn Read) -> Result<i128, StoreError> {
        books(state)
    }

    fn output_outcome(
        &self,
        state: &dyn Read,
        out_point: OutPoint,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        state.get(&out_point.to_bytes())
    }

    fn api_version(&self) -> ApiVersion {
        ApiVersion::new(0, 0)
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &[]
    }

    fn call(
        &self,
        _view: &View<'_>,
        endpoint: &str,
        _params: &serde_json::Value,
    ) -> Result<Reply, ApiError> {
        Err(ApiError::not_found(endpoint))
    }
}

pub(crate) const FIRST: ModuleInstanceId = ModuleInstanceId::new(0);
pub(crate) const SECOND: ModuleInstanceId = ModuleInstanceId::new(1);

/// An engine of four guardians with two instances of the module.
pub(crate) fn engine() -> Engine {
    let modules: BTreeMap<ModuleInstanceId, Box<dyn AnyServer>> =
        [FIRST, SECOND].into_iter().map(|instance| (instance, erase_server(Fake))).collect();
    Engine::new(modules, FederationSize::new(4).unwrap(), CORE_CONSENSUS_2_1)
}

/// A transaction of the first instance, signed as its inputs ask.
pub(crate) fn transaction(inputs: &[Coin], outputs: &[Coin]) -> Transaction {
    let keys: Vec<_> = inputs.iter().map(|input| keypair(input.number)).collect();
    Transaction::new_signed(
        inputs.iter().map(|coin| InputEnvelope::new(FIRST, coin)).collect(),
        outputs.iter().map(|coin| OutputEnvelope::new(FIRST, coin)).collect(),
        [0; 8],
        &keys,
    )
}

pub(crate) fn transaction_item(transaction: &Transaction) -> Vec<u8> {
    ConsensusItem::Transaction(transaction.clone()).to_bytes()
}

pub(crate) fn vote_item(vote: Vote) -> Vec<u8> {
    ConsensusItem::Module(ConsensusItemEnvelope::new(FIRST, &vote)).to_bytes()
}

/// A kind of module that needs `tbs_keys` distributed keys; its config names everybody's part.
pub(crate) struct FakeKind {
    pub(crate) kind: ModuleKind,
    pub(crate) tbs_keys: usize,
}

impl ServerKind for FakeKind {
    fn kind(&self) -> ModuleKind {
        self.kind.clone()
    }

    fn consensus_version(&self) -> ModuleConsensusVersion {
        ModuleConsensusVersion::new(1, 2)
    }

    fn contribute(&self, _params: &SetupParams, rng: &mut dyn RngCore) -> Contribution {
        let mut public = vec![0; 8];
        rng.fill_bytes(&mut public);
        let secret = public.iter().map(|byte| !byte).collect();
        Contribution { public, secret, tbs_keys: self.tbs_keys }
    }

    fn genesis(
        &self,
        params: &SetupParams,
        own: &Contribution,
        publics: &BTreeMap<PeerId, Vec<u8>>,
        tbs_keys: Vec<TbsKeys>,
    ) -> Result<Genesis, GenesisError> {
        if let Some((peer, _)) = publics.iter().find(|(_, public)| public.len() != 8) {
            return Err(GenesisError::BadContribution { peer: *peer });
        }
        assert_eq!(publics[&params.me], own.public);
        let mut config = publics.to_bytes();
        let mut private = own.secret.clone();
        for keys in tbs_keys {
            let own_share = moneta_crypto::tbs::public_key_share(&keys.secret_share);
            assert_eq!(own_share.to_bytes(), keys.public_shares[&params.me].to_bytes());
            config.extend_from_slice(&keys.aggregate.to_bytes());
            private.extend_from_slice(&*keys.secret_share.to_bytes());
        }
        Ok(Genesis { config, private })
    }

    fn open(
        &self,
        _seat: Seat,
        config: &[u8],
        private: &[u8],
    ) -> Result<Box<dyn AnyServer>, OpenError> {
        let own: Vec<u8> = private.iter().take(8).map(|byte| !byte).collect();
        if !config.windows(8).any(|part| part == own) {
            return Err(OpenError::Mismatch("not the guardian's part"));
        }
        Ok(erase_server(Fake))
    }

    fn client_config(&self, config: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(config.to_vec())
    }

    fn client_config_json(&self, _config: &[u8]) -> Result<serde_json::Value, OpenError> {
        Ok(serde_json::json!({}))
    }
}
