//! E-cash strings: notes on their way from one wallet to another.
//!
//! Source: docs/protocol/mint.md, sections 5.1 and 5.2.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::id::{FederationId, OperationId, PeerId};
use moneta_core::invite::InviteCode;
use moneta_core::text::{decode_prefixed, encode_prefixed};
use moneta_core::url::ApiUrl;
use moneta_core::{Decode, Encode, Secret, TextError};

use super::SpendableNote;

/// One part of an e-cash string. Open: unknown parts are kept.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum EcashPart {
    /// Whose notes these are.
    Federation(FederationId),
    /// A note.
    Note(SpendableNote),
    /// How to join the federation.
    Invite {
        /// Where guardians can be reached; writers name exactly one.
        apis: Vec<(PeerId, ApiUrl)>,
        /// Which federation it is.
        federation_id: FederationId,
    },
    /// What a private federation asks for.
    ApiSecret(Secret),
    /// What the notes count, if not bitcoin.
    Unit(AmountUnit),
    /// A part this code does not know.
    #[codec(unknown)]
    Unknown {
        /// The index on the wire.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Notes on their way to another wallet. Whoever reads the text has the money: it is shown by
/// `Display` alone, `Debug` is redacted.
///
/// Shape: a list of parts, kept in the order they came in. Of each kind but notes the first
/// counts. Text: `fedimint` and base32, read in either case.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct ECash {
    parts: Vec<EcashPart>,
}

/// The text is no e-cash of this module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is not e-cash: {0}")]
pub struct EcashTextError(#[from] TextError);

impl ECash {
    /// E-cash of `notes`, with an invite for receivers that do not know the federation.
    #[must_use]
    pub fn new(
        federation: FederationId,
        notes: impl IntoIterator<Item = SpendableNote>,
        invite: Option<&InviteCode>,
        unit: AmountUnit,
    ) -> Self {
        let mut parts = vec![EcashPart::Federation(federation)];
        parts.extend(notes.into_iter().map(EcashPart::Note));
        if let Some(invite) = invite {
            let (peer, url) = invite.first_peer();
            let federation_id = invite.federation_id();
            parts.push(EcashPart::Invite { apis: vec![(peer, url.clone())], federation_id });
            parts.extend(invite.api_secret().cloned().map(EcashPart::ApiSecret));
        }
        if unit != AmountUnit::BITCOIN {
            parts.push(EcashPart::Unit(unit));
        }
        Self { parts }
    }

    /// The parts.
    pub fn parts(&self) -> &[EcashPart] {
        &self.parts
    }

    /// Whose notes these are, if the e-cash says so.
    pub fn federation(&self) -> Option<FederationId> {
        self.parts.iter().find_map(|part| match part {
            EcashPart::Federation(id) => Some(*id),
            _ => None,
        })
    }

    /// The notes in order.
    pub fn notes(&self) -> impl Iterator<Item = &SpendableNote> {
        self.parts.iter().filter_map(|part| match part {
            EcashPart::Note(note) => Some(note),
            _ => None,
        })
    }

    /// What the notes are worth together; `None` if one is of no known denomination or the sum is
    /// out of range.
    pub fn amount(&self) -> Option<Msat> {
        self.notes().try_fold(Msat::ZERO, |sum, note| sum.checked_add(note.value()?))
    }

    /// What the notes count.
    pub fn unit(&self) -> AmountUnit {
        let unit = self.parts.iter().find_map(|part| match part {
            EcashPart::Unit(unit) => Some(*unit),
            _ => None,
        });
        unit.unwrap_or(AmountUnit::BITCOIN)
    }

    /// How to join the federation, if the e-cash says so. Only the first address counts.
    pub fn invite(&self) -> Option<InviteCode> {
        let (apis, federation_id) = self.parts.iter().find_map(|part| match part {
            EcashPart::Invite { apis, federation_id } => Some((apis, *federation_id)),
            _ => None,
        })?;
        let secret = self.parts.iter().find_map(|part| match part {
            EcashPart::ApiSecret(secret) => Some(secret.clone()),
            _ => None,
        });
        let (peer, url) = apis.first()?.clone();
        InviteCode::new(BTreeMap::from([(peer, url)]), federation_id, secret).ok()
    }

    /// The id of the operation that receives this e-cash: its hash, so that nobody receives the
    /// same text twice by mistake.
    pub fn receive_operation(&self) -> OperationId {
        OperationId::from_encodable(self)
    }
}

impl FromStr for ECash {
    type Err = EcashTextError;

    fn from_str(text: &str) -> Result<Self, EcashTextError> {
        Ok(decode_prefixed(text)?)
    }
}

/// The whole text: this is money.
impl fmt::Display for ECash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_prefixed(self))
    }
}

impl fmt::Debug for ECash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ECash({} notes, redacted)", self.notes().count())
    }
}

impl fmt::Debug for EcashPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Federation(id) => write!(f, "Federation({id})"),
            Self::Note(note) => write!(f, "Note({note:?})"),
            Self::Invite { federation_id, .. } => write!(f, "Invite({federation_id})"),
            Self::ApiSecret(_) => f.write_str("ApiSecret(redacted)"),
            Self::Unit(unit) => write!(f, "Unit({unit})"),
            Self::Unknown { variant, bytes } => {
                write!(f, "Unknown({variant}, {} bytes)", bytes.len())
            }
        }
    }
}
