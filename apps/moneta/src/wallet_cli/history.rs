//! `moneta history`, and how an operation is shown.

use moneta_client::history::Operation;
use moneta_client::online::Client;
use moneta_core::amount::Msat;
use moneta_core::id::OperationId;
use moneta_module::client::End;
use serde::Serialize;
use serde_json::Value;

use super::amount::readable;
use super::context::Context;
use super::failure::Failure;
use super::screen::{Report, Style};
use super::stalled::{self, Stalled};
use super::time::readable_time;

/// Characters of an id that tell it from others well enough for people.
const SHORT_ID: usize = 12;

/// One operation as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    pub(super) operation_id: OperationId,
    /// `deposit`, `withdraw`, `send`, `receive`, `recover`.
    pub(super) kind: String,
    /// `pending`, `succeeded`, `failed`.
    pub(super) state: &'static str,
    pub(super) begun_ms: u64,
    pub(super) amount_msat: Option<u64>,
    /// What the module says it is about.
    pub(super) details: Value,
}

impl From<Operation> for Entry {
    fn from(operation: Operation) -> Self {
        let state = match operation.end {
            None => "pending",
            Some(End::Succeeded) => "succeeded",
            Some(End::Failed) => "failed",
        };
        let details = operation.details;
        let sat = || details["value"].as_u64()?.checked_mul(1000);
        let amount_msat = details["amount"].as_u64().or_else(sat);
        let (operation_id, kind, begun) = (operation.id, operation.kind, operation.begun);
        Self { operation_id, kind, state, begun_ms: begun.0, amount_msat, details }
    }
}

impl Entry {
    /// One line for people.
    pub(super) fn line(&self, style: Style) -> String {
        let id: String = self.operation_id.to_string().chars().take(SHORT_ID).collect();
        let time = readable_time(moneta_module::client::Timestamp(self.begun_ms));
        let amount = self.amount_msat.map(|msat| readable(Msat(msat))).unwrap_or_default();
        format!("{id}  {}  {:<8}  {amount:>18}  {}", style.faint(time), self.kind, self.mark(style))
    }

    /// The state, coloured.
    pub(super) fn mark(&self, style: Style) -> String {
        match self.state {
            "succeeded" => style.good(self.state),
            "failed" => style.bad(self.state),
            other => style.strong(other),
        }
    }
}

#[derive(Debug, Serialize)]
struct History {
    operations: Vec<Entry>,
    /// Transactions that guardians have not accepted for long, of whichever operation.
    stalled: Vec<Stalled>,
}

impl Report for History {
    fn text(&self, style: Style) -> String {
        if self.operations.is_empty() {
            return "nothing was done yet".to_owned();
        }
        let lines: Vec<_> = self.operations.iter().map(|entry| entry.line(style)).collect();
        let warning = stalled::warning(&self.stalled, style);
        let warning = warning.map(|warning| format!("\n\n{warning}")).unwrap_or_default();
        lines.join("\n") + &warning
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, limit: usize) -> Result<(), Failure> {
    context
        .use_client(async |client: &Client| {
            let stalled = stalled::stalled(client).await;
            let operations = client.operations(limit).await?;
            let operations = operations.into_iter().map(Entry::from).collect();
            context.screen.report(&History { operations, stalled })
        })
        .await
}

#[cfg(test)]
mod tests {
    use moneta_core::id::ModuleInstanceId;
    use moneta_module::client::Timestamp;
    use serde_json::json;

    use super::*;

    fn operation(kind: &str, details: Value, end: Option<End>) -> Operation {
        Operation {
            id: OperationId([1; 32]),
            instance: ModuleInstanceId::new(1),
            kind: kind.to_owned(),
            details,
            begun: Timestamp(1_700_000_000_000),
            end,
        }
    }

    #[test]
    fn history_is_a_list_of_operations_with_state_and_amount() {
        let details = json!({"amount": 1024});
        let operations = vec![operation("send", details, Some(End::Succeeded)).into()];
        let shape = json!({"operations": [{
            "operation_id": "01".repeat(32), "kind": "send", "state": "succeeded",
            "begun_ms": 1_700_000_000_000_u64, "amount_msat": 1024, "details": {"amount": 1024},
        }], "stalled": [stalled::example()]});
        let stalled = vec![stalled::example()];
        let history = History { operations, stalled };
        assert_eq!(json!(history), shape);
        let text = history.text(Style::PLAIN);
        assert!(text.contains("succeeded\n\nNot accepted for 1 minute"), "{text}");
    }

    #[test]
    fn line_shows_values_of_the_chain_in_the_same_unit() {
        let entry = Entry::from(operation("deposit", json!({"value": 1_000_000}), None));
        let line = entry.line(Style::PLAIN);
        assert!(line.starts_with("010101010101  2023-11-14 22:13:20 UTC  deposit"), "{line}");
        assert!(line.ends_with("1 000 000 sat  pending"), "{line}");
        let nothing = History { operations: Vec::new(), stalled: Vec::new() };
        assert_eq!(nothing.text(Style::PLAIN), "nothing was done yet");
    }
}
