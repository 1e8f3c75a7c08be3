//! Signatures of the guardians, and the transactions they complete.
//!
//! Source: docs/protocol/wallet.md, section 1.7.4.

use std::collections::BTreeMap;

use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Message, ecdsa};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Transaction, Txid, Witness};
use moneta_core::PeerId;
use moneta_module::server::{Broken, Fault, ItemRefused};
use moneta_store::{Order, Read, StoreError, Write};

use super::WalletServer;
use super::tables::{FederationTx, SIGNATURES, UNCONFIRMED, UNSIGNED};
use crate::descriptor::{Descriptor, SECP, tweaked_secret};
use crate::words::WalletItem;

const NO_KEYS: Broken = Broken::Invariant("a tweak of an own output gives no key");

fn refused<T>(reason: &'static str) -> Result<T, Fault<ItemRefused>> {
    Err(Fault::Refused(ItemRefused(reason)))
}

impl WalletServer {
    /// Takes one guardian's signatures, and completes the transaction when they are enough.
    pub(super) fn add_signatures(
        &self,
        state: &mut dyn Write,
        peer: PeerId,
        txid: Txid,
        signatures: &[ecdsa::Signature],
    ) -> Result<(), Fault<ItemRefused>> {
        let Some(unsigned) = UNSIGNED.get(&*state, &txid)? else {
            return refused("signatures for a transaction that needs none");
        };
        if signatures.len() != unsigned.spent.len() {
            return refused("not one signature per input");
        }
        // Before the signatures are checked, so that a guardian that repeats itself costs nothing.
        if SIGNATURES.contains(&*state, &(txid, peer))? {
            return refused("this guardian's signatures are known");
        }
        let messages = messages(&self.descriptor, &unsigned)?;
        for ((signature, message), spent) in signatures.iter().zip(&messages).zip(&unsigned.spent) {
            let Some(key) = self.descriptor.tweaked_key(peer, &spent.tweak) else {
                return refused("signatures of a stranger");
            };
            if SECP.verify_ecdsa(message, signature, &key).is_err() {
                return refused("a signature is wrong");
            }
        }
        SIGNATURES.insert(state, &(txid, peer), &signatures.to_vec());
        let collected = SIGNATURES
            .starting_with(&*state, &txid, Order::Ascending)
            .map(|row| row.map(|((_, peer), signatures)| (peer, signatures)))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        if collected.len() < self.descriptor.threshold() {
            return Ok(());
        }
        for signer in collected.keys() {
            SIGNATURES.remove(state, &(txid, *signer));
        }
        UNSIGNED.remove(state, &txid);
        let signed = complete(&self.descriptor, unsigned, &collected)?;
        UNCONFIRMED.insert(state, &txid, &signed);
        Ok(())
    }

    /// Our signatures for each transaction that has not got them.
    pub(super) fn missing_signatures(
        &self,
        state: &dyn Read,
    ) -> Result<Vec<WalletItem>, StoreError> {
        let mut items = Vec::new();
        for row in UNSIGNED.scan(state, Order::Ascending) {
            let (txid, unsigned) = row?;
            if !SIGNATURES.contains(state, &(txid, self.seat.me))?
                && let Ok(signatures) = self.sign(&unsigned)
            {
                items.push(WalletItem::Signatures(txid, signatures));
            }
        }
        Ok(items)
    }

    /// Errors: `Invariant`, only if a tweak of the transaction gives no key, which processing has
    /// refused.
    fn sign(&self, unsigned: &FederationTx) -> Result<Vec<ecdsa::Signature>, Broken> {
        let messages = messages(&self.descriptor, unsigned)?;
        let each = messages.iter().zip(&unsigned.spent).map(|(message, spent)| {
            let secret = tweaked_secret(&self.secret, &spent.tweak).map_err(|_| NO_KEYS)?;
            Ok(SECP.sign_ecdsa(message, &secret))
        });
        each.collect()
    }
}

/// What the guardians sign, one message per input (BIP143, all inputs and outputs).
pub(super) fn messages(
    descriptor: &Descriptor,
    unsigned: &FederationTx,
) -> Result<Vec<Message>, Broken> {
    const NO_SIGHASH: Broken = Broken::Invariant("a transaction has fewer inputs than it spends");
    let mut cache = SighashCache::new(&unsigned.transaction);
    let each = unsigned.spent.iter().enumerate().map(|(index, spent)| {
        let script = descriptor.witness_script(&spent.tweak).map_err(|_| NO_KEYS)?;
        let sighash =
            cache.p2wsh_signature_hash(index, &script, spent.value, EcdsaSighashType::All);
        let sighash = sighash.map_err(|_| NO_SIGHASH)?;
        Ok(Message::from_digest(sighash.to_byte_array()))
    });
    each.collect()
}

/// Puts the witnesses in. A multisig script takes its signatures in the order of its keys.
fn complete(
    descriptor: &Descriptor,
    unsigned: FederationTx,
    collected: &BTreeMap<PeerId, Vec<ecdsa::Signature>>,
) -> Result<FederationTx, Broken> {
    let mut signed = unsigned;
    let inputs = signed.transaction.input.iter_mut().zip(&signed.spent);
    for (index, (input, spent)) in inputs.enumerate() {
        let keys = descriptor.tweaked_keys(&spent.tweak).map_err(|_| NO_KEYS)?;
        let mut by_key = BTreeMap::new();
        for (peer, signatures) in collected {
            let (Some(key), Some(signature)) = (keys.get(peer), signatures.get(index)) else {
                return Err(Broken::Invariant("stored signatures do not fit their transaction"));
            };
            by_key.insert(key.serialize(), bitcoin::ecdsa::Signature::sighash_all(*signature));
        }
        let mut witness = Witness::new();
        // The script's opcode takes one element too many off the stack.
        witness.push([]);
        for signature in by_key.values() {
            witness.push_ecdsa_signature(signature);
        }
        witness.push(descriptor.witness_script(&spent.tweak).map_err(|_| NO_KEYS)?);
        input.witness = witness;
    }
    Ok(signed)
}

/// The fully signed transactions that no scanned block contains, parents first.
pub(super) fn signed_transactions(state: &dyn Read) -> Result<Vec<Transaction>, StoreError> {
    let mut signed = UNCONFIRMED
        .scan(state, Order::Ascending)
        .map(|row| row.map(|(_, signed)| (signed.index, signed.transaction)))
        .collect::<Result<Vec<_>, _>>()?;
    signed.sort_unstable_by_key(|(index, _)| *index);
    Ok(signed.into_iter().map(|(_, transaction)| transaction).collect())
}
