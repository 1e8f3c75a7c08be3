//! Transactions that guardians have not accepted for long: what it means and what to do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moneta_client::driver::Unsettled;
use moneta_client::online::Client;
use moneta_core::id::{OperationId, TransactionId};
use moneta_module::client::Timestamp;
use serde::Serialize;

use super::screen::Style;

/// From this age on an open transaction is worth a word. A healthy federation accepts in well under a
/// second, and a call that was lost is made again within some.
const LONG: Duration = Duration::from_secs(10);
/// How long a transaction that was left open by an earlier command may take in this one before it is told:
/// the wallet may have been closed for a week.
const CHANCE: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What people are told, after the transactions.
const ADVICE: &str = "Too few guardians answer, or they do not take it now. Nothing is lost, and nothing \
                      must be paid again: the wallet sends it until the guardians have decided, whenever \
                      a command runs. Check your connection; `moneta show ID --wait` waits for the end. \
                      If it stays for hours, tell the guardians.";

/// A transaction that was made long ago and neither accepted nor rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stalled {
    txid: TransactionId,
    pub(super) operation_id: Option<OperationId>,
    /// When it was made.
    since_ms: u64,
    /// How long ago that is.
    for_s: u64,
}

/// The stalled transactions. Those that are old are given a moment first.
pub(super) async fn stalled(client: &Client) -> Vec<Stalled> {
    let settling = async {
        while !long_open(client.unsettled().await, now()).is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(CHANCE, settling).await {
        Ok(()) => Vec::new(),
        Err(_) => long_open(client.unsettled().await, now()),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn long_open(unsettled: Vec<Unsettled>, now: Timestamp) -> Vec<Stalled> {
    let age = |late: &Unsettled| Duration::from_millis(now.0.saturating_sub(late.created.0));
    let long = unsettled.into_iter().filter(|late| late.is_stalled || age(late) >= LONG);
    let stalled = |late: Unsettled| Stalled {
        txid: late.txid,
        operation_id: late.operation,
        since_ms: late.created.0,
        for_s: age(&late).as_secs(),
    };
    long.map(stalled).collect()
}

/// What people are told of them; `None` if there are none.
pub(super) fn warning(stalled: &[Stalled], style: Style) -> Option<String> {
    if stalled.is_empty() {
        return None;
    }
    let mut text = String::new();
    for Stalled { txid, operation_id, for_s, .. } in stalled {
        let operation = operation_id.map(|id| format!(", operation {id}")).unwrap_or_default();
        let line = format!("Not accepted for {}: transaction {txid}{operation}", readable(*for_s));
        text.push_str(&style.bad(line));
        text.push('\n');
    }
    text.push_str(ADVICE);
    Some(text)
}

/// A length of time in the unit that fits it, rounded down.
fn readable(seconds: u64) -> String {
    let units = [("day", 86_400), ("hour", 3_600), ("minute", 60)];
    let fitting = units.into_iter().find(|(_, length)| seconds >= *length);
    let (unit, length) = fitting.unwrap_or(("second", 1));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
pub(super) fn example() -> Stalled {
    let (txid, operation_id) = (TransactionId([3; 32]), Some(OperationId([1; 32])));
    Stalled { txid, operation_id, since_ms: 5_000, for_s: 90 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_open_for_long_is_stalled() {
        let made = |byte: u8, age_ms: u64, is_stalled| Unsettled {
            txid: TransactionId([byte; 32]),
            operation: None,
            created: Timestamp(1_000_000 - age_ms),
            attempts: 1,
            is_stalled,
        };
        let open = vec![made(1, 9_999, false), made(2, 10_000, false), made(3, 5_000, true)];
        let found = long_open(open, Timestamp(1_000_000));
        let shown: Vec<_> = found.iter().map(|late| (late.txid.0[0], late.for_s)).collect();
        assert_eq!(shown, [(2, 10), (3, 5)]);
        // A clock that was set back is no reason to panic.
        assert_eq!(long_open(vec![made(1, 0, true)], Timestamp(0))[0].for_s, 0);
    }

    #[test]
    fn stalled_transaction_is_told_with_its_meaning_and_what_to_do() {
        let shape = json!({
            "txid": "03".repeat(32), "operation_id": "01".repeat(32), "since_ms": 5_000, "for_s": 90,
        });
        assert_eq!(json!(example()), shape);
        let text = warning(&[example()], Style::PLAIN).unwrap_or_default();
        assert!(text.starts_with("Not accepted for 1 minute: transaction 0303"), "{text}");
        for part in ["Nothing is lost", "moneta show ID --wait", "Check your connection"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(warning(&[], Style::PLAIN), None);
    }

    #[test]
    fn lengths_of_time_have_the_unit_that_fits() {
        let shown = [0, 1, 59, 60, 7_200, 86_399, 200_000].map(readable);
        let expected =
            ["0 seconds", "1 second", "59 seconds", "1 minute", "2 hours", "23 hours", "2 days"];
        assert_eq!(shown, expected);
    }
}
