//! What a user does with a wallet.

use bitcoin::{Address, Amount, ScriptBuf};
use moneta_client::driver::ActError;
use moneta_core::{Msat, OperationId};
use moneta_mint::client::{CancelError, MintClient, ReceiveError, SendError, SendProgress};
use moneta_mint::words::ECash;
use moneta_module::client::{SubmitError, Timestamp};
use moneta_wallet::client::{SendError as WithdrawError, WalletClient};

use super::Wallet;
use crate::federation::{MINT, WALLET};
use crate::guardian::Trouble;

/// What a user's action came to.
#[derive(Debug)]
pub(crate) enum Done {
    /// It is under way, or over.
    Yes,
    /// The wallet said no, as it may.
    Refused,
}

impl Wallet {
    /// Where to deposit, if the wallet knows an address already.
    pub(crate) fn address(&mut self, now_ms: u64) -> Result<Option<ScriptBuf>, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(None) };
        let address =
            driver.act::<WalletClient, _, _>(WALLET, Timestamp(now_ms), |wallet, turn| {
                wallet.address(turn)
            });
        match address {
            Ok(address) => Ok(Some(address.script_pubkey())),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// Hands out e-cash.
    pub(crate) fn send(&mut self, amount: Msat, now_ms: u64) -> Result<Done, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(Done::Refused) };
        let sent = driver.act::<MintClient, _, _>(MINT, Timestamp(now_ms), |mint, turn| {
            mint.send(turn, amount, None)
        });
        match sent {
            Ok(SendProgress::Ready { .. } | SendProgress::Pending { .. }) => Ok(Done::Yes),
            Err(ActError::Action(SendError::Submit(error))) => refused(error),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }

    /// Takes e-cash.
    pub(crate) fn receive(&mut self, ecash: &ECash, now_ms: u64) -> Result<Done, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(Done::Refused) };
        let received = driver.act::<MintClient, _, _>(MINT, Timestamp(now_ms), |mint, turn| {
            mint.receive(turn, ecash)
        });
        match received {
            Ok(_) => Ok(Done::Yes),
            Err(ActError::Action(error)) => refused_reception(error),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }

    /// Takes back e-cash that was handed out.
    pub(crate) fn cancel(&mut self, sent: OperationId, now_ms: u64) -> Result<Done, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(Done::Refused) };
        let cancelled = driver
            .act::<MintClient, _, _>(MINT, Timestamp(now_ms), |mint, turn| mint.cancel(turn, sent));
        match cancelled {
            Ok(_) => Ok(Done::Yes),
            Err(ActError::Action(CancelError::Receive(error))) => refused_reception(error),
            // The words do not tell what was handed out.
            Err(ActError::Action(CancelError::NothingSent(_))) if self.recoveries > 0 => {
                Ok(Done::Refused)
            }
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }

    /// Withdraws to the chain.
    pub(crate) fn withdraw(
        &mut self,
        address: &Address,
        value: Amount,
        fee: Amount,
        now_ms: u64,
    ) -> Result<Option<OperationId>, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(None) };
        let unchecked = address.as_unchecked();
        let sent = driver.act::<WalletClient, _, _>(WALLET, Timestamp(now_ms), |wallet, turn| {
            wallet.send(turn, unchecked, value, fee)
        });
        match sent {
            Ok(operation) => Ok(Some(operation)),
            Err(ActError::Action(WithdrawError::Submit(error))) => refused(error).map(|_| None),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }
}

fn refused(error: SubmitError) -> Result<Done, Trouble> {
    match error {
        SubmitError::Store(error) => Err(error.into()),
        SubmitError::Invariant(reason) => Err(Trouble::Broken(reason.to_owned())),
        _ => Ok(Done::Refused),
    }
}

fn refused_reception(error: ReceiveError) -> Result<Done, Trouble> {
    match error {
        ReceiveError::Submit(error) => refused(error),
        ReceiveError::AlreadyReceived(_) => Ok(Done::Refused),
        error => Err(Trouble::Broken(format!("e-cash was refused: {error}"))),
    }
}
