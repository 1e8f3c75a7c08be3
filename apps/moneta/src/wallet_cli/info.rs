//! `moneta info`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitcoin::Network;
use moneta_client::history::{self, ParkedMachine};
use moneta_client::online::Client;
use moneta_core::config::PeerUrl;
use moneta_core::id::{FederationId, ModuleInstanceId, ModuleKind, OperationId, PeerId};
use serde::Serialize;

use super::amount::readable;
use super::coins;
use super::context::{Context, federation_name};
use super::failure::Failure;
use super::screen::{Fields, Report, Style};
use super::stalled::{self, Stalled};

#[derive(Debug, Serialize)]
struct Info {
    wallet: PathBuf,
    federations: Vec<Known>,
    /// The one that is meant when none is named, or that was named.
    federation: Option<Details>,
}

#[derive(Debug, Serialize)]
struct Known {
    federation_id: FederationId,
    name: Option<String>,
    selected: bool,
    /// Why it cannot be opened. A sound one has none.
    failure: Option<Failure>,
}

#[derive(Debug, Serialize)]
struct Details {
    federation_id: FederationId,
    network: Option<Network>,
    chain_id: Option<String>,
    balance_msat: u64,
    /// As they were at setup.
    guardians: BTreeMap<PeerId, PeerUrl>,
    modules: BTreeMap<ModuleInstanceId, ModuleKind>,
    /// Of kinds this program does not know.
    unknown_modules: BTreeMap<ModuleInstanceId, ModuleKind>,
    /// Of known kinds in versions this program does not speak: money in them is not shown.
    unusable_modules: BTreeMap<ModuleInstanceId, ModuleKind>,
    invite: String,
    /// What stands still because an invariant did not hold. A healthy wallet has none of it.
    stuck: Vec<Stuck>,
    /// Transactions that guardians have not accepted for long.
    stalled: Vec<Stalled>,
}

#[derive(Debug, Serialize)]
struct Stuck {
    operation_id: Option<OperationId>,
    reason: String,
}

impl Report for Info {
    fn text(&self, style: Style) -> String {
        let mut text = format!("wallet in {}", self.wallet.display());
        if self.federations.is_empty() {
            text.push_str("\nno federation yet; join one with `moneta join INVITE`");
        }
        for known in &self.federations {
            text.push_str(&format!("\n{}", known.line(style)));
        }
        if let Some(details) = &self.federation {
            text.push_str("\n\n");
            text.push_str(&details.fields().text(style));
            if !details.unusable_modules.is_empty() {
                let warning = "Money in unusable modules is not shown; a newer release may help.";
                text.push_str(&format!("\n{}", style.bad(warning)));
            }
            for stuck in &details.stuck {
                let Stuck { operation_id, reason } = stuck;
                let what = operation_id.map(|id| format!(" ({id})")).unwrap_or_default();
                let warning = format!("Stands still{what}: {reason}. A newer release may help.");
                text.push_str(&format!("\n{}", style.bad(warning)));
            }
            if let Some(warning) = stalled::warning(&details.stalled, style) {
                text.push_str(&format!("\n{warning}"));
            }
        }
        text
    }
}

impl Known {
    fn line(&self, style: Style) -> String {
        let mark = if self.selected { "*" } else { " " };
        let id = style.faint(self.federation_id);
        if let Some(Failure { message, hint, .. }) = &self.failure {
            let hint = hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
            let warning = style.bad(format!("cannot be opened: {message}{hint}"));
            return format!("{mark} {id}  {warning}");
        }
        let name = self.name.clone().unwrap_or_else(|| "(without a name)".to_owned());
        format!("{mark} {}  {id}", style.strong(name))
    }
}

impl Details {
    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.add("federation", self.federation_id);
        if let Some(network) = self.network {
            fields.add("network", network);
        }
        fields.add("balance", readable(moneta_core::amount::Msat(self.balance_msat)));
        let names: Vec<_> = self.guardians.values().map(|peer| peer.name.as_str()).collect();
        fields.add("guardians", names.join(", "));
        fields.add("modules", list(&self.modules));
        if !self.unknown_modules.is_empty() {
            fields.add("unknown modules", list(&self.unknown_modules));
        }
        if !self.unusable_modules.is_empty() {
            fields.add("unusable modules", list(&self.unusable_modules));
        }
        fields.add("invite", &self.invite);
        fields
    }
}

