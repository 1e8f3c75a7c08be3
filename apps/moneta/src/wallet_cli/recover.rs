//! `moneta recover`.
//!
//! The words come from standard input, never from the command line, where every user of the machine
//! sees them.

use std::time::Duration;

use moneta_client::history::Operation;
use moneta_client::join::RollCall;
use moneta_client::online::{Client, Wallet, WalletError};
use moneta_client::words::{Derivation, Words};
use moneta_core::amount::Msat;
use moneta_core::id::FederationId;
use moneta_core::invite::InviteCode;
use serde::Serialize;

use super::amount::readable;
use super::coins;
use super::context::{Context, client_kinds, federation_name, settle_all};
use super::failure::Failure;
use super::money::parse_invite;
use super::screen::{Report, Style};

/// Operations looked through for those of the recovery: a fresh wallet has few.
const OPERATIONS: usize = 1000;
/// How long deposits may keep the command, after the notes were found. Those that are not claimed
/// by then are claimed by a later command.
const DEPOSITS: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize)]
struct Recovered {
    federation_id: FederationId,
    name: Option<String>,
    balance_msat: u64,
    /// Deposits that were found unclaimed.
    deposits: usize,
    operations_under_way: usize,
}

impl Report for Recovered {
    fn text(&self, style: Style) -> String {
        let name = self.name.clone().unwrap_or_else(|| self.federation_id.to_string());
        let balance = style.good(readable(Msat(self.balance_msat)));
        let mut text = format!("Recovered {balance} in {name}");
        if self.deposits > 0 {
            text.push_str(&format!("\ndeposits found: {}", self.deposits));
        }
        if self.operations_under_way > 0 {
            let count = self.operations_under_way;
            text.push_str(&format!(
                "\n{count} still under way; `moneta balance` goes on with them"
            ));
        }
        text
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, invite: &str, doubled: bool) -> Result<(), Failure> {
    let invite = parse_invite(invite)?;
    let typed = context.screen.read_input("The 12 words, in order:").await?;
    let words: Words = typed.parse().map_err(Failure::refused).map_err(|failure| {
        failure.hint("write all words in one line, in order, with spaces between")
    })?;
    drop(typed);
    let roll = RollCall::default();
    let wallet = wallet_of(context, words)?.with_roll_call(roll.clone());
    let derivation = if doubled { Derivation::Doubled } else { Derivation::Standard };
    let client = enter(context, &wallet, &roll, &invite, derivation).await?;
    let result = search(context, &client).await;
    client.shutdown().await;
    context.screen.report(&result?)
}

/// A new wallet of these words, or the one there is if it is of the same.
fn wallet_of(context: &Context, words: Words) -> Result<Wallet, Failure> {
    let folder = context.folder()?;
    match Wallet::open(&folder, client_kinds()) {
        Ok(wallet) if *wallet.words().reveal() == *words.reveal() => Ok(wallet),
        Ok(_) => Err(Failure::refused(format!(
            "{} holds a wallet with other words, which would be lost",
            folder.display()
        ))
        .hint("name a new folder with --wallet")),
        Err(WalletError::Missing { .. }) => Ok(Wallet::restore(&folder, words, client_kinds())?),
        Err(error) => Err(error.into()),
    }
}

/// Joins, or goes on with a recovery that was interrupted.
async fn enter(
    context: &Context,
    wallet: &Wallet,
    roll: &RollCall,
    invite: &InviteCode,
    derivation: Derivation,
) -> Result<Client, Failure> {
    let entering = async {
        match wallet.recover(invite, derivation).await {
            Err(WalletError::Joined(federation)) => Ok((wallet.client(federation).await?, true)),
            entered => Ok((entered?, false)),
        }
    };
    let (client, again) = context.within_roll("joining", roll, entering).await?;
    if again && recoveries(&client).await?.is_empty() {
        let failure = Failure::from(WalletError::Joined(client.info().federation));
        client.shutdown().await;
        return Err(failure.hint(
            "it was joined with a new wallet, so there is nothing to find. To search anew, name a \
             new folder with --wallet",
        ));
    }
    Ok(client)
}

/// The recoveries of this federation, ended or not.
async fn recoveries(client: &Client) -> Result<Vec<Operation>, Failure> {
    let operations = client.operations(OPERATIONS).await?.into_iter();
    Ok(operations.filter(|operation| operation.kind == "recover").collect())
}

async fn search(context: &Context, client: &Client) -> Result<Recovered, Failure> {
    context.follow_on("searching the federation for e-cash", notes_found(client)).await?;
    let operations_under_way =
        context.follow_on("searching for deposits", deposits_claimed(client)).await?;
    Ok(Recovered {
        federation_id: client.info().federation,
        name: federation_name(client).await,
        balance_msat: client.balance().await?.0,
        deposits: coins::deposits(client).await.map_or(0, |deposits| deposits.len()),
        operations_under_way,
    })
}

/// Waits until every recovery has ended.
async fn notes_found(client: &Client) -> Result<(), Failure> {
    for operation in recoveries(client).await? {
        client.wait_operation(operation.id).await?;
    }
    Ok(())
}

/// Waits until every deposit was found and claimed. Returns how many operations are still under way.
///
/// The scanner reads the federation's log and stops at each address of ours to search the next one,
/// which takes some seconds.
async fn deposits_claimed(client: &Client) -> Result<usize, Failure> {
    if coins::wallet(client).is_ok() {
        while !coins::is_log_read(client).await? {
            tokio::time::sleep(LOOK).await;
        }
    }
    settle_all(client, DEPOSITS).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn report_of_a_recovery_has_the_balance_and_what_goes_on() {
        let report = Recovered {
            federation_id: FederationId([7; 32]),
            name: None,
            balance_msat: 1024,
            deposits: 1,
            operations_under_way: 1,
        };
        let shape = json!({
            "federation_id": "07".repeat(32), "name": null, "balance_msat": 1024, "deposits": 1,
            "operations_under_way": 1,
        });
        assert_eq!(json!(report), shape);
        assert!(report.text(Style::PLAIN).contains("1 still under way"));
    }
}
