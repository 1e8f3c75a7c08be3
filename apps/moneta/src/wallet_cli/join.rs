//! `moneta join`.

use bitcoin::Network;
use moneta_client::join::RollCall;
use moneta_client::online::{Wallet, WalletError, preview_watched};
use moneta_core::id::FederationId;
use moneta_core::invite::InviteCode;
use moneta_net::api::ApiConnector;
use serde::Serialize;

use super::coins;
use super::context::{Context, client_kinds, federation_name};
use super::failure::Failure;
use super::money::parse_invite;
use super::screen::{Fields, Report, Style};

#[derive(Debug, Serialize)]
struct Joined {
    federation_id: FederationId,
    name: Option<String>,
    network: Option<Network>,
    new_wallet: bool,
}

impl Report for Joined {
    fn text(&self, style: Style) -> String {
        let name = self.name.clone().unwrap_or_else(|| "a federation without a name".to_owned());
        let mut fields = Fields::default();
        fields.add("id", self.federation_id);
        if let Some(network) = self.network {
            fields.add("network", network);
        }
        let mut text = format!("Joined {}\n{}", style.good(name), fields.text(style));
        if self.new_wallet {
            text.push_str("\n\nThe wallet is new. Write down its 12 words: `moneta words`");
        }
        text
    }
}

/// Runs the command.
pub(super) async fn run(
    context: &Context,
    invite: &str,
    network: Option<Network>,
) -> Result<(), Failure> {
    let invite = parse_invite(invite)?;
    let folder = context.folder()?;
    let wallet = match Wallet::open(&folder, client_kinds()) {
        Err(WalletError::Missing { .. }) => None,
        opened => Some(opened?),
    };
    check_network(context, wallet.as_ref(), &invite, network).await?;
    let wallet = match wallet {
        Some(wallet) => wallet,
        None => Wallet::create(&folder, client_kinds())?,
    };
    let roll = RollCall::default();
    let wallet = wallet.with_roll_call(roll.clone());
    // Also if an earlier command made it and could not join.
    let new_wallet = context.each_federation(&wallet, async |_| ()).await?.is_empty();
    let joining = async { Ok(wallet.join(&invite).await?) };
    let client = context.within_roll("joining", &roll, joining).await?;
    let report = Joined {
        federation_id: client.info().federation,
        name: federation_name(&client).await,
        network: coins::network(&client).await,
        new_wallet,
    };
    client.shutdown().await;
    context.screen.report(&report)
}

/// Refuses a federation on another Bitcoin network than the wanted one, or than the wallet's
/// other federations are on: test coins must not look like money.
///
/// Errors: the networks differ, or the federation cannot be asked. One without a bitcoin module that
/// this program can use is let through.
async fn check_network(
    context: &Context,
    wallet: Option<&Wallet>,
    invite: &InviteCode,
    wanted: Option<Network>,
) -> Result<(), Failure> {
    let wanted = match (wanted, wallet) {
        (Some(network), _) => Some(network),
        (None, Some(wallet)) => wallets_network(context, wallet).await?,
        (None, None) => None,
    };
    let Some(wanted) = wanted else { return Ok(()) };
    let (connector, roll) = (ApiConnector::default(), RollCall::default());
    let learning = async { Ok(preview_watched(&connector, invite, &roll).await?) };
    let what = "asking for the federation's network";
    let config = context.within_roll(what, &roll, learning).await?;
    match coins::network_of(&config) {
        Some(found) if found != wanted => Err(wrong_network(found, wanted)),
        _ => Ok(()),
    }
}

/// What the federations say that can be opened.
async fn wallets_network(context: &Context, wallet: &Wallet) -> Result<Option<Network>, Failure> {
    let networks = context.each_federation(wallet, coins::network).await?;
    Ok(networks.into_iter().find_map(|(_, network)| network.ok().flatten()))
}

fn wrong_network(found: Network, wanted: Network) -> Failure {
    Failure::refused(format!("the federation is on {found}, this wallet is on {wanted}"))
        .hint(format!("use another folder for {found}: `moneta --wallet OTHER_FOLDER join INVITE`"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn report_of_a_join_names_the_federation_and_reminds_of_the_words() {
        let report = Joined {
            federation_id: FederationId([7; 32]),
            name: Some("Friends".to_owned()),
            network: Some(Network::Regtest),
            new_wallet: true,
        };
        let shape = json!({
            "federation_id": "07".repeat(32), "name": "Friends", "network": "regtest",
            "new_wallet": true,
        });
        assert_eq!(json!(report), shape);
        assert!(report.text(Style::PLAIN).contains("moneta words"));
    }

    #[test]
    fn federation_on_another_network_is_refused() {
        let failure = wrong_network(Network::Regtest, Network::Bitcoin);
        assert_eq!(failure.kind.exit_code(), 3);
        assert!(failure.hint.is_some_and(|hint| hint.contains("another folder")));
    }
}
