//! Bad actors: what one of four guardians may do without anybody losing anything.

use std::collections::BTreeMap;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::api::{Method, endpoint};
use moneta_core::{
    ApiError, ConsensusItem, ConsensusItemEnvelope, Encode as _, MeHex, PeerId,
    SignedSessionOutcome, SubmissionOutcome, TransactionError,
};
use moneta_wallet::words::WalletItem;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::federation::WALLET;

/// How a guardian misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vice {
    /// It says nothing to anybody: no units, no signatures, no answers.
    Silent,
    /// It answers wallets with inventions.
    Liar,
    /// It has nonsense ordered: bytes that do not decode, votes beyond reason, old items again.
    Spammer,
    /// It signs sessions wrongly and gives out a changed history.
    Forger,
}

impl Vice {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        match rng.gen_range(0..4) {
            0 => Self::Silent,
            1 => Self::Liar,
            2 => Self::Spammer,
            _ => Self::Forger,
        }
    }
}

/// What a liar answers at once, without waiting for the truth.
pub(crate) fn hasty_answer(method: &Method, params: &Value, rng: &mut StdRng) -> Option<Value> {
    match method {
        Method::Core(name) if name == endpoint::AWAIT_TRANSACTION => Some(params.clone()),
        Method::Core(name) if name == endpoint::SUBMIT_TRANSACTION && rng.gen_bool(0.7) => {
            let error = TransactionError::InvalidWitnessLength;
            Some(json!(MeHex(SubmissionOutcome(Err(error)))))
        }
        Method::Module(_, name) if name == "signature_shares" && rng.gen_bool(0.5) => {
            Some(json!(["not a share"]))
        }
        _ => None,
    }
}

/// What a liar makes of an honest answer.
pub(crate) fn twist(honest: Result<Value, ApiError>, rng: &mut StdRng) -> Result<Value, ApiError> {
    match (honest, rng.gen_range(0..6)) {
        (Ok(Value::Array(mut list)), 0..=3) => {
            list.reverse();
            if rng.gen_bool(0.3) {
                list.pop();
            }
            Ok(Value::Array(list))
        }
        (Ok(Value::Number(_)), _) => Ok(json!(rng.gen_range(0..1_000_000))),
        (_, 4) => Ok(Value::Null),
        (_, 5) => Err(ApiError::bad_request("no")),
        (honest, _) => honest,
    }
}

/// What a spammer adds to a unit.
pub(crate) fn spam(seen: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let vote = |item: WalletItem| {
        let envelope = ConsensusItemEnvelope::new(WALLET, &item);
        ConsensusItem::Module(envelope).to_bytes()
    };
    match rng.gen_range(0..5) {
        0 => (0..rng.gen_range(0..40)).map(|_| rng.r#gen()).collect(),
        1 => vote(WalletItem::BlockCount(rng.r#gen())),
        2 => vote(WalletItem::Feerate(Some(rng.r#gen()))),
        3 => vote(WalletItem::Feerate(None)),
        _ if seen.is_empty() => Vec::new(),
        _ => seen[rng.gen_range(0..seen.len())].clone(),
    }
}

/// Signatures that are no signatures.
pub(crate) fn forge(signatures: &mut BTreeMap<PeerId, Signature>, rng: &mut StdRng) {
    for signature in signatures.values_mut() {
        let mut bytes = signature.serialize();
        bytes[rng.gen_range(0..64)] ^= 1;
        if let Ok(forged) = Signature::from_slice(&bytes) {
            *signature = forged;
        }
    }
}

/// A history in which something is missing.
pub(crate) fn rewrite(signed: &mut SignedSessionOutcome) {
    signed.session_outcome.items.pop();
}
