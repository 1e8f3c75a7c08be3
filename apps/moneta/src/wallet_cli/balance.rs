//! `moneta balance`.

use std::time::Duration;

use moneta_client::online::Client;
use moneta_core::id::FederationId;
use serde::Serialize;

use super::amount::readable;
use super::context::{Context, federation_name, settle_all};
use super::failure::Failure;
use super::screen::{Report, Style};
use super::stalled::{self, Stalled};

/// What is nearly done is waited for this long, so that the figure is the one people expect.
const NEARLY: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Balance {
    federation_id: FederationId,
    balance_msat: u64,
    operations_under_way: usize,
    /// Transactions that guardians have not accepted for long.
    stalled: Vec<Stalled>,
    #[serde(skip)]
    name: Option<String>,
}

impl Report for Balance {
    fn text(&self, style: Style) -> String {
        let amount = style.strong(readable(moneta_core::amount::Msat(self.balance_msat)));
        let name = self.name.clone().unwrap_or_else(|| self.federation_id.to_string());
        let mut text = format!("{amount} in {name}");
        if self.operations_under_way > 0 {
            let count = self.operations_under_way;
            text.push_str(&format!("\n{count} under way; `moneta history` lists what"));
        }
        if let Some(warning) = stalled::warning(&self.stalled, style) {
            text.push_str(&format!("\n{warning}"));
        }
        text
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    context
        .use_client(async |client: &Client| {
            let operations_under_way = settle_all(client, NEARLY).await?;
            let report = Balance {
                federation_id: client.info().federation,
                balance_msat: client.balance().await?.0,
                operations_under_way,
                stalled: stalled::stalled(client).await,
                name: federation_name(client).await,
            };
            context.screen.report(&report)
        })
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn balance_is_in_msat_for_scripts_and_in_sat_for_people() {
        let federation_id = FederationId([7; 32]);
        let report = Balance {
            federation_id,
            balance_msat: 1_250_512,
            operations_under_way: 1,
            stalled: vec![stalled::example()],
            name: Some("Friends".to_owned()),
        };
        let shape = json!({
            "federation_id": "07".repeat(32), "balance_msat": 1_250_512, "operations_under_way": 1,
            "stalled": [stalled::example()],
        });
        assert_eq!(json!(report), shape);
        let text = report.text(Style::PLAIN);
        assert!(text.starts_with("1 250.512 sat in Friends\n1 under way"), "{text}");
        assert!(text.contains("Not accepted for 1 minute"), "{text}");
    }
}
