//! `moneta show`.

use std::collections::BTreeMap;

use moneta_client::history::{Event, Operation};
use moneta_client::online::Client;
use moneta_core::id::{ModuleInstanceId, ModuleKind};
use moneta_module::client::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::amount::readable;
use super::context::{Context, find_operation, settled};
use super::failure::Failure;
use super::history::Entry;
use super::money;
use super::rejection::{self, Rejection};
use super::screen::{Fields, Report, Style};
use super::stalled::{self, Stalled};
use super::time::readable_time;

/// The event of a transaction that guardians rejected.
const REJECTED: &str = "tx-rejected";

#[derive(Debug, Serialize)]
struct Shown {
    operation: Entry,
    events: Vec<Happened>,
    /// The text that `send` printed, or would have printed if it had not been interrupted.
    ecash: Option<String>,
    /// Its transactions that guardians have not accepted for long.
    stalled: Vec<Stalled>,
}

/// An event, oldest first. Kinds and payloads: docs/protocol/guardian.md, section 9.
#[derive(Debug, Serialize)]
struct Happened {
    kind: String,
    at_ms: u64,
    payload: Value,
    /// Why guardians rejected the transaction; only there for `tx-rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<Rejection>,
}

impl Happened {
    fn new(event: Event, kinds: &BTreeMap<ModuleInstanceId, ModuleKind>) -> Self {
        let Event { kind, payload, at, .. } = event;
        let error = payload["error"].as_str().filter(|_| kind == REJECTED);
        let rejection = error.map(|error| Rejection::read(error, kinds));
        Self { kind, at_ms: at.0, payload, rejection }
    }

    /// The payload's members as people read them, the id of the operation left out.
    fn members(&self) -> impl Iterator<Item = (&str, String)> {
        let members = self.payload.as_object().into_iter().flatten();
        let members = members.filter(|(name, value)| *name != "operation_id" && !value.is_null());
        members.map(|(name, value)| match &self.rejection {
            Some(rejection) if name == "error" => ("reason", rejection.sentence()),
            _ => (name.as_str(), plain(value)),
        })
    }
}

impl Report for Shown {
    fn text(&self, style: Style) -> String {
        let Entry { operation_id, kind, begun_ms, amount_msat, details, .. } = &self.operation;
        let mut fields = Fields::default();
        fields.add("operation", operation_id);
        fields.add("kind", kind);
        fields.add("state", self.operation.mark(style));
        fields.add("begun", readable_time(Timestamp(*begun_ms)));
        if let Some(msat) = amount_msat {
            fields.add("amount", readable(moneta_core::amount::Msat(*msat)));
        }
        let known = ["amount", "value"];
        for (name, value) in details.as_object().into_iter().flatten() {
            if !known.contains(&name.as_str()) && !value.is_null() {
                fields.add(name, plain(value));
            }
        }
        let mut text = fields.text(style);
        for event in &self.events {
            let time = style.faint(readable_time(Timestamp(event.at_ms)));
            text.push_str(&format!("\n\n{time}  {}", style.strong(&event.kind)));
            for (name, value) in event.members() {
                text.push_str(&format!("\n  {}  {value}", style.faint(name)));
            }
        }
        if let Some(warning) = stalled::warning(&self.stalled, style) {
            text.push_str(&format!("\n\n{warning}"));
        }
        if let Some(ecash) = &self.ecash {
            let title = "The e-cash, for whoever redeems it first:";
            text.push_str(&format!("\n\n{title}\n{ecash}"));
        }
        text
    }
}

/// Texts without quotes, all else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Runs the command.
pub(super) async fn run(context: &Context, operation: &str, wait: bool) -> Result<(), Failure> {
    context
        .use_client(async |client: &Client| {
            let id = find_operation(client, operation).await?.id;
            if wait {
                context.follow("waiting for its end", settled(client, id)).await?;
            }
            let mut stalled = stalled::stalled(client).await;
            stalled.retain(|late| late.operation_id == Some(id));
            let known = client.operation(id).await?;
            let (operation, events) =
                known.ok_or_else(|| Failure::broken("an operation is gone from the wallet"))?;
            let kinds = rejection::kinds(client.info());
            let events = events.into_iter().map(|event| Happened::new(event, &kinds)).collect();
            let ecash = ecash(client, &operation).await?;
            let operation = operation.into();
            context.screen.report(&Shown { operation, events, ecash, stalled })
        })
        .await
}

/// The e-cash that was handed out, unless the operation is another.
async fn ecash(client: &Client, operation: &Operation) -> Result<Option<String>, Failure> {
    match money::mint(client) {
        Ok(mint) if mint == operation.instance => {
            let ecash = money::sent(client, mint, operation.id).await?;
            Ok(ecash.map(|ecash| ecash.to_string()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use moneta_core::id::OperationId;
    use serde_json::json;

    use super::*;

    #[test]
    fn operation_is_shown_with_its_events() {
        let shown = Shown {
            operation: Entry {
                operation_id: OperationId([1; 32]),
                kind: "withdraw".to_owned(),
                state: "succeeded",
                begun_ms: 0,
                amount_msat: Some(5_000),
                details: json!({"address": "bcrt1q", "value": 5}),
            },
            events: vec![Happened {
                kind: "tx-created".to_owned(),
                at_ms: 1000,
                payload: json!({"txid": "aa", "operation_id": "bb"}),
                rejection: None,
            }],
            ecash: Some("fedimint0".to_owned()),
            stalled: vec![stalled::example()],
        };
        let shape = json!({
            "operation": {
                "operation_id": "01".repeat(32), "kind": "withdraw", "state": "succeeded",
                "begun_ms": 0, "amount_msat": 5_000, "details": {"address": "bcrt1q", "value": 5},
            },
            "events": [{
                "kind": "tx-created", "at_ms": 1000,
                "payload": {"txid": "aa", "operation_id": "bb"},
            }],
            "ecash": "fedimint0",
            "stalled": [stalled::example()],
        });
        assert_eq!(json!(shown), shape);
        let text = shown.text(Style::PLAIN);
        assert!(text.contains("address    bcrt1q"), "{text}");
        assert!(text.contains("1970-01-01 00:00:01 UTC  tx-created\n  txid  aa"), "{text}");
        assert!(text.contains("\n\nNot accepted for 1 minute"), "{text}");
        assert!(text.ends_with("\nfedimint0"), "{text}");
    }

    #[test]
    fn rejected_transaction_is_shown_as_a_sentence() {
        let error = "The transaction had an invalid input: 1-The note is already spent";
        let event = Event {
            position: Some(1),
            operation: None,
            instance: None,
            kind: REJECTED.to_owned(),
            payload: json!({"txid": "aa", "error": error, "operation_id": "bb"}),
            at: Timestamp(1000),
            end: None,
        };
        let kinds = [(ModuleInstanceId::new(1), ModuleKind::from_static("mintv2"))].into();
        let happened = Happened::new(event, &kinds);
        // The log's own text stays as it is.
        assert_eq!(json!(happened)["payload"]["error"], error);
        let shape = json!({
            "part": "input", "module_id": 1, "module": "mintv2", "reason": "The note is already spent",
        });
        assert_eq!(json!(happened)["rejection"], shape);
        let members: Vec<_> = happened.members().collect();
        let sentence = "the e-cash module (mintv2) refused what the transaction spends: The note is \
                        already spent";
        assert_eq!(members, [("reason", sentence.to_owned()), ("txid", "aa".to_owned())]);
    }
}
