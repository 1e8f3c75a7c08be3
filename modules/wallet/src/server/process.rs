//! Claims and withdrawals: the order of the checks decides which error a client sees, so it is
//! protocol.
//!
//! Source: docs/protocol/wallet.md, sections 1.5, 1.6 and 1.8.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use moneta_core::amount::{AmountUnit, Msat};
use moneta_module::server::{Broken, Fault, InputEffect, OutputEffect};
use moneta_store::{Order, Read, StoreError, Write};

use super::WalletServer;
use super::fees::Stack;
use super::tables::{
    FederationTx, OUTPUTS, SPENT, SpentOutput, TX_LOG, UNCONFIRMED, UNSIGNED, WALLET, WITHDRAWALS,
};
use crate::descriptor::{Tweak, change_tweak, claim_tweak};
use crate::words::{
    FederationWallet, TxInfo, WalletInputError, WalletInputV0, WalletOutputError, WalletOutputV0,
};

/// Signals that the transaction may be replaced, as the reference does. We never replace one.
const SEQUENCE: Sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;

const NO_CHANGE_SCRIPT: Broken = Broken::Invariant("the change tweak gives no key");

/// An amount on the chain as the books count it, in msat.
pub(super) fn net_msat(amount: Amount) -> i128 {
    i128::from(amount.to_sat()) * 1000
}

/// What one transaction does to the federation's coin.
struct Move {
    wallet: FederationWallet,
    /// The deposit that joins it.
    deposit: Option<(OutPoint, SpentOutput)>,
    /// The payment that leaves it.
    payment: Option<TxOut>,
    change: Amount,
    fee: Amount,
    vbytes: u64,
}

impl WalletServer {
    /// Processes a claim.
    pub(super) fn claim(
        &self,
        state: &mut dyn Write,
        input: &WalletInputV0,
    ) -> Result<InputEffect, Fault<WalletInputError>> {
        use WalletInputError as E;
        let refused = |error| Err(Fault::Refused(error));
        let WalletInputV0 { output_index, tweak: claim_key, fee } = input;
        if SPENT.contains(&*state, output_index)? {
            return refused(E::OutputAlreadySpent);
        }
        SPENT.insert(state, output_index, &());
        let Some(logged) = OUTPUTS.get(&*state, output_index)? else {
            return refused(E::UnknownOutputIndex);
        };
        let tweak = claim_tweak(claim_key);
        if self.descriptor.script_pubkey(&tweak).ok() != Some(logged.output.script_pubkey) {
            return refused(E::WrongTweak);
        }
        let required = self.receive_fee(&*state)?;
        let Some(required) = required else { return refused(E::NoConsensusFeerateAvailable) };
        if *fee < required {
            return refused(E::InsufficientTotalFee);
        }
        let value = logged.output.value;
        let credit = value.checked_sub(*fee).ok_or(Fault::Refused(E::ArithmeticOverflow))?;
        let amount = Msat::from_sat(credit).ok_or(Fault::Refused(E::ArithmeticOverflow))?;
        let net = match WALLET.get(&*state, &())? {
            Some(wallet) => {
                let change = wallet.value.checked_add(credit);
                let change = change.ok_or(Fault::Refused(E::ArithmeticOverflow))?;
                let deposit = Some((logged.outpoint, SpentOutput { value, tweak }));
                let vbytes = self.config.receive_tx_vbytes;
                let sweep = Move { wallet, deposit, payment: None, change, fee: *fee, vbytes };
                self.make_transaction(state, sweep)?;
                credit
            }
            None => {
                // The first deposit becomes the federation's coin as it is, without a transaction:
                // the fee stays with the federation.
                let wallet = FederationWallet { value, outpoint: logged.outpoint, tweak };
                WALLET.insert(state, &(), &wallet);
                value
            }
        };
        Ok(InputEffect {
            unit: AmountUnit::BITCOIN,
            amount,
            fee: self.config.fee_consensus.fee(amount),
            key: *claim_key,
            net_msat: net_msat(net),
        })
    }

