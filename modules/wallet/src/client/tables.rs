//! What a wallet keeps. All of it can be found again from the words, at the price of a new scan.

use bitcoin::{Amount, OutPoint, ScriptBuf};
use moneta_core::{Decode, Encode, TransactionId};
use moneta_store::Table;
use serde::Serialize;

/// Scripts of the valid indices found so far.
pub(super) const VALID: Table<u64, ScriptBuf> = Table::new(0x01);
/// The same the other way round.
pub(super) const BY_SCRIPT: Table<ScriptBuf, u64> = Table::new(0x02);
/// The next index to look at, while a valid one is searched.
pub(super) const SEARCH: Table<(), u64> = Table::new(0x03);
/// Until when the user waits for a deposit, in milliseconds since the Unix epoch.
pub(super) const WATCHED_UNTIL: Table<(), u64> = Table::new(0x04);
/// Deposits by position in the federation's log.
pub(super) const DEPOSITS: Table<u64, Deposit> = Table::new(0x05);
/// The deposit whose claim is on its way, if any: one at a time, since each claim makes the next one
/// dearer.
pub(super) const CLAIMING: Table<(), u64> = Table::new(0x06);
/// When the log was last read to its end, in milliseconds since the Unix epoch.
pub(super) const END_SEEN: Table<(), u64> = Table::new(0x07);

/// A deposit that was found unclaimed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Deposit {
    /// Which of the wallet's addresses it pays.
    pub address_index: u64,
    /// What it is worth on the chain.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub value: Amount,
    /// Where it stands, if guardians say.
    pub outpoint: Option<OutPoint>,
    /// What became of it.
    pub status: DepositStatus,
}

/// What became of a deposit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub enum DepositStatus {
    /// It waits to be claimed.
    Waiting,
    /// It is worth less than claiming it costs now; tried again when fees have fallen.
    Uneconomical {
        /// The on-chain fee when it was tried last.
        #[serde(with = "bitcoin::amount::serde::as_sat")]
        fee: Amount,
    },
    /// This transaction claims it.
    Claiming {
        /// Which one.
        txid: TransactionId,
    },
    /// Its value arrived as e-cash.
    Claimed {
        /// By this transaction.
        txid: TransactionId,
    },
    /// Another wallet with the same words claimed it.
    ClaimedElsewhere,
    /// It is worth its fee and waits: too many of the federation's bitcoin transactions are in no block
    /// yet, and each makes the next one dearer.
    Queued,
}
