//! The twelve words that every secret of a wallet follows from.
//!
//! Source: docs/protocol/core.md, section 9.5.

use std::fmt;
use std::str::FromStr;

use bip39::{Language, Mnemonic};
use moneta_core::id::FederationId;
use moneta_crypto::derive::FederationSecrets;
use zeroize::Zeroizing;

/// Bytes of entropy behind twelve words.
pub const ENTROPY_BYTES: usize = 16;

/// A wallet's words (BIP39, English, no passphrase). Not printed, wiped when dropped.
#[derive(Clone)]
pub struct Words(Zeroizing<Vec<u8>>);

/// How the secrets of a federation follow from the words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Derivation {
    /// As the command line, gateways and most apps do it.
    #[default]
    Standard,
    /// As the reference's binding for browsers and phones does it. The same words hold different
    /// money there: offer both when restoring.
    Doubled,
}

/// A text is not a wallet's words. Says which, without repeating them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordsError {
    /// Refused: too few or too many.
    #[error("a wallet has 12 to 24 words, these are {0}")]
    Count(usize),
    /// Refused: not in the list. Positions count from 1.
    #[error("word {0} is not in the list of words; check its spelling")]
    Unknown(usize),
    /// Refused: the words are known, but do not belong together.
    #[error("the words do not belong together; check their order and spelling")]
    Checksum,
}

impl Words {
    /// Twelve words from fresh entropy.
    pub fn from_entropy(entropy: Zeroizing<[u8; ENTROPY_BYTES]>) -> Self {
        Self(Zeroizing::new(entropy.to_vec()))
    }

    /// The words, to be written down by their owner. Take care where they go.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.mnemonic().to_string())
    }

    /// The secrets of a wallet in one federation.
    pub fn secrets(&self, federation: FederationId, derivation: Derivation) -> FederationSecrets {
        let seed = Zeroizing::new(self.mnemonic().to_seed_normalized(""));
        match derivation {
            Derivation::Standard => FederationSecrets::from_seed(&seed, &federation.0),
            Derivation::Doubled => {
                FederationSecrets::from_seed_double_derived(&seed, &federation.0)
            }
        }
    }

    fn mnemonic(&self) -> Mnemonic {
        Mnemonic::from_entropy_in(Language::English, &self.0)
            .expect("the length was checked when the words were made")
    }
}

/// Any amount of white space and any case between and of the words.
impl FromStr for Words {
    type Err = WordsError;

    fn from_str(text: &str) -> Result<Self, WordsError> {
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        let text = Zeroizing::new(words.join(" "));
        let parsed = Mnemonic::parse_in_normalized(Language::English, &text);
        let mnemonic = parsed.map_err(|error| match error {
            bip39::Error::BadWordCount(count) => WordsError::Count(count),
            bip39::Error::UnknownWord(index) => WordsError::Unknown(index + 1),
            _ => WordsError::Checksum,
        })?;
        Ok(Self(Zeroizing::new(mnemonic.to_entropy())))
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                         abandon abandon about";

    #[test]
    fn words_round_trip_and_do_not_print() {
        let words = Words::from_entropy(Zeroizing::new([0; ENTROPY_BYTES]));
        assert_eq!(*words.reveal(), ABOUT);
        let typed: Words = ABOUT.replace(' ', " \n ").to_uppercase().parse().unwrap();
        assert_eq!(*typed.reveal(), ABOUT);
        assert_eq!(format!("{words:?}"), "Words(..)");
    }

    #[test]
    fn mistyped_words_are_named() {
        let parse = |text: &str| text.parse::<Words>().unwrap_err();
        assert_eq!(parse("abandon about"), WordsError::Count(2));
        assert_eq!(parse(&ABOUT.replace("about", "abuot")), WordsError::Unknown(12));
        assert_eq!(parse(&ABOUT.replace("about", "abandon")), WordsError::Checksum);
    }

    #[test]
    fn secrets_follow_the_reference_vectors() {
        let file = include_str!("../../../docs/protocol/vectors/secrets.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let cases = file["cases"].as_array().unwrap();
        let mut seen = 0;
        for case in cases.iter().filter(|case| case["op"] == "mnemonic-chain") {
            let words: Words = case["in"]["words"].as_str().unwrap().parse().unwrap();
            let federation = case["in"]["federation_id"].as_str().unwrap().parse().unwrap();
            let secrets = words.secrets(federation, Derivation::Standard);
            let backup = secrets.backup().secp_keypair().public_key();
            assert_eq!(backup.to_string(), case["out"]["backup_id"].as_str().unwrap());
            seen += 1;
        }
        assert!(seen > 0);
    }
}
