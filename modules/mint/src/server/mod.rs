//! The rules of issuing and spending.
//!
//! Verification and signing are done ahead for whole units ([`MintServer`] keeps verdicts and
//! shares in bounded caches); the rules below then find the results ready. Each rule is checked
//! at its turn, so that every guardian reports the same error.
//!
//! Source: docs/protocol/mint.md, sections 3.4 to 3.7, and 6 for what is done better.

mod endpoints;
mod slices;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use moneta_core::api::ApiError;
use moneta_core::version::ApiVersion;
use moneta_core::{DecodeError, ModuleKind, Msat, OutPoint, PeerId};
use moneta_crypto::tbs::{
    BatchItem, BlindedMessage, SecretKeyShare, all_valid_with, hash_to_messages_v2, sign_share,
    sign_shares, verify, verify_batch_with,
};
use moneta_module::cache::Cache;
use moneta_module::server::{
    Broken, ChainStatus, Endpoint, Fault, InputEffect, ItemRefused, OutputEffect, Pass, Processing,
    Reply, ServerModule, View, decode_canonical,
};
use moneta_store::{Order, Read, StoreError, Write};
use serde_json::Value;

use crate::words::{
    API_VERSION, Denomination, InputV0, KIND, MintConfig, MintInput, MintInputError, MintItem,
    MintOutput, MintOutputError, MintPrivate, Note, OutputV0, RecoveryItem, hash160,
};

use slices::Slices;
use tables::{FIRST_SHARE, ISSUED, PointBytes, SHARE_AT, SPENT, append_recovery};

/// Verdicts, shares and decoded values kept, for as long as a transaction takes from its submission
/// to its turn: five full transactions of 330 inputs or 720 outputs each, or 800 payments of five
/// notes. About 5 MB of all four together; what was forgotten is worked out once more.
const CACHE_ENTRIES_MAX: usize = 4096;

/// Length of an input and an output, version 0.
const INPUT_BYTES: usize = 84;
const OUTPUT_BYTES: usize = 67;

/// What a verdict depends on: denomination, nonce and signature.
type NoteBytes = (Denomination, [u8; 33], PointBytes);

/// The server half.
pub struct MintServer {
    config: MintConfig,
    secret_keys: BTreeMap<Denomination, SecretKeyShare>,
    /// How many threads batches are spread over.
    workers: usize,
    /// Notes that were found valid.
    verified: Cache<NoteBytes, ()>,
    /// Own signature shares.
    shares: Cache<(Denomination, PointBytes), PointBytes>,
    /// Inputs and outputs that were decoded. Reading a point checks its subgroup, which costs more
    /// than all else about an input or output whose signature is cached.
    decoded_inputs: Cache<[u8; INPUT_BYTES], Note>,
    decoded_outputs: Cache<[u8; OUTPUT_BYTES], OutputV0>,
    /// Slices of the recovery log.
    slices: Slices,
}

impl MintServer {
    /// Opens the module for one guardian. The caller has checked that the parts fit each other.
    pub fn new(config: MintConfig, private: MintPrivate) -> Self {
        Self {
            config,
            secret_keys: private.tbs_sks,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            verified: Cache::new(CACHE_ENTRIES_MAX),
            shares: Cache::new(CACHE_ENTRIES_MAX),
            decoded_inputs: Cache::new(CACHE_ENTRIES_MAX),
            decoded_outputs: Cache::new(CACHE_ENTRIES_MAX),
            slices: Slices::new(),
        }
    }

    fn is_valid(&self, note: &Note) -> bool {
        let Some(key) = self.config.tbs_agg_pks.get(&note.denomination) else { return false };
        let cached = bytes_of(note);
        if self.verified.contains(&cached) {
            return true;
        }
        let valid = verify(&note.nonce.message(), &note.signature, key);
        if valid {
            self.verified.insert(cached, ());
        }
        valid
    }

    /// Our share for a message, with our key of its denomination.
    fn share(
        &self,
        denomination: Denomination,
        blinded: &BlindedMessage,
        key: &SecretKeyShare,
    ) -> PointBytes {
        let cached = (denomination, blinded.to_bytes());
        if let Some(share) = self.shares.get(&cached) {
            return share;
        }
        let share = sign_share(blinded, key).to_bytes();
        self.shares.insert(cached, share);
        share
    }

