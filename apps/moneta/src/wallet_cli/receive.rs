//! `moneta receive`.

use moneta_client::online::{Client, Ended, Wallet};
use moneta_core::amount::Msat;
use moneta_core::id::{FederationId, OperationId};
use moneta_mint::words::ECash;
use moneta_module::client::End;
use serde::Serialize;

use super::amount::readable;
use super::context::{Context, settled};
use super::failure::Failure;
use super::money::{begin_receive, parse_ecash};
use super::screen::{Report, Style};

#[derive(Debug, Serialize)]
struct Received {
    operation_id: OperationId,
    federation_id: FederationId,
    /// What the e-cash was worth.
    amount_msat: u64,
    /// What the wallet can spend now.
    balance_msat: u64,
}

impl Report for Received {
    fn text(&self, style: Style) -> String {
        let amount = readable(Msat(self.amount_msat));
        let balance = readable(Msat(self.balance_msat));
        format!("Received {}; the wallet holds {balance}", style.good(amount))
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, ecash: &str) -> Result<(), Failure> {
    let ecash = match ecash {
        "-" => parse_ecash(&context.screen.read_input("E-cash:").await?)?,
        text => parse_ecash(text)?,
    };
    let wallet = context.wallet()?;
    let federation = federation_of(context, &wallet, &ecash).await?;
    context
        .use_federation(&wallet, federation, async |client: &Client| {
            let operation_id = begin_receive(client, &ecash).await?;
            let ended = context.follow("receiving", settled(client, operation_id)).await?;
            let amount_msat = received(&ended, &ecash)?.0;
            let balance_msat = client.balance().await?.0;
            let federation_id = client.info().federation;
            let report = Received { operation_id, federation_id, amount_msat, balance_msat };
            context.screen.report(&report)
        })
        .await
}

/// The federation that was named, else the one the e-cash is of.
async fn federation_of(
    context: &Context,
    wallet: &Wallet,
    ecash: &ECash,
) -> Result<FederationId, Failure> {
    let Some(federation) = ecash.federation() else { return context.federation(wallet).await };
    if context.global.federation.is_some() {
        return context.federation(wallet).await;
    }
    if wallet.federations()?.contains(&federation) {
        return Ok(federation);
    }
    let failure = Failure::refused(format!(
        "the e-cash is of federation {federation}, which this wallet has not joined"
    ));
    Err(failure.hint(match ecash.invite() {
        Some(invite) => format!(
            "it carries an invite; if you trust that federation: `moneta join {invite}`, then \
             receive again"
        ),
        None => "ask the sender for an invite, join, then receive again".to_owned(),
    }))
}

/// What of the e-cash was good.
///
/// Errors: notes of it were spent before; says how much was received all the same.
fn received(ended: &Ended, ecash: &ECash) -> Result<Msat, Failure> {
    let worth = ecash.amount().unwrap_or(Msat::ZERO);
    if ended.end == End::Succeeded {
        return Ok(worth);
    }
    let update = ended.events.iter().rev().find(|event| event.kind == "payment-receive-update");
    let good = update.and_then(|event| event.payload["received"].as_u64()).map(Msat);
    Err(spent_before(good.unwrap_or(Msat::ZERO), worth))
}

fn spent_before(good: Msat, worth: Msat) -> Failure {
    match good {
        Msat::ZERO => Failure::refused("the e-cash was spent before; nothing was received")
            .hint("do not accept it as a payment: ask the sender for e-cash nobody has used"),
        good => Failure::refused(format!(
            "part of the e-cash was spent before: {} of {} were received and are in the wallet",
            readable(good),
            readable(worth)
        ))
        .hint("ask the sender for the rest"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn report_of_a_reception_has_amount_and_balance() {
        let report = Received {
            operation_id: OperationId([1; 32]),
            federation_id: FederationId([7; 32]),
            amount_msat: 1024,
            balance_msat: 2048,
        };
        let shape = json!({
            "operation_id": "01".repeat(32), "federation_id": "07".repeat(32),
            "amount_msat": 1024, "balance_msat": 2048,
        });
        assert_eq!(json!(report), shape);
        let text = report.text(Style::PLAIN);
        assert_eq!(text, "Received 1.024 sat; the wallet holds 2.048 sat");
    }

    #[test]
    fn spent_ecash_is_refused_and_says_what_was_good() {
        let none = spent_before(Msat::ZERO, Msat(4096));
        assert!(none.message.contains("nothing was received"), "{none}");
        let part = spent_before(Msat(1024), Msat(4096));
        assert!(part.message.contains("1.024 sat of 4.096 sat"), "{part}");
        assert_eq!(part.kind.exit_code(), 3);
    }
}
