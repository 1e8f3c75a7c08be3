//! Where the guardians can be reached now.
//!
//! The config says where they were at setup. Guardians that moved sign that; every guardian serves the
//! statements of all, so one reachable guardian is enough to find the others. An answer with any
//! statement that its guardian did not sign is dropped whole: its sender is faulty or out of date.
//!
//! One step further than the page: a statement that was signed and still is of no use (dated ahead,
//! huge, no statement at all) costs only itself. Honest guardians pass on what a faulty one signs, so
//! it could otherwise keep every wallet from learning where the others are.
//!
//! Source: docs/protocol/core.md, section 7.6.

use std::collections::BTreeMap;

use moneta_core::announcement::{
    MetadataError, SignedApiAnnouncement, SignedGuardianMetadata, current_url,
};
use moneta_core::config::GlobalConfig;
use moneta_core::id::PeerId;
use moneta_core::url::ApiUrl;
use moneta_core::{Decode, Encode};
use serde::Deserialize;
use serde_json::Value;

use crate::query::harmless;

/// The signed addresses a wallet knows. Grows only: newer statements replace older ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct SignedAddresses {
    announcements: BTreeMap<PeerId, SignedApiAnnouncement>,
    metadata: BTreeMap<PeerId, SignedGuardianMetadata>,
}

/// Why a guardian's answer was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressesError {
    /// Refused: it has another shape.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    /// Refused: it speaks of a guardian that does not exist.
    #[error("the answer names guardian {0}, who does not exist")]
    UnknownGuardian(PeerId),
    /// Refused: a signature in it is wrong.
    #[error("the statement of guardian {0} in the answer does not verify")]
    Invalid(PeerId),
    /// Refused: the federation is too old to sign addresses.
    #[error("the federation has no keys to verify addresses with")]
    NoKeys,
}

