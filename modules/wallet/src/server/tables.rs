//! The state of a guardian. All of it is consensus state.
//!
//! Source: docs/protocol/wallet.md, section 1.4.

use bitcoin::hashes::sha256;
use bitcoin::secp256k1::ecdsa;
use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid};
use moneta_core::{Decode, Encode, PeerId};
use moneta_store::Table;

use crate::words::{FederationWallet, TxInfo};

/// The log of outputs that passed the filter, numbered from 0 without gaps.
pub(super) const OUTPUTS: Table<u64, LoggedOutput> = Table::new(0x01);
/// Positions of the log that are claimed.
pub(super) const SPENT: Table<u64, ()> = Table::new(0x02);
/// The federation's coin.
pub(super) const WALLET: Table<(), FederationWallet> = Table::new(0x03);
/// Transactions that wait for signatures.
pub(super) const UNSIGNED: Table<Txid, FederationTx> = Table::new(0x04);
/// Their signatures so far.
pub(super) const SIGNATURES: Table<(Txid, PeerId), Vec<ecdsa::Signature>> = Table::new(0x05);
/// Fully signed transactions that no scanned block contains.
pub(super) const UNCONFIRMED: Table<Txid, FederationTx> = Table::new(0x06);
/// All transactions in the order they were made, numbered from 0 without gaps.
pub(super) const TX_LOG: Table<u64, TxInfo> = Table::new(0x07);
/// Which transaction serves an accepted withdrawal.
pub(super) const WITHDRAWALS: Table<moneta_core::OutPoint, u64> = Table::new(0x08);
/// Each guardian's last vote for the block count.
pub(super) const BLOCK_COUNT_VOTES: Table<PeerId, u64> = Table::new(0x09);
/// Each guardian's last vote for the feerate in sat/kvB.
pub(super) const FEERATE_VOTES: Table<PeerId, Option<u64>> = Table::new(0x0a);
/// Outputs of coinbase transactions that passed the filter and cannot be spent yet, by the height of
/// their block. They enter [`OUTPUTS`] when they can.
pub(super) const IMMATURE: Table<u64, Vec<LoggedOutput>> = Table::new(0x0b);

/// One logged output.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct LoggedOutput {
    pub(super) outpoint: OutPoint,
    pub(super) output: TxOut,
}

/// A transaction of the federation with what signing and fees need to know about it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct FederationTx {
    /// Position in [`TX_LOG`].
    pub(super) index: u64,
    pub(super) transaction: Transaction,
    /// For each input what it spends.
    pub(super) spent: Vec<SpentOutput>,
    /// Estimated size.
    pub(super) vbytes: u64,
    pub(super) fee: Amount,
}

/// An output of a federation script that a transaction spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct SpentOutput {
    pub(super) value: Amount,
    pub(super) tweak: sha256::Hash,
}
