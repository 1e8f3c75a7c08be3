//! Notes and transactions made beforehand.
//!
//! Keys are drawn at random and not derived from words: nobody recovers the notes of a load test, so
//! the costly search for tweaks is left out. Guardians cannot tell the difference.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use bitcoin::secp256k1::{Keypair, Secp256k1, SignOnly};
use moneta_core::peers::FederationSize;
use moneta_core::{
    InputEnvelope, MeHex, ModuleInstanceId, OutputEnvelope, PeerId, Transaction, TransactionId,
};
use moneta_crypto::Scalar;
use moneta_crypto::tbs::{
    BlindedSignatureShare, BlindingKey, Message, blind, combine, unblind, verify_batch,
};
use moneta_mint::words::{Denomination, MintConfig, MintOutput, Nonce, OutputV0, SpendableNote};
use rand::{CryptoRng, RngCore};
use serde_json::Value;

/// Tables for deriving public keys, made once: they cost more than a key.
static SIGNING: LazyLock<Secp256k1<SignOnly>> = LazyLock::new(Secp256k1::signing_only);

/// The mint of a federation, as far as making transactions needs it.
#[derive(Debug, Clone)]
pub struct Mint {
    /// Its number among the federation's modules.
    pub instance: ModuleInstanceId,
    /// Keys and fees.
    pub config: MintConfig,
    /// How many guardians sign.
    pub size: FederationSize,
}

/// A transaction ready to be sent.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its id.
    pub txid: TransactionId,
    /// Parameters of `submit_transaction`.
    pub submission: Value,
    /// Number of outputs, all of the mint.
    pub outputs: usize,
}

/// What turns the signature shares of a transaction into notes.
pub struct Claim {
    secrets: Vec<OutputSecret>,
}

struct OutputSecret {
    denomination: Denomination,
    key: Keypair,
    blinding: BlindingKey,
    message: Message,
}

/// A set of signature shares per guardian, each in output order, in the JSON they came in.
pub type ShareSets = BTreeMap<PeerId, Value>;

/// Makes a transaction that spends `inputs` and asks for notes of `outputs`.
pub fn prepare(
    mint: &Mint,
    inputs: &[SpendableNote],
    outputs: impl IntoIterator<Item = Denomination>,
    rng: &mut (impl RngCore + CryptoRng),
) -> (Prepared, Claim) {
    let secrets: Vec<OutputSecret> =
        outputs.into_iter().map(|denomination| OutputSecret::draw(denomination, rng)).collect();
    let output_envelopes = secrets.iter().map(|secret| {
        let mut tweak = [0; 16];
        rng.fill_bytes(&mut tweak);
        OutputEnvelope::new(mint.instance, &secret.output(tweak))
    });
    let output_envelopes: Vec<_> = output_envelopes.collect();
    let input_envelopes =
        inputs.iter().map(|note| InputEnvelope::new(mint.instance, &note.input())).collect();
    let keys: Vec<Keypair> = inputs.iter().map(|note| note.key).collect();
    let mut nonce = [0; 8];
    rng.fill_bytes(&mut nonce);
    let transaction = Transaction::new_signed(input_envelopes, output_envelopes, nonce, &keys);
    let txid = transaction.txid();
    let submission = serde_json::to_value(MeHex(transaction))
        .expect("a hex string in an array is always valid JSON");
    (Prepared { txid, submission, outputs: secrets.len() }, Claim { secrets })
}

impl OutputSecret {
    fn draw(denomination: Denomination, rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let key = Keypair::new(&SIGNING, rng);
        let message = Nonce(key.public_key()).message();
        Self { denomination, key, blinding: Scalar::random(rng).into(), message }
    }

    fn output(&self, tweak: [u8; 16]) -> MintOutput {
        let blinded = blind(&self.message, &self.blinding);
        MintOutput::V0(OutputV0 { denomination: self.denomination, blinded, tweak })
    }
}

impl Claim {
    /// Combines the shares of a threshold of guardians and verifies the notes.
    ///
    /// Errors: too few sets, a set that is no list of points of the right length, a note that does not
    /// verify, which for honest guardians means that one of both sides is wrong.
    pub fn redeem(self, mint: &Mint, sets: &ShareSets) -> Result<Vec<SpendableNote>> {
        let threshold = mint.size.threshold();
        ensure!(sets.len() >= threshold, "{} share sets of {threshold}", sets.len());
        let mut read = Vec::new();
        for (peer, set) in sets.iter().take(threshold) {
            let shares: Vec<BlindedSignatureShare> = serde_json::from_value(set.clone())
                .with_context(|| format!("read the shares of guardian {}", peer.0))?;
            ensure!(shares.len() == self.secrets.len(), "guardian {}: wrong length", peer.0);
            read.push((u64::from(peer.0), shares));
        }
        let mut notes = Vec::with_capacity(self.secrets.len());
        let mut checks = Vec::with_capacity(self.secrets.len());
        for (index, secret) in self.secrets.iter().enumerate() {
            let shares = read.iter().map(|(peer, shares)| (*peer, shares[index])).collect();
            let signature = unblind(&combine(&shares)?, &secret.blinding);
            let key = mint.config.tbs_agg_pks.get(&secret.denomination);
            let key = key.context("the federation has no key of a denomination it issued")?;
            checks.push((*key, secret.message, signature));
            let OutputSecret { denomination, key, .. } = *secret;
            notes.push(SpendableNote { denomination, key, signature });
        }
        ensure!(verify_batch(&checks).into_iter().all(|valid| valid), "a note does not verify");
        Ok(notes)
    }
}