impl SignedAddresses {
    /// Takes a guardian's answer to `api_announcements`. Returns whether something is new.
    ///
    /// Errors: nothing of the answer is taken.
    pub fn take_announcements(
        &mut self,
        config: &GlobalConfig,
        answer: &Value,
    ) -> Result<bool, AddressesError> {
        let verify = |statement: &SignedApiAnnouncement, key: &_| match statement.verify(key) {
            true => Verdict::Good,
            false => Verdict::Forged,
        };
        let statements = verified(config, answer, verify)?;
        let mut changed = false;
        for (peer, new) in statements {
            let nonce = |known: &SignedApiAnnouncement| known.api_announcement.nonce;
            if self.announcements.get(&peer).is_none_or(|known| nonce(known) < nonce(&new)) {
                self.announcements.insert(peer, new);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Takes a guardian's answer to `guardian_metadata`. Returns whether something is new.
    ///
    /// Errors: nothing of the answer is taken.
    pub fn take_metadata(
        &mut self,
        config: &GlobalConfig,
        answer: &Value,
        now_secs: u64,
    ) -> Result<bool, AddressesError> {
        let verify =
            |statement: &SignedGuardianMetadata, key: &_| match statement.verify(key, now_secs) {
                Ok(()) => Verdict::Good,
                Err(MetadataError::Signature) => Verdict::Forged,
                Err(_) => Verdict::Useless,
            };
        let statements = verified(config, answer, verify)?;
        let mut changed = false;
        for (peer, new) in statements {
            let time = |known: &SignedGuardianMetadata| known.metadata().timestamp_secs;
            if self.metadata.get(&peer).is_none_or(|known| time(known) < time(&new)) {
                self.metadata.insert(peer, new);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Returns where each guardian is to be called: its metadata before its announcement before
    /// the config.
    pub fn current(&self, config: &GlobalConfig) -> BTreeMap<PeerId, ApiUrl> {
        let endpoints = config.api_endpoints.iter();
        let current = |(peer, endpoint): (&PeerId, &moneta_core::config::PeerUrl)| {
            let announced = self.announcements.get(peer).map(|signed| &signed.api_announcement);
            let metadata = self.metadata.get(peer).map(SignedGuardianMetadata::metadata);
            (*peer, current_url(&endpoint.url, announced, metadata).clone())
        };
        endpoints.map(current).collect()
    }
}

/// The longest statement that is kept, in bytes. Real ones take some hundred.
const MAX_STATEMENT_BYTES: usize = 16 * 1024;

enum Verdict {
    Good,
    /// Signed, but of no use.
    Useless,
    /// Not by the guardian it is of.
    Forged,
}

fn verified<T: Encode + for<'de> Deserialize<'de>>(
    config: &GlobalConfig,
    answer: &Value,
    verify: impl Fn(&T, &bitcoin::secp256k1::PublicKey) -> Verdict,
) -> Result<BTreeMap<PeerId, T>, AddressesError> {
    let keys = config.broadcast_public_keys.as_ref().ok_or(AddressesError::NoKeys)?;
    let statements = BTreeMap::<PeerId, Value>::deserialize(answer)
        .map_err(|error| AddressesError::Malformed(harmless(&error.to_string())))?;
    let mut good = BTreeMap::new();
    for (peer, statement) in statements {
        let key = keys.get(&peer).ok_or(AddressesError::UnknownGuardian(peer))?;
        let Ok(statement) = T::deserialize(statement) else { continue };
        match verify(&statement, key) {
            Verdict::Good if statement.to_bytes().len() <= MAX_STATEMENT_BYTES => {
                good.insert(peer, statement);
            }
            Verdict::Good | Verdict::Useless => {}
            Verdict::Forged => return Err(AddressesError::Invalid(peer)),
        }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::secp256k1::{Keypair, Secp256k1};
    use moneta_core::announcement::{ApiAnnouncement, GuardianMetadata};
    use serde_json::json;

    use super::*;

    fn key(byte: u8) -> Keypair {
        Keypair::from_seckey_slice(&Secp256k1::new(), &[byte; 32]).unwrap()
    }

    fn config() -> GlobalConfig {
        let endpoints = json!({
            "0": {"url": "wss://g0.example/", "name": "a"},
            "1": {"url": "wss://g1.example/", "name": "b"},
        });
        let keys = [(0, 1), (1, 2)].map(|(peer, byte)| (PeerId::new(peer), key(byte).public_key()));
        GlobalConfig {
            api_endpoints: serde_json::from_value(endpoints).unwrap(),
            broadcast_public_keys: Some(keys.into()),
            consensus_version: moneta_core::version::CORE_CONSENSUS_2_1,
            meta: BTreeMap::new(),
        }
    }

    fn announcement(peer: u16, signer: u8, host: &str, nonce: u64) -> Value {
        let api_url = format!("wss://{host}/").parse().unwrap();
        let signed = ApiAnnouncement { api_url, nonce }.sign(&key(signer));
        json!({ peer.to_string(): signed })
    }

    fn address(known: &SignedAddresses, peer: u16) -> String {
        known.current(&config())[&PeerId::new(peer)].to_string()
    }

    #[test]
    fn newer_announcement_moves_a_guardian_and_an_older_one_does_not() {
        let mut known = SignedAddresses::default();
        let config = config();
        let mut take = |host, nonce| {
            known.take_announcements(&config, &announcement(1, 2, host, nonce)).unwrap()
        };
        assert!(take("new.example", 5));
        assert!(!take("old.example", 4));
        assert_eq!(address(&known, 1), "wss://new.example/");
        assert_eq!(address(&known, 0), "wss://g0.example/");
        assert_eq!(SignedAddresses::from_bytes(&known.to_bytes()).unwrap(), known);
    }

    #[test]
    fn answer_with_one_bad_statement_is_dropped_whole() {
        let mut known = SignedAddresses::default();
        let mut answer = announcement(0, 1, "good.example", 1);
        let forged = announcement(1, 1, "forged.example", 1);
        answer.as_object_mut().unwrap().extend(forged.as_object().unwrap().clone());
        let refused = known.take_announcements(&config(), &answer);
        assert_eq!(refused, Err(AddressesError::Invalid(PeerId::new(1))));
        let foreign = known.take_announcements(&config(), &announcement(7, 1, "x.example", 1));
        assert_eq!(foreign, Err(AddressesError::UnknownGuardian(PeerId::new(7))));
        assert_eq!(known, SignedAddresses::default());
    }

    #[test]
    fn metadata_wins_over_announcement_and_does_not_count_from_the_future() {
        let mut known = SignedAddresses::default();
        let metadata = |host: &str, timestamp_secs| {
            let api_urls = vec![format!("wss://{host}/").parse().unwrap()];
            let pkarr_id_z32 = "yryt".to_owned();
            let iroh_next_endpoint = None;
            let metadata =
                GuardianMetadata { api_urls, pkarr_id_z32, timestamp_secs, iroh_next_endpoint };
            json!({ "0": metadata.sign(&key(1)) })
        };
        known.take_announcements(&config(), &announcement(0, 1, "said.example", 9)).unwrap();
        assert!(known.take_metadata(&config(), &metadata("now.example", 100), 100).unwrap());
        assert!(!known.take_metadata(&config(), &metadata("old.example", 99), 100).unwrap());
        let future = known.take_metadata(&config(), &metadata("soon.example", 5_000), 100);
        assert_eq!(future, Ok(false));
        assert_eq!(address(&known, 0), "wss://now.example/");
    }

    /// Honest guardians pass on whatever a guardian signs. One that signed a date an hour ahead, a
    /// megabyte, or something odd made wallets drop the honest guardians' answers whole.
    #[test]
    fn useless_statement_of_one_guardian_does_not_hide_those_of_others() {
        let config = config();
        let now_secs = 1_000_000;
        let metadata = |host: &str, timestamp_secs, pkarr: String, signer| {
            let api_urls = vec![format!("wss://{host}/").parse().unwrap()];
            let (pkarr_id_z32, iroh_next_endpoint) = (pkarr, None);
            GuardianMetadata { api_urls, pkarr_id_z32, timestamp_secs, iroh_next_endpoint }
                .sign(&key(signer))
        };
        let good = json!(metadata("new.example", now_secs, "yryt".to_owned(), 2));
        let ahead = json!(metadata("bad.example", now_secs + 3_700, "yryt".to_owned(), 1));
        let huge = json!(metadata("bad.example", now_secs, "y".repeat(1 << 20), 1));
        for bad in [ahead, huge, json!({"content": "{}", "signature": "00"}), json!(7)] {
            let mut known = SignedAddresses::default();
            let answer = json!({ "0": bad, "1": good });
            assert!(known.take_metadata(&config, &answer, now_secs).unwrap());
            assert_eq!(address(&known, 1), "wss://new.example/");
            assert_eq!(address(&known, 0), "wss://g0.example/");
        }
    }
}
