//! The story of a first federation, told to a newcomer while it happens.

use anyhow::{Context, Result, ensure};
use bitcoin::Amount;
use moneta_core::api::AuditView;
use serde_json::Value;

use super::{Narrator, WalletCommand, World, WorldOptions};

/// What Alice puts in.
const DEPOSIT: Amount = Amount::from_sat(1_000_000);

/// What Alice pays Bob.
const PAYMENT: Amount = Amount::from_sat(250_000);

/// What Bob takes out.
const WITHDRAWAL: Amount = Amount::from_sat(100_000);

/// Blocks that must lie on top of a deposit before guardians count it, so that no reorganisation undoes it.
/// Source: docs/protocol/wallet.md section 1.7.1 (a vote is the number of blocks less 7).
const FINALITY_BLOCKS: u64 = 7;

/// Runs the whole story in `options.dir` and ends everything it started.
///
/// Errors: the first step that fails, by name. Cancel safe: dropping the future ends all processes.
pub async fn run(options: WorldOptions, narrator: &mut Narrator) -> Result<()> {
    narrator.note("A federation of guardians holds bitcoin together and issues e-cash for it.");
    narrator
        .note("Everything below is real: node, guardians, keys, sockets. Only the coins are not.");
    let world = World::start(options, narrator).await?;
    narrator.note(&format!("invite: {}", world.invite));
    let outcome = tell(&world, narrator).await;
    narrator.begin("End everything");
    let end = world.stop().await;
    outcome?;
    end?;
    narrator.done("all guardians left with exit status 0");
    narrator.summary();
    Ok(())
}

async fn tell(world: &World, narrator: &mut Narrator) -> Result<()> {
    let (alice, bob) = (world.wallet("alice")?, world.wallet("bob")?);

    narrator.begin("Alice and Bob join by the invite");
    for wallet in [&alice, &bob] {
        wallet.run(&["join", &world.invite]).await?;
    }
    narrator.done("two wallets, each with 12 words of its own");

    narrator.begin(&format!("Alice deposits {DEPOSIT}"));
    let balance = deposit(world, &alice, narrator).await?;
    narrator.done(&format!("Alice has {} in e-cash", sats(balance)));

    narrator.begin(&format!("Alice sends e-cash worth {PAYMENT} to Bob"));
    let sent = alice.run(&["send", &PAYMENT.to_sat().to_string()]).await?;
    let ecash = text(&sent, "ecash")?;
    narrator.note("A string of characters, which she may hand over in any way:");
    narrator.note(&format!("{} ... ({} characters)", head(ecash, 60), ecash.len()));
    bob.run_with_input(&["receive"], ecash).await?;
    narrator.done(&format!("Bob has {}; no guardian knows who paid", sats(msats(&bob).await?)));

    narrator.begin(&format!("Bob withdraws {WITHDRAWAL} to a Bitcoin address"));
    let address = world.bitcoind.new_address().await?;
    let amount = WITHDRAWAL.to_sat().to_string();
    let sent = bob.run(&["withdraw", &address.to_string(), &amount, "--yes"]).await?;
    narrator.note(&format!("transaction {}", text(&sent, "txid")?));
    world.bitcoind.mine(1).await?;
    let received = world.bitcoind.received(&address).await?;
    ensure!(received == WITHDRAWAL, "the address received {received}, not {WITHDRAWAL}");
    narrator
        .done(&format!("the address received {received}; Bob keeps {}", sats(msats(&bob).await?)));

    narrator.begin("Look at the federation's balance sheet");
    let audit = world.audit().await?;
    for line in balance_sheet(&audit) {
        narrator.note(&line);
    }
    ensure!(audit.net_assets >= 0, "the federation owes more than it has");
    narrator.done("it has at least what it owes");
    Ok(())
}

/// Deposits from the world's own coins; returns the balance in msat afterwards.
async fn deposit(world: &World, wallet: &WalletCommand, narrator: &Narrator) -> Result<u64> {
    // The command prints the address first, then waits for the coins and prints what became of them.
    let mut command = wallet.start(&["deposit"])?;
    let first = command.next_report().await?.context("moneta deposit ended without an address")?;
    let address = text(&first, "address")?;
    narrator.note(&format!("pay to {address}, whose key the guardians hold together"));
    world.bitcoind.send(address, DEPOSIT).await?;
    world.bitcoind.mine(1 + FINALITY_BLOCKS).await?;
    narrator.note(&format!("{} blocks mined: the deposit is final", 1 + FINALITY_BLOCKS));
    command.finish().await?;
    msats(wallet).await
}

async fn msats(wallet: &WalletCommand) -> Result<u64> {
    let balance = wallet.run(&["balance"]).await?;
    balance["balance_msat"]
        .as_u64()
        .with_context(|| format!("no balance_msat in the answer to balance: {balance}"))
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("no {field} in {value}"))
}

fn sats(msats: u64) -> String {
    format!("{} sat", msats / 1000)
}

fn head(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

/// One line per module: what it has (positive) or owes (negative), and the sum.
fn balance_sheet(audit: &AuditView) -> Vec<String> {
    let row = |name: &str, msats: i64| {
        format!("{name:<12} {:>14}.{:03} sat", msats / 1000, (msats % 1000).abs())
    };
    let modules = audit
        .module_summaries
        .values()
        .map(|module| row(&module.kind.to_string(), module.net_assets));
    modules.chain([row("sum", audit.net_assets)]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn balance_sheet_lists_modules_and_sum() {
        let audit = r#"{"net_assets": 1500, "module_summaries": {
            "0": {"net_assets": -900500, "kind": "mintv2"},
            "1": {"net_assets": 902000, "kind": "walletv2"}}}"#;
        let lines = balance_sheet(&serde_json::from_str(audit).unwrap());
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("mintv2") && lines[0].contains("-900.500 sat"), "{lines:?}");
        assert!(lines[2].contains("sum") && lines[2].contains("1.500 sat"), "{lines:?}");
    }

    #[test]
    fn head_of_a_short_text_is_the_text() {
        assert_eq!(head("abc", 5), "abc");
        assert_eq!(head("abcdef", 5), "abcde");
    }
}
