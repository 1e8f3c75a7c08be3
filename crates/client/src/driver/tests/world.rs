//! A driver among scripted guardians, on a disk that can crash.

use std::collections::BTreeSet;
use std::fmt;

use moneta_core::amount::Msat;
use moneta_core::api::endpoint;
use moneta_core::id::TransactionId;
use moneta_core::peers::FederationSize;
use moneta_core::text::MeHex;
use moneta_core::transaction::{SubmissionOutcome, Transaction, TransactionError};
use moneta_module::client::{SubmitError, Timestamp, Turn};
use moneta_module::erased::erase_client;
use moneta_store::StoreError;
use moneta_store::testing::CrashProne;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{ActError, Driver, Modules, Request};
use super::bank::{BANK, Bank, Step};
use crate::query::CallFailure;

pub(super) const START: Timestamp = Timestamp(1_000_000);

/// How a guardian behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guardian {
    /// Takes, orders and confirms.
    Honest,
    /// Never answers.
    Dead,
    /// Answers every call with nonsense.
    Lying,
    /// Answers every call with an error.
    Refusing,
    /// Calls every transaction invalid, and confirms none.
    Rejecting,
    /// Says it took a transaction, and does not.
    Forgetful,
}

pub(super) struct World {
    pub(super) disk: CrashProne,
    pub(super) guardians: Vec<Guardian>,
    pub(super) now: Timestamp,
    pub(super) accepted: BTreeSet<TransactionId>,
    /// How many calls of `submit_transaction` were made.
    pub(super) submits: usize,
    /// How many calls of `await_transaction` were made.
    pub(super) confirms: usize,
    driver: Option<Driver>,
    /// Calls to honest guardians that wait for acceptance.
    polling: Vec<(Request, TransactionId)>,
    lives: u64,
}

impl World {
    pub(super) fn new(total: usize) -> Self {
        let mut world = Self {
            disk: CrashProne::new(),
            guardians: vec![Guardian::Honest; total],
            now: START,
            accepted: BTreeSet::new(),
            submits: 0,
            confirms: 0,
            driver: None,
            polling: Vec::new(),
            lives: 0,
        };
        world.restart();
        world
    }

    /// Ends the process, if one runs, and starts the next.
    pub(super) fn restart(&mut self) {
        self.polling.clear();
        self.driver = None;
        self.lives += 1;
        let modules = Modules::from([(BANK, erase_client(Bank))]);
        let rng = Box::new(StdRng::seed_from_u64(self.lives));
        let size = FederationSize::new(self.guardians.len()).unwrap();
        self.driver = Some(Driver::open(self.disk.start(), size, modules, rng).unwrap());
    }

    pub(super) fn driver(&self) -> &Driver {
        self.driver.as_ref().unwrap()
    }

    pub(super) fn driver_mut(&mut self) -> &mut Driver {
        self.driver.as_mut().unwrap()
    }

