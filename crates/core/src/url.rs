//! Addresses of APIs.
//!
//! Source: docs/protocol/core.md, section 1.5.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::codec::{DecodeError, Reader};
use crate::{Decode, Encode};

/// A URL.
///
/// It has two texts. The *display form* leaves out query and fragment and replaces user name and
/// password by fixed words; it is what is displayed, encoded and hashed. The *full form* is the
/// WHATWG serialization; it is what JSON holds. Decoding normalises, so bytes that were decoded
/// may encode differently.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiUrl(Url);

/// A text that is not a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a URL: {0}")]
pub struct UrlError(#[from] url::ParseError);

impl ApiUrl {
    /// The parsed URL, credentials included.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The full form, credentials included.
    #[must_use]
    pub fn as_full_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<Url> for ApiUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl FromStr for ApiUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Url::parse(text)?))
    }
}

/// The display form.
impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.0.scheme())?;
        if !self.0.username().is_empty() {
            f.write_str("REDACTEDUSER")?;
            if self.0.password().is_some() {
                f.write_str(":REDACTEDPASS")?;
            }
            f.write_str("@")?;
        }
        f.write_str(self.0.host_str().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

impl fmt::Debug for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiUrl({self})")
    }
}

impl Encode for ApiUrl {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_string().encode(out);
    }
}

impl Decode for ApiUrl {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        String::decode(input)?.parse().map_err(|_| DecodeError::Invalid("URL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_printed() {
        let url: ApiUrl = "wss://user:secret@example.com/?token=secret".parse().expect("a URL");
        assert!(!format!("{url} {url:?}").contains("secret"));
        assert_eq!(url.to_string(), "wss://REDACTEDUSER:REDACTEDPASS@example.com/");
    }
}
