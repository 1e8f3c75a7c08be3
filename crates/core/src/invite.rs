//! Invite codes: where to find a federation, and which one it is.
//!
//! Source: docs/protocol/core.md, section 6.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bech32::{Bech32m, Hrp};
use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::{ApiUrl, Decode, DecodeError, Encode, FederationId, PeerId, Secret, text};

/// Human-readable part of the bech32m form, so that codes start with `fed11`.
const HRP: Hrp = Hrp::parse_unchecked("fed1");

/// How codes in the base32 form begin, in any case.
const BASE32_PREFIX: &str = "fedimint";

/// One part of an invite code. Open: unknown parts are kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum InvitePart {
    Api {
        url: ApiUrl,
        peer: PeerId,
    },
    FederationId(FederationId),
    ApiSecret(Secret),
    #[codec(unknown)]
    Unknown {
        variant: u64,
        bytes: Vec<u8>,
    },
}

/// An invite code. Holds at least one API address and the federation id.
///
/// Shape: a list of parts, kept in the order they came in, so that a code re-encodes identically.
/// Text: bech32m (`Display`, JSON) or prefixed base32; both are read.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InviteCode {
    parts: Vec<InvitePart>,
}

/// Why text is no invite code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// Neither a valid bech32m nor a valid prefixed base32 text.
    #[error("the text is not an invite code")]
    Text,
    /// The bech32m text is of something else.
    #[error("the text begins with {0:?} instead of fed1")]
    Prefix(String),
    /// The content is malformed, or lacks an address or the federation id.
    #[error("the invite code is malformed: {0}")]
    Content(#[from] DecodeError),
}

/// The code does not fit the 1023 characters of bech32m. The base32 form has no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the invite code is too long for its bech32m form")]
pub struct InviteTooLong;

/// A code was to be made without any API address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an invite code needs at least one API address")]
pub struct NoApi;

impl InviteCode {
    /// Makes a code with the given addresses.
    ///
    /// An invite that is to survive f faulty guardians names the first f+1; a guardian's own
    /// names only itself.
    ///
    /// Errors: `apis` is empty.
    pub fn new(
        apis: BTreeMap<PeerId, ApiUrl>,
        federation_id: FederationId,
        api_secret: Option<Secret>,
    ) -> Result<Self, NoApi> {
        if apis.is_empty() {
            return Err(NoApi);
        }
        let apis = apis.into_iter().map(|(peer, url)| InvitePart::Api { url, peer });
        let id = InvitePart::FederationId(federation_id);
        let secret = api_secret.map(InvitePart::ApiSecret);
        Ok(Self { parts: apis.chain([id]).chain(secret).collect() })
    }

    /// Returns the API addresses. Of several for one guardian the last counts.
    pub fn peers(&self) -> BTreeMap<PeerId, ApiUrl> {
        self.apis().map(|(peer, url)| (peer, url.clone())).collect()
    }

    /// Returns the address that comes first in the code.
    pub fn first_peer(&self) -> (PeerId, &ApiUrl) {
        self.apis().next().expect("a code without an address is never constructed")
    }

    /// Returns the federation id. Of several the first counts.
    pub fn federation_id(&self) -> FederationId {
        let id = self.parts.iter().find_map(|part| match part {
            InvitePart::FederationId(id) => Some(*id),
            _ => None,
        });
        id.expect("a code without a federation id is never constructed")
    }

    /// Returns the API secret, if the federation is private. Of several the first counts.
    pub fn api_secret(&self) -> Option<&Secret> {
        self.parts.iter().find_map(|part| match part {
            InvitePart::ApiSecret(secret) => Some(secret),
            _ => None,
        })
    }

    /// Returns the bech32m form.
    ///
    /// Errors: it would be longer than 1023 characters.
    pub fn to_bech32m(&self) -> Result<String, InviteTooLong> {
        bech32::encode::<Bech32m>(HRP, &self.to_bytes()).map_err(|_| InviteTooLong)
    }

    /// Returns the prefixed base32 form.
    pub fn to_base32(&self) -> String {
        text::encode_prefixed(self)
    }

    fn apis(&self) -> impl Iterator<Item = (PeerId, &ApiUrl)> {
        self.parts.iter().filter_map(|part| match part {
            InvitePart::Api { url, peer } => Some((*peer, url)),
            _ => None,
        })
    }
}

impl Decode for InviteCode {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let parts = Vec::<InvitePart>::decode(input)?;
        let has_api = parts.iter().any(|part| matches!(part, InvitePart::Api { .. }));
        let has_id = parts.iter().any(|part| matches!(part, InvitePart::FederationId(_)));
        if !(has_api && has_id) {
            return Err(DecodeError::Invalid("invite code: an address or the id is missing"));
        }
        Ok(Self { parts })
    }
}

impl FromStr for InviteCode {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let prefix = text.get(..BASE32_PREFIX.len()).unwrap_or_default();
        if prefix.eq_ignore_ascii_case(BASE32_PREFIX) {
            return text::decode_prefixed(text).map_err(|_| InviteError::Text);
        }
        let (hrp, bytes) = bech32::decode(text).map_err(|_| InviteError::Text)?;
        if hrp != HRP {
            return Err(InviteError::Prefix(hrp.to_lowercase()));
        }
        Ok(Self::from_bytes(&bytes)?)
    }
}

/// Writes the bech32m form, or base32 for the rare code that is too long for it.
impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_bech32m().unwrap_or_else(|InviteTooLong| self.to_base32()))
    }
}

impl TryFrom<String> for InviteCode {
    type Error = InviteError;

    fn try_from(text: String) -> Result<Self, InviteError> {
        text.parse()
    }
}

impl From<InviteCode> for String {
    fn from(code: InviteCode) -> Self {
        code.to_string()
    }
}
