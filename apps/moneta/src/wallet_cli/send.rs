//! `moneta send`.

use moneta_client::online::Client;
use moneta_core::amount::Msat;
use moneta_core::id::OperationId;
use serde::Serialize;

use super::amount::readable;
use super::context::Context;
use super::failure::Failure;
use super::money;
use super::screen::{Report, Style};

/// The e-cash alone stands on standard output, so that it can be piped.
#[derive(Debug, Serialize)]
struct Sent {
    operation_id: OperationId,
    amount_msat: u64,
    ecash: String,
}

impl Report for Sent {
    fn text(&self, _: Style) -> String {
        self.ecash.clone()
    }

    /// Money that went nowhere is worth an error.
    fn must_arrive(&self) -> bool {
        true
    }
}

/// Runs the command.
pub(super) async fn run(
    context: &Context,
    amount: Msat,
    include_invite: bool,
) -> Result<(), Failure> {
    context
        .use_client(async |client: &Client| {
            let invite = include_invite.then(|| client.info().invite.clone());
            let sending = money::send(client, amount, invite);
            let (operation_id, ecash) = context.follow("making the e-cash", sending).await?;
            let worth = ecash.amount().unwrap_or(amount);
            let (amount_msat, ecash) = (worth.0, ecash.to_string());
            context.screen.note(&format!(
                "E-cash worth {}. Whoever has the text has the money; `moneta receive` takes it \
                 back if nobody else did, `moneta show` prints it again.",
                readable(worth)
            ));
            context.screen.report(&Sent { operation_id, amount_msat, ecash })
        })
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ecash_stands_alone_for_people_and_named_for_scripts() {
        let operation_id = OperationId([1; 32]);
        let report = Sent { operation_id, amount_msat: 1024, ecash: "fedimint0".to_owned() };
        let shape = json!({
            "operation_id": "01".repeat(32), "amount_msat": 1024, "ecash": "fedimint0",
        });
        assert_eq!(json!(report), shape);
        assert_eq!(report.text(Style::PLAIN), "fedimint0");
    }
}
