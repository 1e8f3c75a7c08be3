//! Calls of wallets.

use moneta_core::api::{Method, endpoint};
use moneta_core::{
    ApiError, ConsensusItem, Encode as _, MeHex, ModuleInstanceId, SessionIndex, SubmissionOutcome,
    Transaction, TransactionId,
};
use moneta_guardian::engine::{Halt, SubmissionError};
use moneta_module::server::{Broken, Reply, View};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{CallId, Effect, Process, Trouble};

/// How long a call waits before it is told to come again.
pub(super) const LONG_POLL_MS: u64 = 50_000;

/// A call that is answered when a row changes.
pub(super) struct Waiting {
    pub(super) call: CallId,
    pub(super) method: Method,
    pub(super) params: Value,
    pub(super) key: Vec<u8>,
    pub(super) since_ms: u64,
}

enum Reached {
    Now(Result<Value, ApiError>),
    Wait(Vec<u8>),
}

impl Process {
    /// Takes a call of a wallet.
    pub(crate) fn call(
        &mut self,
        call: CallId,
        method: Method,
        params: Value,
        now_ms: u64,
    ) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        self.look(call, method, params, now_ms, now_ms, &mut effects)?;
        Ok(effects)
    }

    pub(super) fn look(
        &mut self,
        call: CallId,
        method: Method,
        params: Value,
        since_ms: u64,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        match self.answer(&method, &params)? {
            Reached::Now(result) => effects.push(Effect::Answer(call, method, result)),
            Reached::Wait(key) if now_ms.saturating_sub(since_ms) < LONG_POLL_MS => {
                self.waiting.push(Waiting { call, method, params, key, since_ms });
            }
            Reached::Wait(_) => {
                effects.push(Effect::Answer(call, method, Err(ApiError::timeout())))
            }
        }
        Ok(())
    }

    fn answer(&mut self, method: &Method, params: &Value) -> Result<Reached, Trouble> {
        let view = self.store.snapshot();
        let bad = |error: serde_json::Error| Reached::Now(Err(ApiError::bad_request(error)));
        match method {
            Method::Core(name) if name == endpoint::SUBMIT_TRANSACTION => {
                let transaction = match MeHex::<Transaction>::deserialize(params) {
                    Ok(MeHex(transaction)) => transaction,
                    Err(error) => return Ok(bad(error)),
                };
                self.submit_transaction(&transaction)
            }
            Method::Core(name) if name == endpoint::AWAIT_TRANSACTION => {
                let txid = match TransactionId::deserialize(params) {
                    Ok(txid) => txid,
                    Err(error) => return Ok(bad(error)),
                };
                Ok(match self.engine.is_accepted(&view, txid)? {
                    true => Reached::Now(Ok(json!(txid))),
                    false => Reached::Wait(self.engine.accepted_key(txid)),
                })
            }
            Method::Core(name) if name == endpoint::SESSION_COUNT => {
                Ok(Reached::Now(Ok(json!(self.engine.session_count(&view)?))))
            }
            Method::Core(name) if name == endpoint::AWAIT_SESSION_OUTCOME => {
                let session = match SessionIndex::deserialize(params) {
                    Ok(session) => session,
                    Err(error) => return Ok(bad(error)),
                };
                let signed = self.engine.signed_session(&view, session)?;
                let later = || Err(ApiError::timeout());
                Ok(Reached::Now(signed.map_or_else(later, |s| Ok(json!(MeHex(s.session_outcome))))))
            }
            Method::Core(name) => Ok(Reached::Now(Err(ApiError::not_found(name)))),
            Method::Module(instance, name) => {
                let Some(module) = self.engine.module(*instance) else {
                    return Ok(Reached::Now(Err(ApiError::not_found(instance))));
                };
                let known = module.endpoints().iter().find(|known| known.name == name);
                if known.is_none_or(|known| known.admin) {
                    return Ok(Reached::Now(Err(ApiError::not_found(name))));
                }
                let state = self.engine.module_state(&view, *instance);
                Ok(match module.call(&View { state: &state, salt: 0 }, name, params) {
                    Ok(Reply::Value(value)) => Reached::Now(Ok(value)),
                    Ok(Reply::Json(text)) => match serde_json::from_str(&text) {
                        Ok(value) => Reached::Now(Ok(value)),
                        Err(error) => return Err(Trouble::Broken(error.to_string())),
                    },
                    Ok(Reply::WaitFor(key)) => {
                        Reached::Wait(self.engine.module_key(*instance, &key))
                    }
                    Ok(Reply::Write { .. }) => {
                        return Err(Trouble::Broken("a public endpoint writes".to_owned()));
                    }
                    Err(error) => Reached::Now(Err(error)),
                })
            }
        }
    }

    fn submit_transaction(&mut self, transaction: &Transaction) -> Result<Reached, Trouble> {
        let view = self.store.snapshot();
        match self.engine.check_submission(&view, transaction) {
            Ok(SubmissionOutcome(Ok(txid))) => {
                if self.engine.is_accepted(&view, txid)? {
                    let outcome = SubmissionOutcome(Ok(txid));
                    return Ok(Reached::Now(Ok(json!(MeHex(outcome)))));
                }
                self.submit(ConsensusItem::Transaction(transaction.clone()).to_bytes());
                Ok(Reached::Wait(self.engine.accepted_key(txid)))
            }
            Ok(refused) => Ok(Reached::Now(Ok(json!(MeHex(refused))))),
            // A guardian that lags behind may meet a note whose issue it has not processed yet.
            Err(SubmissionError::Halt(Halt::Module { broken: Broken::Invariant(_), .. })) => {
                Ok(Reached::Now(Err(ApiError::internal("an impossible state"))))
            }
            Err(SubmissionError::Halt(halt)) => Err(halt.into()),
            Err(error) => Ok(Reached::Now(Err(ApiError::bad_request(error)))),
        }
    }

    /// Takes a transaction that is worth nothing: refuses it, and has it ordered nevertheless, as a
    /// guardian in league with its maker would.
    ///
    /// Errors: it is not refused.
    pub(crate) fn take_cheat(&mut self, transaction: &Transaction) -> Result<(), String> {
        let checked = self.engine.check_submission(&self.store.snapshot(), transaction);
        if let Ok(SubmissionOutcome(Ok(txid))) = checked {
            return Err(format!("guardian {} takes the trick {txid}", self.me));
        }
        self.submit(ConsensusItem::Transaction(transaction.clone()).to_bytes());
        Ok(())
    }

    /// What the guardian answers to a plain call of a module, for users who ask just one.
    pub(crate) fn ask(
        &self,
        instance: ModuleInstanceId,
        method: &str,
        params: &Value,
    ) -> Option<Value> {
        let view = self.store.snapshot();
        let state = self.engine.module_state(&view, instance);
        let module = self.engine.module(instance)?;
        match module.call(&View { state: &state, salt: 0 }, method, params) {
            Ok(Reply::Value(value)) => Some(value),
            Ok(Reply::Json(text)) => serde_json::from_str(&text).ok(),
            _ => None,
        }
    }
}
