//! What rejected transactions asked for, looked at again.
//!
//! A rejection says that a transaction was not valid when a threshold of guardians looked at it.
//! Whoever has seen it, and every guardian has, can have it ordered later, when it is: a feerate
//! falls, and the fee that was too low is enough. As soon as the notes it spent are reissued, or the
//! deposit it claimed is claimed by its successor, it never can. But one guardian may be faster than
//! that; then the transaction has happened after all, and nobody but this wallet can have its notes.
//! So they are asked for a few times, further and further apart. Nearly always they do not exist.
//!
//! ```text
//! rejected -> noted --grinder, when due--> Void --shares--> notes in stock, forgotten
//!               ^                            |
//!               '---- a few seconds later ---'  the fourth time: forgotten
//! ```
//! A note is forgotten in the turn that puts it into the stock. After a crash the check is repeated.

use moneta_core::id::OutPointRange;
use moneta_core::{Decode, Encode};
use moneta_module::client::{Call, Note, Outcome, Stop, Strategy, Target, Timestamp, Wait};
use serde_json::json;

use super::keys::NoteRequest;
use super::stock::VoidOutputs;
use super::{Machine, MintClient, MintTurn, bundle, stock};

/// How long after the check before, or the rejection, each check takes place: a minute, ten, an hour,
/// a day. The successor of a rejected transaction settles the matter within seconds as a rule.
const CHECK_AFTER_MS: [u64; 4] = [60_000, 600_000, 3_600_000, 86_400_000];
/// How long a check waits for guardians. They answer at once if there is anything.
const PATIENCE_MS: u64 = 10_000;

/// One look at the outputs of a rejected transaction.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VoidCheck {
    /// Where the outputs would stand.
    pub range: OutPointRange,
    /// What they would be.
    pub requests: Vec<NoteRequest>,
    /// Until when, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

impl VoidCheck {
    pub(super) fn wait(&self) -> Wait {
        let call = Call {
            target: Target::Module("signature_shares"),
            params: json!(self.range),
            strategy: Strategy::JudgeAll,
        };
        Wait::call(call).or_until(Timestamp(self.until_ms))
    }
}

impl MintClient {
    /// Notes what a rejected transaction asked for.
    pub(super) fn note_void(
        &self,
        turn: &mut MintTurn<'_>,
        range: OutPointRange,
        requests: Vec<NoteRequest>,
    ) {
        if requests.is_empty() {
            return;
        }
        let due_ms = turn.now().after_ms(CHECK_AFTER_MS[0]).0;
        let outputs = VoidOutputs { range, requests, checks: 0, due_ms };
        stock::put_void(&mut *turn.state(), &outputs);
    }

    /// Starts the checks that are due.
    pub(super) fn check_void(&self, turn: &mut MintTurn<'_>) -> Result<(), Stop> {
        let now = turn.now();
        let noted = stock::void(&*turn.state())?;
        for mut outputs in noted {
            if outputs.due_ms > now.0 {
                continue;
            }
            let VoidOutputs { range, requests, .. } = outputs.clone();
            let until_ms = now.after_ms(PATIENCE_MS).0;
            turn.spawn(&Machine::Void(VoidCheck { range, requests, until_ms }));
            outputs.checks = outputs.checks.saturating_add(1);
            let pause = usize::try_from(outputs.checks).ok();
            match pause.and_then(|checks| CHECK_AFTER_MS.get(checks)) {
                Some(pause_ms) => {
                    outputs.due_ms = now.after_ms(*pause_ms).0;
                    stock::put_void(&mut *turn.state(), &outputs);
                }
                None => stock::remove_void(&mut *turn.state(), &range),
            }
        }
        Ok(())
    }

    pub(super) fn advance_void(
        &self,
        turn: &mut MintTurn<'_>,
        check: VoidCheck,
        outcome: Outcome,
    ) -> Result<(), Stop> {
        let Outcome::Answers(answers) = outcome else { return Ok(()) };
        let notes = self.collect(&check.requests, &answers)?;
        Self::put_all(&mut *turn.state(), &notes)?;
        stock::remove_void(&mut *turn.state(), &check.range);
        let payload = json!({
            "module_id": self.env.instance,
            "txid": check.range.txid,
            "amount": bundle::value_of(&notes),
        });
        turn.note(Note { kind: "notes-of-rejected-transaction", payload, end: None });
        Ok(())
    }
}
