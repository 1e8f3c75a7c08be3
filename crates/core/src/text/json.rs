//! Encoded values inside JSON.
//!
//! The protocol has three forms: an array of one hex string that holds the value as a byte vector
//! ([`MeHex`], and [`MeBase64`] alike), a bare hex string of the value ([`hex_encoded`]), and a
//! bare hex string of plain bytes ([`hex_bytes`]).
//!
//! Source: docs/protocol/core.md, section 1.8.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{TextError, from_hex, to_hex};
use crate::codec::{Decode, Encode};

/// A value whose JSON is `["<hex>"]`, the hex being of its encoding as a byte vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MeHex<T>(pub T);

/// A value whose JSON is `["<base64>"]`, the base64 being of its encoding as a byte vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MeBase64<T>(pub T);

impl<T: Encode> Serialize for MeHex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [to_hex(&self.0.to_bytes())].serialize(serializer)
    }
}

impl<'de, T: Decode> Deserialize<'de> for MeHex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [text] = <[String; 1]>::deserialize(deserializer)?;
        let bytes: Vec<u8> = from_hex(&text).map_err(D::Error::custom)?;
        T::from_bytes(&bytes).map(Self).map_err(D::Error::custom)
    }
}

impl<T: Encode> Serialize for MeBase64<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [URL_SAFE_NO_PAD.encode(self.0.to_bytes().to_bytes())].serialize(serializer)
    }
}

impl<'de, T: Decode> Deserialize<'de> for MeBase64<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [text] = <[String; 1]>::deserialize(deserializer)?;
        let outer =
            URL_SAFE_NO_PAD.decode(text).map_err(|_| D::Error::custom(TextError::Base64))?;
        let bytes = Vec::<u8>::from_bytes(&outer).map_err(D::Error::custom)?;
        T::from_bytes(&bytes).map(Self).map_err(D::Error::custom)
    }
}

/// For `#[serde(with = "hex_bytes")]`: a `Vec<u8>` or byte array as a hex string.
pub mod hex_bytes {
    use super::*;

    /// Writes lower-case hex.
    pub fn serialize<S: Serializer>(
        bytes: impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    /// Reads hex of either case.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: TryFrom<Vec<u8>>,
        D: Deserializer<'de>,
    {
        let bytes = hex::decode(String::deserialize(deserializer)?)
            .map_err(|_| D::Error::custom(TextError::Hex))?;
        T::try_from(bytes).map_err(|_| D::Error::custom("wrong number of bytes"))
    }
}

/// For `#[serde(with = "hex_encoded")]`: a value as a bare hex string of its encoding.
pub mod hex_encoded {
    use super::*;

    /// Writes lower-case hex.
    pub fn serialize<T: Encode, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(value))
    }

    /// Reads hex of either case.
    pub fn deserialize<'de, T: Decode, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        from_hex(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Forms {
        me_base64: MeBase64<(u8, u8)>,
        #[serde(with = "hex_encoded")]
        encoded: u64,
        #[serde(with = "hex_bytes")]
        bytes: Vec<u8>,
        #[serde(with = "hex_bytes")]
        array: [u8; 2],
    }

    #[test]
    fn each_form_reads_what_it_writes() {
        let forms = Forms {
            me_base64: MeBase64((0xfb, 0xff)),
            encoded: 300,
            bytes: vec![1, 0xab],
            array: [2, 3],
        };
        let json = r#"{"me_base64":["Avv_"],"encoded":"fd012c","bytes":"01ab","array":"0203"}"#;
        assert_eq!(serde_json::to_string(&forms).expect("serializes"), json);
        assert_eq!(serde_json::from_str::<Forms>(json).expect("parses"), forms);
    }

    #[test]
    fn padded_or_standard_base64_is_refused() {
        for text in [r#"["Avv_="]"#, r#"["Avv/"]"#, r#""Avv_""#, r#"["Avv_","Avv_"]"#] {
            assert!(serde_json::from_str::<MeBase64<(u8, u8)>>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn array_of_another_length_is_refused() {
        let json = r#"{"me_base64":["Avv_"],"encoded":"00","bytes":"","array":"020304"}"#;
        assert!(serde_json::from_str::<Forms>(json).is_err());
    }
}
