//! `moneta withdraw`.

use bitcoin::Txid;
use moneta_client::online::Client;
use moneta_core::amount::Msat;
use moneta_core::id::OperationId;
use moneta_module::client::End;
use serde::Serialize;

use super::amount::{WithdrawAmount, readable, readable_sat};
use super::coins::{self, Quote, parse_address};
use super::context::{Context, settled};
use super::failure::Failure;
use super::screen::{Fields, Report, Style};

/// What to do where nobody can be asked. A fee that nobody looked at must not be paid by mistake.
const OTHERWISE: &str =
    "nothing was sent; repeat the command with --yes to send without being asked";

#[derive(Debug, Serialize)]
struct Withdrawn {
    operation_id: OperationId,
    txid: Txid,
    address: String,
    value_sat: u64,
    fee_sat: u64,
    federation_fee_msat: u64,
    balance_msat: u64,
}

impl Report for Withdrawn {
    fn text(&self, style: Style) -> String {
        let mut fields = Fields::default();
        fields.add("transaction", style.good(self.txid));
        fields.add("wallet", readable(Msat(self.balance_msat)));
        fields.text(style)
    }
}

/// Runs the command.
pub(super) async fn run(
    context: &Context,
    address: &str,
    amount: WithdrawAmount,
    yes: bool,
) -> Result<(), Failure> {
    let address = parse_address(address)?;
    let wanted = match amount {
        WithdrawAmount::All => None,
        WithdrawAmount::Exactly(value) => Some(value),
    };
    context
        .use_client(async |client: &Client| {
            let asking = coins::quote(client, &address, wanted);
            let quote = context.within("asking for the fee", asking).await?;
            let shown = address.assume_checked_ref().to_string();
            context.screen.note(&description(&quote, &shown));
            if !yes && !context.screen.confirm("Send it? [y/N]", OTHERWISE).await? {
                return Err(Failure::refused("not sent: you said no"));
            }
            let operation_id = coins::withdraw(client, &address, quote).await?;
            let ended = context.follow("withdrawing", settled(client, operation_id)).await?;
            if ended.end == End::Failed {
                return Err(Failure::unavailable("the federation did not accept the withdrawal")
                    .hint(
                        "the money is back in the wallet. The network fee may have risen \
                         meanwhile: repeat the command",
                    ));
            }
            let txid = ended.events.iter().rev().find_map(|event| coins::txid(&event.payload));
            let txid = txid.ok_or_else(|| {
                Failure::broken("the federation accepted the withdrawal without a transaction")
                    .hint(format!("`moneta show {operation_id}` has all that is known"))
            })?;
            let Quote { value, fee, federation_fee } = quote;
            context.screen.report(&Withdrawn {
                operation_id,
                txid,
                address: shown,
                value_sat: value.to_sat(),
                fee_sat: fee.to_sat(),
                federation_fee_msat: federation_fee.0,
                balance_msat: client.balance().await?.0,
            })
        })
        .await
}

fn description(quote: &Quote, address: &str) -> String {
    let mut fields = Fields::default();
    fields.add("to", address);
    fields.add("amount", readable_sat(quote.value));
    fields.add("network fee", readable_sat(quote.fee));
    fields.add("federation fee", readable(quote.federation_fee));
    if let Some(total) = quote.total() {
        fields.add("in all", format!("{} and the fee for e-cash notes", readable(total)));
    }
    fields.text(Style::PLAIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::Amount;
    use serde_json::json;

    use super::*;

    #[test]
    fn fees_are_shown_before_anything_is_sent() {
        let (value, fee) = (Amount::from_sat(100_000), Amount::from_sat(312));
        let text = description(&Quote { value, fee, federation_fee: Msat(100_312) }, "bcrt1q");
        assert!(text.contains("amount          100 000 sat"), "{text}");
        assert!(text.contains("network fee     312 sat"), "{text}");
        assert!(text.contains("100 412.312 sat"), "{text}");
    }

    #[test]
    fn result_names_the_transaction() {
        let id = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
        let report = Withdrawn {
            operation_id: OperationId([1; 32]),
            txid: id.parse().unwrap(),
            address: "bcrt1q".to_owned(),
            value_sat: 100_000,
            fee_sat: 312,
            federation_fee_msat: 100_312,
            balance_msat: 5,
        };
        let shape = json!({
            "operation_id": "01".repeat(32), "txid": id, "address": "bcrt1q",
            "value_sat": 100_000, "fee_sat": 312, "federation_fee_msat": 100_312,
            "balance_msat": 5,
        });
        assert_eq!(json!(report), shape);
        assert!(report.text(Style::PLAIN).contains(id));
    }
}
