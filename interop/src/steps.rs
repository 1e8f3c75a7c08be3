//! What both directions do with a world: options, deposits, comparisons.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bitcoin::{Address, Amount, Txid};
use moneta::world::{
    GuardianProgram, Programs, WalletCommand, World, WorldOptions,
    process::{Probe, poll_until},
};
use serde_json::Value;

/// What is deposited.
pub(crate) const DEPOSIT: Amount = Amount::from_sat(1_000_000);
/// What is paid in e-cash.
pub(crate) const PAYMENT: Amount = Amount::from_sat(100_000);
/// What is paid back.
pub(crate) const REPAYMENT: Amount = Amount::from_sat(40_000);
/// What an address gets.
pub(crate) const WITHDRAWAL: Amount = Amount::from_sat(200_000);

/// A deposit is final under so many blocks, its own not counted; a few more do no harm.
const BLOCKS_OVER_A_DEPOSIT: u64 = 12;

/// Guardians agree within a second; a loaded machine gets more.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Four guardians in `dir`: ours, or the reference's.
///
/// Errors: a program is missing.
pub(crate) fn options(dir: &Path, reference_guardian: Option<&Path>) -> Result<WorldOptions> {
    let mut options = WorldOptions::in_dir(dir)?;
    options.federation_name = "Interop".to_owned();
    if let Some(path) = reference_guardian {
        let program = GuardianProgram { path: path.to_owned(), is_reference: true };
        options.programs = Programs::with_guardian(program)?;
    }
    Ok(options)
}

/// Pays `amount` to `address` and buries the payment deep enough for every guardian.
///
/// Errors: bitcoind refuses.
pub(crate) async fn pay_and_bury(world: &World, address: &str, amount: Amount) -> Result<Txid> {
    let txid = world.bitcoind.send(address, amount).await?;
    world.bitcoind.mine(BLOCKS_OVER_A_DEPOSIT).await?;
    Ok(txid)
}

/// Waits until `address` got its withdrawal, checks the amount and mines what pays it.
///
/// Errors: nothing comes, or another amount.
pub(crate) async fn confirm_withdrawal(
    world: &World,
    address: &Address,
    amount: Amount,
) -> Result<()> {
    let received = poll_until("a withdrawal", PATIENCE, async || {
        let received = world.bitcoind.received(address).await?;
        Ok(match received {
            Amount::ZERO => Probe::Waiting(format!("{address} has nothing")),
            received => Probe::Ready(received),
        })
    })
    .await?;
    ensure!(received == amount, "the address received {received}, not {amount}");
    world.bitcoind.mine(1).await?;
    Ok(())
}

/// Asks again until the answer is not null.
///
/// Errors: asking fails, or time runs out.
pub(crate) async fn await_value(ask: impl AsyncFn() -> Result<Value>) -> Result<Value> {
    poll_until("a value", PATIENCE, async || {
        Ok(match ask().await? {
            Value::Null => Probe::Waiting("null".to_owned()),
            value => Probe::Ready(value),
        })
    })
    .await
}

/// Checks that a receiver gained `amount` but for fees: of 1 % at most.
///
/// Errors: it gained less or more.
pub(crate) fn ensure_about(gained: u64, amount: Amount) -> Result<()> {
    let full = amount.to_sat() * 1000;
    ensure!(gained * 100 >= full * 99, "only {gained} of {full} msat came");
    // A sender rounds up to whole notes.
    ensure!(gained <= full + 512, "{gained} msat came, more than the {full} that were sent");
    Ok(())
}

/// What our wallet can spend, in msat.
///
/// Errors: the command fails.
pub(crate) async fn balance(wallet: &WalletCommand) -> Result<u64> {
    let printed = wallet.run(&["balance"]).await?;
    printed["balance_msat"].as_u64().with_context(|| format!("no balance_msat in {printed}"))
}

/// The text field `name` of `value`.
///
/// Errors: there is none.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("no text {name} in {value}"))
}

/// Checks that the federation has at least what it owes; returns what it has more, in msat.
///
/// Errors: it has less, or it does not answer.
pub(crate) async fn ensure_solvent(world: &World) -> Result<i64> {
    let audit = world.audit().await?;
    ensure!(audit.net_assets >= 0, "the federation owes more than it has: {audit:?}");
    Ok(audit.net_assets)
}