    /// Takes an action whose errors are values, on a store that works.
    pub(super) fn act<T>(&mut self, action: impl FnOnce(&Bank, &mut Turn<'_, Step>) -> T) -> T
    where
        T: IntoActed,
    {
        let now = self.now;
        let mut value = None;
        let acted = self.driver_mut().act(BANK, now, |bank: &Bank, turn| {
            let acted = action(bank, turn);
            let failed = acted.is_failed();
            value = Some(acted);
            if failed { Err(()) } else { Ok(()) }
        });
        assert!(matches!(acted, Ok(()) | Err(ActError::Action(()))));
        value.unwrap()
    }

    /// Takes an action.
    pub(super) fn try_act<T, R: Into<Acted<T>>>(
        &mut self,
        action: impl FnOnce(&Bank, &mut Turn<'_, Step>) -> R,
    ) -> Result<Option<T>, ActError<SubmitError>> {
        let now = self.now;
        self.driver_mut().act(BANK, now, |bank: &Bank, turn| action(bank, turn).into().0)
    }

    /// Answers calls until all is quiet, without any time passing.
    pub(super) fn run(&mut self) {
        self.try_run().unwrap();
    }

    pub(super) fn try_run(&mut self) -> Result<(), StoreError> {
        let now = self.now;
        loop {
            let mut requests = self.driver_mut().poll(now)?;
            let confirmed = |(request, txid): &(Request, TransactionId)| {
                let behaviour = self.guardians[request.peer.index()];
                behaviour != Guardian::Rejecting && self.accepted.contains(txid)
            };
            let (done, polling) =
                std::mem::take(&mut self.polling).into_iter().partition(confirmed);
            self.polling = polling;
            let done: Vec<(Request, TransactionId)> = done;
            if requests.is_empty() && done.is_empty() {
                return Ok(());
            }
            for (request, txid) in done {
                self.driver_mut().on_response(request.id, Ok(json!(txid)), now);
            }
            // The last guardian answers first: no order is to be relied on.
            requests.reverse();
            for request in requests {
                self.serve(request);
            }
        }
    }

    /// Runs while time passes, as it does when something is due.
    pub(super) fn run_for(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        self.run();
        while let Some(wakeup) = self.driver().next_wakeup().filter(|time| *time <= end) {
            self.now = wakeup.max(self.now);
            self.run();
        }
        self.now = end;
    }

    fn serve(&mut self, request: Request) {
        let method = request.method.to_string();
        self.submits += usize::from(method == endpoint::SUBMIT_TRANSACTION);
        self.confirms += usize::from(method == endpoint::AWAIT_TRANSACTION);
        let answer = match self.guardians[request.peer.index()] {
            Guardian::Dead => return,
            Guardian::Lying => Ok(json!(["00"])),
            Guardian::Refusing => Err(CallFailure::Refused { code: 400, message: "no".to_owned() }),
            behaviour => match method.as_str() {
                endpoint::SUBMIT_TRANSACTION => Ok(self.submit(behaviour, &request.params)),
                endpoint::AWAIT_TRANSACTION => {
                    let txid = TransactionId::deserialize(&request.params).unwrap();
                    self.polling.push((request, txid));
                    return;
                }
                "module_5_owed" if request.params == json!({ "to": "me" }) => Ok(json!(100)),
                "module_5_owed" => return,
                other => panic!("unexpected call {other}"),
            },
        };
        let now = self.now;
        self.driver_mut().on_response(request.id, answer, now);
    }

    fn submit(&mut self, behaviour: Guardian, params: &Value) -> Value {
        let MeHex(transaction) = MeHex::<Transaction>::deserialize(params).unwrap();
        let txid = transaction.txid();
        let outcome = match behaviour {
            Guardian::Rejecting => Err(TransactionError::UnbalancedTransaction {
                inputs: Msat(1),
                outputs: Msat(2),
                fee: Msat(0),
            }),
            Guardian::Forgetful => Ok(txid),
            _ => {
                self.accepted.insert(txid);
                Ok(txid)
            }
        };
        serde_json::to_value(MeHex(SubmissionOutcome(outcome))).unwrap()
    }
}

/// What an action gives: nothing, or a result.
pub(super) struct Acted<T>(Result<Option<T>, SubmitError>);

impl From<()> for Acted<()> {
    fn from((): ()) -> Self {
        Self(Ok(Some(())))
    }
}

impl<T> From<Result<T, SubmitError>> for Acted<T> {
    fn from(result: Result<T, SubmitError>) -> Self {
        Self(result.map(Some))
    }
}

/// Whether an action failed, and its turn is to be undone.
pub(super) trait IntoActed {
    fn is_failed(&self) -> bool;
}

impl IntoActed for () {
    fn is_failed(&self) -> bool {
        false
    }
}

impl<T> IntoActed for Result<T, SubmitError> {
    fn is_failed(&self) -> bool {
        self.is_err()
    }
}

/// The store's failure in an action that cannot fail otherwise.
pub(super) fn store_failure<E: fmt::Debug>(error: ActError<E>) -> StoreError {
    match error {
        ActError::Store(failure) => failure,
        other => panic!("{other:?}"),
    }
}
