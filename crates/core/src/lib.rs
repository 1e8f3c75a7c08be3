//! The words of the protocol: everything a guardian and a client must agree about byte by byte.
//!
//! This crate holds values and their encodings. It does no I/O, reads no clock and decides
//! nothing about money except the funding rule. Module values pass through in envelopes.
//!
//! Invariants: encoding is deterministic; decoding is total, bounded and refuses what is not
//! canonical; secrets do not show in `Debug`.
//!
//! Start reading at [`codec`], then [`Transaction`], then `session`.
//!
//! Source: docs/protocol/core.md.

// Derived code names this crate from outside and from inside alike.
extern crate self as moneta_core;

pub mod amount;
pub mod announcement;
pub mod api;
pub mod backup;
pub mod codec;
pub mod config;
pub mod envelope;
pub mod feerate;
pub mod id;
pub mod invite;
pub mod peers;
pub mod secret;
pub mod session;
pub mod setup_code;
pub mod signature;
pub mod text;
pub mod timestamp;
pub mod transaction;
pub mod tx_out_proof;
pub mod url;
pub mod version;

pub use amount::{AmountUnit, Amounts, Msat};
pub use announcement::{
    ApiAnnouncement, GuardianMetadata, SignedApiAnnouncement, SignedGuardianMetadata,
};
pub use api::{ApiError, ApiRequest};
pub use backup::{BackupRequest, BackupSnapshot, ClientBackup, SignedBackupRequest};
pub use codec::{Decode, DecodeError, Encode, LegacyNetwork, Reader};
pub use config::{ClientConfig, GlobalConfig, ModuleEntry, PeerUrl};
pub use envelope::*;
pub use feerate::Feerate;
pub use id::*;
pub use invite::InviteCode;
pub use moneta_core_derive::{Decode, Encode};
pub use peers::FederationSize;
pub use secret::Secret;
pub use session::{
    AcceptedItem, ConsensusItem, SessionHeader, SessionOutcome, SessionStatus, SessionStatusV2,
    SignedSessionOutcome,
};
pub use setup_code::PeerSetupCode;
pub use text::{MeBase64, MeHex, TextError, from_hex, hex_bytes, hex_encoded, to_hex};
pub use timestamp::{Timestamp, TimestampRangeError};
pub use transaction::{
    MAX_TX_SIZE_BYTES, SubmissionOutcome, Transaction, TransactionError, TransactionSignatures,
    funding,
};
pub use tx_out_proof::TxOutProof;
pub use url::{ApiUrl, UrlError};
pub use version::*;
