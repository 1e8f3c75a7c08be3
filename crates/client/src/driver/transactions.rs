//! The driver's steps with transactions: submit, ask for acceptance, settle.

use moneta_core::id::{ModuleInstanceId, TransactionId};
use moneta_core::transaction::ModuleFailure;
use moneta_module::client::{Outcome, Timestamp};
use moneta_store::StoreError;
use serde_json::json;

use super::Driver;
use super::agenda::Owner;
use super::machine::Machine;
use super::submission::{
    Submission, confirm_call, fate_of_confirmation, fate_of_submission, submit_call,
};
use super::tables::{FATES, Fate, MachineId, PENDING};
use super::turn::{Place, TurnHost};
use crate::history::Event;

/// How long an acceptance that no machine waits for stays uncommitted, for the turn that takes the
/// notes: guardians hand out shares and confirm at the same moment, links differ a little.
const SETTLE_WITHIN_MS: u64 = 100;

/// How long a transaction's acceptance is left to be proved by the answers that a machine waits for, before
/// it is asked for as well. Ordering takes a tenth of it, or half of it over slow links; what is
/// not here by then may be held up by something else.
const PROOF_WITHIN_MS: u64 = 1_000;

impl Driver {
    pub(super) fn pursue(&mut self, txid: TransactionId, submission: Submission) {
        self.submissions.insert(txid, submission);
        self.agenda.touch(Owner::Submit(txid));
        self.agenda.touch(Owner::Confirm(txid));
        self.agenda.touch(Owner::Patience(txid));
    }

    /// Tells listeners when a transaction's fate has been open for long.
    pub(super) fn step_patience(&mut self, txid: TransactionId, now: Timestamp) {
        let Some(submission) = self.submissions.get_mut(&txid) else { return };
        if submission.lose_patience(now) {
            let operation = submission.pending.operation;
            let attempt = submission.attempts;
            let elapsed_s = submission.elapsed_ms(now) / 1000;
            tracing::warn!(%txid, attempt, elapsed_s, "transaction is not accepted yet");
            let payload = json!({
                "txid": txid, "operation_id": operation, "attempt": attempt, "elapsed_s": elapsed_s,
            });
            self.events.push(Event::passing(operation, "tx-submission-stalled", payload, now));
        }
        self.agenda.set_timer(Owner::Patience(txid), submission.patience_ends());
    }

    pub(super) fn step_submit(
        &mut self,
        txid: TransactionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(submission) = self.submissions.get_mut(&txid) else { return Ok(()) };
        let Submission { pending, submit: round, attempts, .. } = submission;
        if let Some((asking, outcome)) = round.outcome(now) {
            self.calls.close(asking);
            if let Some(fate) = fate_of_submission(&outcome) {
                return self.settle(txid, fate, now);
            }
            if let Outcome::CallRefused { code, message } = outcome {
                tracing::warn!(%txid, code, message, "guardians do not take the transaction");
            }
            round.pause(now);
        }
        let is_begun = round.begin_if_due(now, || submit_call(&pending.transaction, self.size));
        *attempts = attempts.saturating_add(u64::from(is_begun));
        if let Some(asking) = &mut round.asking {
            self.calls.send(Owner::Submit(txid), asking, now);
        }
        self.agenda.set_timer(Owner::Submit(txid), round.next_wakeup());
        Ok(())
    }

    pub(super) fn step_confirm(
        &mut self,
        txid: TransactionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_proved_soon = self.machines.values().any(|machine| machine.proves() == Some(txid));
        let Some(submission) = self.submissions.get_mut(&txid) else { return Ok(()) };
        let due = Timestamp(submission.pending.created_ms).after_ms(PROOF_WITHIN_MS);
        if is_proved_soon && now < due {
            self.agenda.set_timer(Owner::Confirm(txid), Some(due));
            return Ok(());
        }
        let round = &mut submission.confirm;
        if let Some((asking, outcome)) = round.outcome(now) {
            self.calls.close(asking);
            if let Some(fate) = fate_of_confirmation(&outcome, txid) {
                return self.settle(txid, fate, now);
            }
            round.pause(now);
        }
        round.begin_if_due(now, || confirm_call(txid, self.size));
        if let Some(asking) = &mut round.asking {
            self.calls.send(Owner::Confirm(txid), asking, now);
        }
        self.agenda.set_timer(Owner::Confirm(txid), round.next_wakeup());
        Ok(())
    }

    /// A machine went on with answers that nobody gives before this transaction is accepted.
    pub(super) fn settle_proved(
        &mut self,
        proved: Option<TransactionId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        proved.map_or(Ok(()), |txid| self.settle(txid, Fate::Accepted, now))
    }

    /// Records the fate of a transaction and wakes whoever waits for it; both end in one commit.
    fn settle(
        &mut self,
        txid: TransactionId,
        fate: Fate,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(submission) = self.submissions.get(&txid) else { return Ok(()) };
        let operation = submission.pending.operation;
        let snapshot = self.store.snapshot();
        let view = self.stage.over(&snapshot);
        // The event is the driver's own, whatever instance the place names.
        let instance = ModuleInstanceId::RESERVED;
        let place = Place { now, instance, operation, origin: None };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        match &fate {
            Fate::Accepted => {
                let payload = json!({ "txid": txid, "operation_id": operation });
                host.note_of_driver("tx-accepted", payload);
            }
            Fate::Rejected { error } => {
                let error = error.to_text(|failure| {
                    let instance = match failure {
                        ModuleFailure::Input(error) => error.instance,
                        ModuleFailure::Output(error) => error.instance,
                    };
                    let module = self.modules.get(&instance);
                    let text = module.and_then(|module| module.failure_text(failure));
                    text.unwrap_or_else(|| format!("{failure:?}"))
                });
                let payload = json!({ "txid": txid, "error": error, "operation_id": operation });
                host.note_of_driver("tx-rejected", payload);
            }
        }
        PENDING.remove(host.wallet(), &txid);
        FATES.insert(host.wallet(), &txid, &fate);
        let (batch, effects) = host.finish()?;
        let accepted = matches!(fate, Fate::Accepted);
        let waits = |machine: &Machine| {
            let wait = machine.wait.transaction.filter(|wait| wait.txid == txid);
            wait.is_some_and(|wait| wait.accepted || !accepted)
        };
        let waiting: Vec<MachineId> =
            self.machines.iter().filter(|(_, machine)| waits(machine)).map(|(id, _)| *id).collect();
        let may_wait = accepted && waiting.is_empty();
        let by = if may_wait { now.after_ms(SETTLE_WITHIN_MS) } else { now };
        self.keep(batch, effects, by)?;

        if let Some(Submission { submit, confirm, .. }) = self.submissions.remove(&txid) {
            let askings = [submit.asking, confirm.asking];
            askings.into_iter().flatten().for_each(|asking| self.calls.close(asking));
        }
        for owner in [Owner::Submit(txid), Owner::Confirm(txid), Owner::Patience(txid)] {
            self.agenda.set_timer(owner, None);
        }
        for id in waiting {
            self.agenda.touch(Owner::Machine(id));
        }
        Ok(())
    }
}