fn list(modules: &BTreeMap<ModuleInstanceId, ModuleKind>) -> String {
    let names: Vec<_> = modules.values().map(ToString::to_string).collect();
    names.join(", ")
}

/// Runs the command.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let wallet = context.wallet()?;
    let names = context.each_federation(&wallet, federation_name).await?;
    let meant = match context.federation(&wallet).await {
        Ok(federation) => Some(federation),
        // Named wrongly, as against not named.
        Err(failure) if context.global.federation.is_some() => return Err(failure),
        Err(_) => None,
    };
    let known = |(federation_id, name): (FederationId, Result<Option<String>, Failure>)| {
        let selected = meant == Some(federation_id);
        let (name, failure) =
            name.map_or_else(|failure| (None, Some(failure)), |name| (name, None));
        Known { federation_id, name, selected, failure }
    };
    let federations: Vec<_> = names.into_iter().map(known).collect();
    let federation = match federations.iter().find(|known| known.selected) {
        // Named, so nothing else was asked for.
        Some(Known { failure: Some(failure), .. }) if context.global.federation.is_some() => {
            return Err(failure.clone());
        }
        Some(Known { failure: None, federation_id, .. }) => {
            Some(context.use_federation(&wallet, *federation_id, details).await?)
        }
        _ => None,
    };
    let info = Info { wallet: context.folder()?, federations, federation };
    context.screen.report(&info)
}

async fn details(client: &Client) -> Result<Details, Failure> {
    let info = client.info();
    let stalled = stalled::stalled(client).await;
    let parked = client.with_driver(|driver| history::parked(&driver.view())).await?;
    let stuck =
        |parked: ParkedMachine| Stuck { operation_id: parked.operation, reason: parked.reason };
    Ok(Details {
        federation_id: info.federation,
        network: coins::network(client).await,
        chain_id: client.chain_id().await?,
        balance_msat: client.balance().await?.0,
        modules: info.modules.clone(),
        unknown_modules: info.unknown.clone(),
        unusable_modules: info.unusable.clone(),
        invite: info.invite.to_string(),
        guardians: info.guardians.clone(),
        stuck: parked.into_iter().map(stuck).collect(),
        stalled,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn info_lists_federations_and_describes_the_meant_one() {
        let federation_id = FederationId([7; 32]);
        let url = "ws://127.0.0.1:8174".parse().unwrap();
        let guardian = PeerUrl { url, name: "Alice".to_owned() };
        let module = |kind| (ModuleInstanceId::new(0), ModuleKind::from_static(kind));
        let info = Info {
            wallet: "w".into(),
            federations: vec![
                Known { federation_id, name: None, selected: true, failure: None },
                Known {
                    federation_id: FederationId([8; 32]),
                    name: None,
                    selected: false,
                    failure: Some(Failure::broken("torn").hint("recover")),
                },
            ],
            federation: Some(Details {
                federation_id,
                network: Some(Network::Signet),
                chain_id: None,
                balance_msat: 1000,
                modules: [module("mintv2")].into(),
                unknown_modules: BTreeMap::new(),
                unusable_modules: [module("lnv2")].into(),
                invite: "fed1".to_owned(),
                guardians: [(PeerId::new(0), guardian)].into(),
                stuck: Vec::new(),
                stalled: vec![stalled::example()],
            }),
        };
        let id = "07".repeat(32);
        let shape = json!({
            "wallet": "w",
            "federations": [
                {"federation_id": id, "name": null, "selected": true, "failure": null},
                {"federation_id": "08".repeat(32), "name": null, "selected": false,
                 "failure": {"kind": "broken", "message": "torn", "hint": "recover"}},
            ],
            "federation": {
                "federation_id": id, "network": "signet", "chain_id": null, "balance_msat": 1000,
                "modules": {"0": "mintv2"}, "unknown_modules": {},
                "unusable_modules": {"0": "lnv2"}, "invite": "fed1", "stuck": [],
                "stalled": [stalled::example()],
                "guardians": {"0": {"name": "Alice", "url": "ws://127.0.0.1:8174/"}},
            },
        });
        assert_eq!(json!(info), shape);
        let text = info.text(Style::PLAIN);
        assert!(text.contains("1 sat") && text.contains("newer release"), "{text}");
        assert!(text.contains("Not accepted for 1 minute"), "{text}");
        assert!(text.contains(&format!("  {}  cannot be opened: torn (recover)", "08".repeat(32))));
    }
}