    /// Processes a withdrawal.
    pub(super) fn withdraw(
        &self,
        state: &mut dyn Write,
        output: &WalletOutputV0,
        out_point: moneta_core::OutPoint,
    ) -> Result<OutputEffect, Fault<WalletOutputError>> {
        use WalletOutputError as E;
        let refused = |error| Err(Fault::Refused(error));
        let overflow = || Fault::Refused(E::ArithmeticOverflow);
        let WalletOutputV0 { destination, value, fee } = output;
        if *value < self.config.dust_limit {
            return refused(E::UnderDustLimit);
        }
        let wallet = WALLET.get(&*state, &())?;
        let Some(wallet) = wallet else { return refused(E::NoFederationUTXO) };
        let required = self.send_fee(&*state)?;
        let Some(required) = required else { return refused(E::NoConsensusFeerateAvailable) };
        if *fee < required {
            return refused(E::InsufficientTotalFee);
        }
        let total = value.checked_add(*fee).ok_or_else(overflow)?;
        let change = wallet.value.checked_sub(total).ok_or_else(overflow)?;
        if change < self.config.dust_limit {
            return refused(E::ChangeUnderDustLimit);
        }
        let script_pubkey = destination.to_script_pubkey();
        let Some(script_pubkey) = script_pubkey else { return refused(E::UnknownScriptVariant) };
        let amount = Msat::from_sat(total).ok_or_else(overflow)?;
        let payment = Some(TxOut { value: *value, script_pubkey });
        let vbytes = self.config.send_tx_vbytes;
        let payment = Move { wallet, deposit: None, payment, change, fee: *fee, vbytes };
        let index = self.make_transaction(state, payment)?;
        WITHDRAWALS.insert(state, &out_point, &index);
        Ok(OutputEffect {
            unit: AmountUnit::BITCOIN,
            amount,
            fee: self.config.fee_consensus.fee(amount),
            net_msat: -net_msat(total),
        })
    }

    /// Makes the transaction of a move, and the change its first output the federation's coin.
    /// Returns its position in the log.
    fn make_transaction(&self, state: &mut dyn Write, step: Move) -> Result<u64, Broken> {
        let Move { wallet, deposit, payment, change, fee, vbytes } = step;
        let tweak: Tweak = change_tweak(&wallet);
        let script_pubkey = self.descriptor.script_pubkey(&tweak).map_err(|_| NO_CHANGE_SCRIPT)?;
        let own = (wallet.outpoint, SpentOutput { value: wallet.value, tweak: wallet.tweak });
        let (outpoints, spent): (Vec<_>, Vec<_>) = [own].into_iter().chain(deposit).unzip();
        let change_output = TxOut { value: change, script_pubkey };
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: outpoints.into_iter().map(unsigned_input).collect(),
            output: [change_output].into_iter().chain(payment).collect(),
        };
        let txid = transaction.compute_txid();
        let index = TX_LOG.last_key(&*state, &())?.map_or(0, |last| last + 1);
        let created = self.consensus_block_count(&*state)?;
        let info =
            TxInfo { index, txid, input: wallet.value, output: change, fee, vbytes, created };
        let outpoint = OutPoint { txid, vout: 0 };
        WALLET.insert(state, &(), &FederationWallet { value: change, outpoint, tweak });
        TX_LOG.insert(state, &index, &info);
        UNSIGNED.insert(state, &txid, &FederationTx { index, transaction, spent, vbytes, fee });
        Ok(index)
    }

    /// What a withdrawal must pay to miners now; `None` without a feerate.
    pub(super) fn send_fee(&self, state: &dyn Read) -> Result<Option<Amount>, StoreError> {
        self.required_fee(state, self.config.send_tx_vbytes)
    }

    /// What a claim must pay to miners now; `None` without a feerate.
    pub(super) fn receive_fee(&self, state: &dyn Read) -> Result<Option<Amount>, StoreError> {
        self.required_fee(state, self.config.receive_tx_vbytes)
    }

    fn required_fee(&self, state: &dyn Read, vbytes: u64) -> Result<Option<Amount>, StoreError> {
        let Some(feerate) = self.consensus_feerate(state)? else { return Ok(None) };
        let stack = pending(state)?;
        Ok(Some(stack.required_fee(vbytes, feerate, self.config.feerate_base)))
    }
}

/// The transactions that no scanned block contains.
pub(super) fn pending(state: &dyn Read) -> Result<Stack, StoreError> {
    let unsigned = UNSIGNED.scan(state, Order::Ascending);
    let mut rows = unsigned.chain(UNCONFIRMED.scan(state, Order::Ascending));
    rows.try_fold(Stack::default(), |stack, row| {
        let (_, pending) = row?;
        Ok(stack.with(pending.vbytes, pending.fee))
    })
}

fn unsigned_input(previous_output: OutPoint) -> TxIn {
    let (script_sig, witness) = (ScriptBuf::new(), Witness::new());
    TxIn { previous_output, script_sig, sequence: SEQUENCE, witness }
}