    /// The notes among `inputs` that are not known to be valid, and what to verify of each.
    fn unverified<'a>(&self, inputs: &[&'a MintInput]) -> (Vec<&'a Note>, Vec<BatchItem>) {
        let mut notes: Vec<(&Note, _)> = Vec::new();
        for input in inputs {
            let MintInput::V0(InputV0 { note }) = input else { continue };
            let Some(key) = self.config.tbs_agg_pks.get(&note.denomination) else { continue };
            if !self.verified.contains(&bytes_of(note)) {
                notes.push((note, *key));
            }
        }
        let nonces: Vec<_> = notes.iter().map(|(note, _)| note.nonce.to_array()).collect();
        let messages = hash_to_messages_v2(&nonces, self.workers);
        let items = notes
            .iter()
            .zip(messages)
            .map(|((note, key), message)| (*key, message, note.signature))
            .collect();
        (notes.into_iter().map(|(note, _)| note).collect(), items)
    }

    fn prepare_inputs(&self, inputs: &[&MintInput]) {
        let (notes, items) = self.unverified(inputs);
        let verdicts = verify_batch_with(&items, self.workers);
        for (note, _) in notes.into_iter().zip(verdicts).filter(|(_, valid)| *valid) {
            self.verified.insert(bytes_of(note), ());
        }
    }

    fn prepare_outputs(&self, outputs: &[&MintOutput]) {
        let mut names = Vec::new();
        // The same transaction may have been brought many times at once.
        let mut known = HashSet::new();
        let mut items = Vec::new();
        for output in outputs {
            let MintOutput::V0(OutputV0 { denomination, blinded, .. }) = output else { continue };
            let Some(key) = self.secret_keys.get(denomination) else { continue };
            let name = (*denomination, blinded.to_bytes());
            if !self.shares.contains(&name) && known.insert(name) {
                names.push(name);
                items.push((*blinded, key));
            }
        }
        for (name, share) in names.into_iter().zip(sign_shares(&items, self.workers)) {
            self.shares.insert(name, share.to_bytes());
        }
    }
}

fn bytes_of(note: &Note) -> NoteBytes {
    (note.denomination, note.nonce.to_array(), note.signature.to_bytes())
}

impl ServerModule for MintServer {
    type Input = MintInput;
    type Output = MintOutput;
    type Item = MintItem;
    type InputError = MintInputError;
    type OutputError = MintOutputError;

    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn decode_input(&self, bytes: &[u8]) -> Result<MintInput, DecodeError> {
        let Ok(key) = <[u8; INPUT_BYTES]>::try_from(bytes) else { return decode_canonical(bytes) };
        if let Some(note) = self.decoded_inputs.get(&key) {
            return Ok(MintInput::new(note));
        }
        let input = decode_canonical(bytes)?;
        if let MintInput::V0(InputV0 { note }) = &input {
            self.decoded_inputs.insert(key, *note);
        }
        Ok(input)
    }

    fn decode_output(&self, bytes: &[u8]) -> Result<MintOutput, DecodeError> {
        let Ok(key) = <[u8; OUTPUT_BYTES]>::try_from(bytes) else {
            return decode_canonical(bytes);
        };
        if let Some(output) = self.decoded_outputs.get(&key) {
            return Ok(MintOutput::V0(output));
        }
        let output = decode_canonical(bytes)?;
        if let MintOutput::V0(output) = &output {
            self.decoded_outputs.insert(key, *output);
        }
        Ok(output)
    }

    fn process_input(
        &self,
        call: &mut Processing<'_>,
        input: &MintInput,
    ) -> Result<InputEffect, Fault<MintInputError>> {
        let note = match input {
            MintInput::V0(InputV0 { note }) => note,
            MintInput::Unknown { variant, .. } => {
                return Err(Fault::Refused(MintInputError::UnknownInputVariant(*variant)));
            }
        };
        let Some(amount) = self.value(note.denomination) else {
            return Err(Fault::Refused(MintInputError::InvalidDenomination));
        };
        if !self.is_valid(note) {
            return Err(Fault::Refused(MintInputError::InvalidSignature));
        }
        let state = &mut *call.state;
        if SPENT.contains(state, &note.nonce)? {
            return Err(Fault::Refused(MintInputError::SpentCoin));
        }
        SPENT.insert(state, &note.nonce, &());
        let issued = ISSUED.get(state, &note.denomination)?.unwrap_or(0);
        let Some(issued) = issued.checked_sub(1) else {
            // Somebody signs notes that nobody paid for, or the counters are lost.
            return Err(Broken::Invariant("more notes were spent than issued").into());
        };
        ISSUED.insert(state, &note.denomination, &issued);
        let nonce_hash = hash160(&note.nonce.to_array());
        append_recovery(state, &RecoveryItem::Input { nonce_hash })?;
        Ok(InputEffect {
            unit: self.config.amount_unit,
            amount,
            fee: self.config.fee_consensus.fee(amount),
            key: note.nonce.0,
            net_msat: i128::from(amount.0),
        })
    }

