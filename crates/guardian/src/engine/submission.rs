//! Submissions: would these transactions be accepted now? Nothing is written.
//!
//! Those that wait at the same time are checked together, since most of a check is a pairing that
//! one transaction needs as much as fifty. They come from strangers, and one bad note spoils the
//! check of all: then each transaction is checked alone, as if it had come alone. So a liar costs the
//! others the one check that was in vain, a small part of what theirs cost apart, and no verdict; and
//! its own transaction costs twice an honest one at most (`prepare_transaction`).

use std::collections::BTreeMap;

use moneta_core::{ModuleInstanceId, SubmissionOutcome, Transaction, TransactionId};
use moneta_module::erased::Decoded;
use moneta_module::server::{Broken, Facts, Pass};
use moneta_store::{Read, StoreError, WriteSet};

use super::transaction::{DecodedTransaction, Failure};
use super::{Engine, Halt, UnitError};

/// What is answered to a submission: `Ok` if the transaction was accepted before or would be
/// accepted now, else the error that all guardians give.
pub type Verdict = Result<SubmissionOutcome, SubmissionError>;

/// Why a submission got no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    /// Refused: it does not decode with the modules of this federation.
    #[error("the transaction does not decode: {0}")]
    Unknown(UnitError),
    /// Unavailable: try again.
    #[error("the transaction cannot be checked right now")]
    NotNow,
    /// Unavailable: by this guardian's books the transaction cannot be, such as more notes spent than
    /// issued. A guardian that is behind finds so in honest transactions that rest on what it has not
    /// seen yet. Were its books wrong, it would halt when the transaction is ordered.
    #[error("this guardian cannot judge the transaction before it has caught up with the others")]
    Behind {
        /// Which module.
        instance: ModuleInstanceId,
        /// What it found.
        broken: Broken,
    },
    /// Broken: the guardian must halt.
    #[error(transparent)]
    Halt(Halt),
}

impl From<StoreError> for SubmissionError {
    fn from(error: StoreError) -> Self {
        Self::Halt(Halt::Store(error))
    }
}

impl Engine {
    /// Answers one submission against the current state.
    pub fn check_submission(&self, state: &dyn Read, transaction: &Transaction) -> Verdict {
        let decoded = match self.open_submission(state, transaction)? {
            Opened::Known(txid) => return Ok(SubmissionOutcome(Ok(txid))),
            Opened::New(decoded) => decoded,
        };
        self.prepare_transaction(&decoded);
        self.judge(state, &decoded)
    }

    /// Answers submissions against the current state, each as [`Engine::check_submission`] does and
    /// without regard to the others, at a fraction of the work. In the order given.
    pub fn check_submissions(
        &self,
        state: &dyn Read,
        transactions: &[&Transaction],
    ) -> Vec<Verdict> {
        let opened: Vec<_> = transactions
            .iter()
            .map(|transaction| self.open_submission(state, transaction))
            .collect();
        let new: Vec<_> = opened
            .iter()
            .filter_map(|opened| match opened {
                Ok(Opened::New(decoded)) => Some(decoded),
                _ => None,
            })
            .collect();
        self.prepare_submissions(&new);
        let answer = |opened| match opened {
            Ok(Opened::Known(txid)) => Ok(SubmissionOutcome(Ok(txid))),
            Ok(Opened::New(decoded)) => self.judge(state, &decoded),
            Err(error) => Err(error),
        };
        opened.into_iter().map(answer).collect()
    }

    /// Does what is left to do for submissions that passed, before consensus orders them: signs their
    /// outputs.
    pub fn prepare_outputs(&self, transactions: &[&Transaction]) {
        let decoded: Vec<_> =
            transactions.iter().filter_map(|it| self.decode_transaction(it).ok()).collect();
        for (instance, module) in self.modules() {
            let outputs = decoded.iter().flat_map(|transaction| &transaction.outputs);
            let outputs: Vec<_> =
                outputs.filter_map(|(of, output)| (*of == instance).then_some(output)).collect();
            if !outputs.is_empty() {
                module.prepare(&[], &outputs);
            }
        }
    }

    fn open_submission(
        &self,
        state: &dyn Read,
        transaction: &Transaction,
    ) -> Result<Opened, SubmissionError> {
        let txid = transaction.txid();
        if self.is_accepted(state, txid)? {
            return Ok(Opened::Known(txid));
        }
        self.decode_transaction(transaction).map(Opened::New).map_err(SubmissionError::Unknown)
    }

    fn prepare_submissions(&self, transactions: &[&DecodedTransaction]) {
        let mut inputs: BTreeMap<ModuleInstanceId, Vec<&Decoded>> = BTreeMap::new();
        for (instance, input) in transactions.iter().flat_map(|transaction| &transaction.inputs) {
            inputs.entry(*instance).or_default().push(input);
        }
        let together = transactions.len() > 1
            && self.modules().all(|(instance, module)| {
                inputs.get(&instance).is_none_or(|inputs| module.prepare_together(inputs))
            });
        if !together {
            transactions.iter().for_each(|transaction| self.prepare_transaction(transaction));
        }
    }

    fn judge(&self, state: &dyn Read, transaction: &DecodedTransaction) -> Verdict {
        let txid = transaction.txid;
        let mut writes = WriteSet::new(state);
        match self.process_transaction(&mut writes, transaction, &Facts::default(), Pass::Trial) {
            Ok(()) => Ok(SubmissionOutcome(Ok(txid))),
            Err(Failure::Refused(error)) => Ok(SubmissionOutcome(Err(*error))),
            Err(Failure::Blocked(need)) => {
                tracing::debug!(?need, "a transaction asked for outside data");
                Err(SubmissionError::NotNow)
            }
            Err(Failure::Halt(Halt::Module { instance, broken })) => {
                Err(SubmissionError::Behind { instance, broken })
            }
            Err(Failure::Halt(halt)) => Err(SubmissionError::Halt(halt)),
        }
    }
}

/// A submission whose module values are decoded, unless there is no need to.
enum Opened {
    /// Accepted before.
    Known(TransactionId),
    New(DecodedTransaction),
}
