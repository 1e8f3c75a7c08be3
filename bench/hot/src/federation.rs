//! A mint of one guardian with known keys, and notes of it.

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Keypair, Secp256k1};
use moneta_core::{
    Decode as _, FederationSize, InputEnvelope, ModuleInstanceId, OutPoint, OutputEnvelope, PeerId,
    Transaction, TransactionId,
};
use moneta_crypto::Scalar;
use moneta_crypto::dkg::deal_locally;
use moneta_crypto::tbs::{
    BlindedSignatureShare, BlindingKey, Message, blind, combine, sign_share, unblind,
};
use moneta_mint::MintKind;
use moneta_mint::server::MintServer;
use moneta_mint::words::{
    Denomination, MintConfig, MintOutput, MintPrivate, Nonce, OutputV0, SpendableNote,
};
use moneta_module::server::{Facts, Pass, Processing, ServerModule as _};
use moneta_module::setup::{ServerKind as _, SetupParams, TbsKeys};
use moneta_store::Write;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Where the mint stands in the federation.
pub(crate) const INSTANCE: ModuleInstanceId = ModuleInstanceId(1);

/// What is spent: 1024 msat.
pub(crate) const SPENT: Denomination = Denomination(10);

/// What is asked for: 512 msat.
const ISSUED: Denomination = Denomination(9);

/// A mint whose only guardian we are.
pub(crate) struct Mint {
    pub(crate) config: MintConfig,
    pub(crate) private: MintPrivate,
    rng: StdRng,
}

/// A note that was asked for, with everything its owner knows.
struct Asked {
    key: Keypair,
    blinding: BlindingKey,
    message: Message,
}

impl Mint {
    /// The same mint every time.
    pub(crate) fn new() -> Self {
        let size = FederationSize::new(1).expect("one guardian is a federation");
        let params = SetupParams {
            size,
            me: PeerId(0),
            network: bitcoin::Network::Regtest,
            disable_base_fees: false,
        };
        let mut rng = StdRng::seed_from_u64(1);
        let own = MintKind.contribute(&params, &mut rng);
        let publics = BTreeMap::from([(PeerId(0), own.public.clone())]);
        let dealt = deal_locally(own.tbs_keys, &[7; 32]).expect("the shape of one is sound");
        let keys = dealt.into_iter().map(|key| TbsKeys {
            secret_share: key.secret_share,
            public_shares: key.public_shares.values().map(|share| (PeerId(0), *share)).collect(),
            aggregate: key.aggregate,
        });
        let genesis = MintKind
            .genesis(&params, &own, &publics, keys.collect())
            .expect("a federation of one agrees with itself");
        let config = MintConfig::from_bytes(&genesis.config).expect("genesis encodes its config");
        let private = MintPrivate::from_bytes(&genesis.private).expect("genesis encodes its keys");
        Self { config, private, rng }
    }

    /// A server that has seen nothing yet.
    pub(crate) fn server(&self) -> MintServer {
        MintServer::new(self.config.clone(), self.private.clone())
    }

    /// Makes notes, and enters them into the books in `state` as if somebody had paid for them.
    pub(crate) fn issue(&mut self, count: usize, state: &mut dyn Write) -> Vec<SpendableNote> {
        let server = self.server();
        let facts = Facts::default();
        (0..count)
            .map(|index| {
                let asked = self.ask();
                let output = asked.output(SPENT);
                let txid = TransactionId([1; 32]);
                let out_point = OutPoint { txid, out_idx: index as u64 };
                let mut call = Processing { state, facts: &facts, pass: Pass::Final };
                let done = server.process_output(&mut call, &output, out_point);
                assert!(done.is_ok(), "a known denomination is issued");
                self.sign(&asked)
            })
            .collect()
    }

    /// A transaction that spends `notes` for as many of half the worth.
    pub(crate) fn transaction(&mut self, notes: &[SpendableNote]) -> Transaction {
        let inputs = notes.iter().map(|note| InputEnvelope::new(INSTANCE, &note.input())).collect();
        let outputs = notes
            .iter()
            .map(|_| OutputEnvelope::new(INSTANCE, &self.ask().output(ISSUED)))
            .collect();
        let keys: Vec<Keypair> = notes.iter().map(|note| note.key).collect();
        Transaction::new_signed(inputs, outputs, [7; 8], &keys)
    }

    fn ask(&mut self) -> Asked {
        let key = Keypair::new(&Secp256k1::signing_only(), &mut self.rng);
        let message = Nonce(key.public_key()).message();
        Asked { key, blinding: Scalar::random(&mut self.rng).into(), message }
    }

    fn sign(&self, asked: &Asked) -> SpendableNote {
        let secret = &self.private.tbs_sks[&SPENT];
        let share: BlindedSignatureShare =
            sign_share(&blind(&asked.message, &asked.blinding), secret);
        let combined = combine(&BTreeMap::from([(0, share)])).expect("one share is enough");
        let signature = unblind(&combined, &asked.blinding);
        SpendableNote { denomination: SPENT, key: asked.key, signature }
    }
}

impl Asked {
    fn output(&self, denomination: Denomination) -> MintOutput {
        let blinded = blind(&self.message, &self.blinding);
        MintOutput::V0(OutputV0 { denomination, blinded, tweak: [3; 16] })
    }
}
