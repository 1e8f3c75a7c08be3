//! `moneta guardian audit`.

use moneta_core::api::{AuditView, endpoint};
use serde::Serialize;
use serde_json::Value;

use super::admin::Admin;
use crate::wallet_cli::amount::readable_signed;
use crate::wallet_cli::failure::Failure;
use crate::wallet_cli::screen::{Fields, Report, Style};

/// The JSON is the guardian's own: msat, assets positive, liabilities negative.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Audit(AuditView);

impl Report for Audit {
    fn text(&self, style: Style) -> String {
        let AuditView { net_assets, module_summaries } = &self.0;
        let mut rows: Vec<_> = module_summaries
            .iter()
            .map(|(id, module)| (format!("{} ({id})", module.kind), module.net_assets))
            .collect();
        rows.push(("sum".to_owned(), *net_assets));
        let amounts: Vec<_> = rows.iter().map(|(_, msat)| readable_signed(*msat)).collect();
        let width = amounts.iter().map(String::len).max().unwrap_or(0);
        let mut fields = Fields::default();
        for ((name, _), amount) in rows.iter().zip(&amounts) {
            fields.add(name, format!("{amount:>width$}"));
        }
        let verdict = match *net_assets < 0 {
            true => style.bad("The federation owes more than it has."),
            false => style.good("The federation has at least what it owes."),
        };
        format!("{}\n{verdict}", fields.text(style))
    }
}

/// Runs the command.
pub(super) async fn run(admin: &Admin<'_>) -> Result<(), Failure> {
    let view = admin.call(endpoint::AUDIT, Value::Null).await?;
    admin.context.screen.report(&Audit(view))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn balance_sheet_lists_modules_and_sum_with_a_verdict() {
        let shape = json!({"net_assets": 1500, "module_summaries": {
            "0": {"net_assets": -900_500, "kind": "mintv2"},
            "1": {"net_assets": 902_000, "kind": "walletv2"}}});
        let audit = Audit(serde_json::from_value(shape.clone()).unwrap());
        assert_eq!(json!(audit), shape);
        let text = audit.text(Style::PLAIN);
        assert!(text.contains("mintv2 (0)    -900.500 sat"), "{text}");
        assert!(text.contains("has at least what it owes"), "{text}");
    }
}