    fn process_output(
        &self,
        call: &mut Processing<'_>,
        output: &MintOutput,
        out_point: OutPoint,
    ) -> Result<OutputEffect, Fault<MintOutputError>> {
        let OutputV0 { denomination, blinded, tweak } = match output {
            MintOutput::V0(output) => output,
            MintOutput::Unknown { variant, .. } => {
                return Err(Fault::Refused(MintOutputError::UnknownOutputVariant(*variant)));
            }
        };
        let refused = || Fault::Refused(MintOutputError::InvalidDenomination);
        let amount = self.value(*denomination).ok_or_else(refused)?;
        let message = blinded.to_bytes();
        let key = self.secret_keys.get(denomination).ok_or_else(refused)?;
        let state = &mut *call.state;
        if call.pass == Pass::Final {
            let share = self.share(*denomination, blinded, key);
            SHARE_AT.insert(state, &out_point, &share);
            if !FIRST_SHARE.contains(state, &message)? {
                FIRST_SHARE.insert(state, &message, &share);
            }
        }
        self.count_issued(state, *denomination)?;
        let (denomination, nonce_hash) = (*denomination, hash160(&message));
        append_recovery(state, &RecoveryItem::Output { denomination, nonce_hash, tweak: *tweak })?;
        Ok(OutputEffect {
            unit: self.config.amount_unit,
            amount,
            fee: self.config.fee_consensus.fee(amount),
            net_msat: -i128::from(amount.0),
        })
    }

    fn process_item(
        &self,
        _: &mut Processing<'_>,
        _: PeerId,
        _: &MintItem,
    ) -> Result<(), Fault<ItemRefused>> {
        Err(Fault::Refused(ItemRefused("the mint has no consensus items")))
    }

    fn proposals(
        &self,
        _: &dyn Read,
        _: Option<&ChainStatus>,
    ) -> Result<Vec<MintItem>, StoreError> {
        Ok(Vec::new())
    }

    fn audit(&self, state: &dyn Read) -> Result<i128, StoreError> {
        let mut net = 0;
        for row in ISSUED.scan(state, Order::Ascending) {
            let (denomination, count) = row?;
            let value = denomination.value().unwrap_or(Msat::ZERO);
            net -= i128::from(value.0) * i128::from(count);
        }
        Ok(net)
    }

    fn prepare(&self, inputs: &[&MintInput], outputs: &[&MintOutput]) {
        self.prepare_inputs(inputs);
        self.prepare_outputs(outputs);
    }

    fn prepare_together(&self, inputs: &[&MintInput]) -> bool {
        let (notes, items) = self.unverified(inputs);
        let all_valid = all_valid_with(&items, self.workers);
        for note in notes.into_iter().filter(|_| all_valid) {
            self.verified.insert(bytes_of(note), ());
        }
        all_valid
    }

    fn api_version(&self) -> ApiVersion {
        API_VERSION
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &endpoints::ENDPOINTS
    }

    fn call(&self, view: &View<'_>, endpoint: &str, params: &Value) -> Result<Reply, ApiError> {
        endpoints::call(view, endpoint, params, &self.slices)
    }
}

impl MintServer {
    /// `None` for a denomination that this federation does not issue.
    fn value(&self, denomination: Denomination) -> Option<Msat> {
        denomination.value().filter(|_| self.config.issues(denomination))
    }

    fn count_issued(
        &self,
        state: &mut dyn Write,
        denomination: Denomination,
    ) -> Result<(), Broken> {
        let issued = ISSUED.get(state, &denomination)?.unwrap_or(0);
        let Some(issued) = issued.checked_add(1) else {
            return Err(Broken::Invariant("a counter of issued notes is full"));
        };
        ISSUED.insert(state, &denomination, &issued);
        Ok(())
    }
}

impl fmt::Debug for MintServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.secret_keys.len();
        f.debug_struct("MintServer").field("secret_keys", &keys).finish_non_exhaustive()
    }
}
