//! The configuration, equal for guardians and clients.
//!
//! Source: docs/protocol/wallet.md, section 1.2.

use std::collections::BTreeMap;

use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, Network};
use moneta_core::{Decode, Encode, FederationSize, Msat, PeerId};
use serde::{Deserialize, Serialize};

/// The most keys a multisig script may have.
pub const MAX_GUARDIANS: usize = 20;

/// The configuration of one `walletv2` instance.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct WalletConfig {
    /// The guardians' multisig keys.
    pub bitcoin_pks: BTreeMap<PeerId, PublicKey>,
    /// How scripts are made of them.
    pub descriptor: DescriptorKind,
    /// Estimated size of a withdrawal. Fixed at setup, never computed again.
    pub send_tx_vbytes: u64,
    /// Estimated size of the sweep of a deposit. Fixed at setup.
    pub receive_tx_vbytes: u64,
    /// Least feerate in sat/kvB when nothing is pending; it doubles with each pending transaction.
    pub feerate_base: u64,
    /// The least withdrawal and the least change.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub dust_limit: Amount,
    /// What the federation charges.
    pub fee_consensus: FeeConsensus,
    /// The bitcoin network.
    pub network: Network,
}

/// The family of scripts. Closed: another family is another module kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum DescriptorKind {
    /// P2WSH of a sorted multisig.
    Wsh,
}

/// What the federation charges per input and output, on top of on-chain fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct FeeConsensus {
    /// Charged always.
    pub base: Msat,
    /// Millionths of the amount, at most 10,000.
    pub parts_per_million: u64,
}

impl FeeConsensus {
    /// Returns the fee for an input or output of `amount`: `base` and the millionths, rounded
    /// down, saturating.
    pub fn fee(&self, amount: Msat) -> Msat {
        let relative = amount.0.saturating_mul(self.parts_per_million) / 1_000_000;
        self.base.saturating_add(Msat(relative))
    }
}

impl WalletConfig {
    /// Feerate floor of new federations in sat/kvB: a quarter of the network's usual minimum, so
    /// that the floor reaches it with two pending transactions.
    pub const FEERATE_BASE_SAT_PER_KVB: u64 = 250;
    /// Dust limit of new federations.
    pub const DUST_LIMIT: Amount = Amount::from_sat(10_000);
    /// Base fee of new federations.
    pub const BASE_FEE: Msat = Msat(100_000);

    /// The configuration of a new federation; `None` if no multisig script holds that many keys.
    pub fn genesis(
        bitcoin_pks: BTreeMap<PeerId, PublicKey>,
        network: Network,
        base_fee: Msat,
    ) -> Option<Self> {
        let size = FederationSize::new(bitcoin_pks.len())?;
        let SizeEstimates { send_tx_vbytes, receive_tx_vbytes } = SizeEstimates::of(size)?;
        Some(Self {
            bitcoin_pks,
            descriptor: DescriptorKind::Wsh,
            send_tx_vbytes,
            receive_tx_vbytes,
            feerate_base: Self::FEERATE_BASE_SAT_PER_KVB,
            dust_limit: Self::DUST_LIMIT,
            fee_consensus: FeeConsensus { base: base_fee, parts_per_million: 0 },
            network,
        })
    }

    /// What a withdrawal takes from a wallet: the value, the on-chain fee and the federation's
    /// fee. `None` on overflow. The mint's own fees come on top.
    pub fn withdrawal_cost(&self, value: Amount, fee: Amount) -> Option<Msat> {
        let amount = Msat::from_sat(value.checked_add(fee)?)?;
        amount.checked_add(self.fee_consensus.fee(amount))
    }

    /// What a claim brings: the deposit less the on-chain fee and the federation's fee. `None` if
    /// nothing is left. The mint's own fees come on top.
    pub fn claim_gain(&self, deposit: Amount, fee: Amount) -> Option<Msat> {
        let credit = Msat::from_sat(deposit.checked_sub(fee)?)?;
        let gain = credit.checked_sub(self.fee_consensus.fee(credit))?;
        (gain > Msat::ZERO).then_some(gain)
    }
}

/// The sizes that a new federation writes into its configuration, in virtual bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeEstimates {
    /// Of a withdrawal.
    pub send_tx_vbytes: u64,
    /// Of the sweep of a deposit.
    pub receive_tx_vbytes: u64,
}

impl SizeEstimates {
    /// The estimates for `size` guardians; `None` beyond [`MAX_GUARDIANS`].
    ///
    /// Source: docs/protocol/wallet.md, section 1.2.2.
    pub fn of(size: FederationSize) -> Option<Self> {
        if size.total() > MAX_GUARDIANS {
            return None;
        }
        let (keys, signatures) = (size.total() as u64, size.threshold() as u64);
        // All in weight units. The key count is one byte up to 16, two above.
        let script = if keys <= 16 { 3 } else { 4 } + 34 * keys;
        let script_length = if script < 253 { 1 } else { 3 };
        let witness = script_length + script + 1 + 73 * signatures;
        let input = 164 + witness;
        let (overhead, output) = (42, 172);
        Some(Self {
            send_tx_vbytes: (overhead + input + 2 * output).div_ceil(4),
            receive_tx_vbytes: (overhead + 2 * input + output).div_ceil(4),
        })
    }
}
