//! The module's values on the wire.
//!
//! Source: docs/protocol/wallet.md, sections 1.1 to 1.9.

mod config;
mod errors;
mod items;
mod script;
mod views;

pub use config::{DescriptorKind, FeeConsensus, MAX_GUARDIANS, SizeEstimates, WalletConfig};
pub use errors::{WalletInputError, WalletOutputError};
pub use items::{WalletInput, WalletInputV0, WalletItem, WalletOutput, WalletOutputV0};
pub use script::StandardScript;
pub use views::{FederationWallet, OutputInfo, TxInfo};

use moneta_core::ModuleKind;
use moneta_core::version::{ApiVersion, ModuleConsensusVersion};

/// The kind string.
pub const KIND: ModuleKind = ModuleKind::from_static("walletv2");
/// Version in the configs of federations.
pub const CONSENSUS_VERSION: ModuleConsensusVersion = ModuleConsensusVersion::new(1, 0);
/// Version of the endpoints that guardians serve.
pub const API_VERSION: ApiVersion = ApiVersion::new(0, 1);
/// Version of the endpoints that clients need.
pub const CLIENT_API_VERSION: ApiVersion = ApiVersion::new(0, 0);

/// Names of the endpoints.
pub mod endpoint {
    /// The consensus block count: u64.
    pub const CONSENSUS_BLOCK_COUNT: &str = "consensus_block_count";
    /// The consensus feerate in sat/kvB, or null.
    pub const CONSENSUS_FEERATE: &str = "consensus_feerate";
    /// The one coin of the federation, or null.
    pub const FEDERATION_WALLET: &str = "federation_wallet";
    /// On-chain fee of a withdrawal in sat, or null.
    pub const SEND_FEE: &str = "send_fee";
    /// On-chain fee of a claim in sat, or null.
    pub const RECEIVE_FEE: &str = "receive_fee";
    /// The bitcoin transaction of an accepted withdrawal, or null.
    pub const TRANSACTION_ID: &str = "transaction_id";
    /// A part of the log of outputs.
    pub const OUTPUT_INFO_SLICE: &str = "output_info_slice";
    /// The transactions that are not confirmed yet, newest first.
    pub const PENDING_TRANSACTION_CHAIN: &str = "pending_transaction_chain";
    /// All transactions, oldest first.
    pub const TRANSACTION_CHAIN: &str = "transaction_chain";
}
