//! The rules of agreement.
//!
//! Source: docs/protocol/guardian.md, sections 6.3 and 6.4.

use std::collections::BTreeMap;

use moneta_core::api::ApiError;
use moneta_core::version::ApiVersion;
use moneta_core::{Decode, Encode, ModuleKind, OutPoint, PeerId};
use moneta_module::server::{
    ChainStatus, Endpoint, Fault, InputEffect, ItemRefused, OutputEffect, Processing, Reply,
    ServerModule, View,
};
use moneta_module::setup::Seat;
use moneta_store::{Order, Read, StoreError, Table, WriteSet};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::words::{
    API_VERSION, ConsensusValue, KIND, MAX_VALUE_BYTES, MetaInputError, MetaItem, MetaKey,
    MetaOutputError, MetaValue, NoValue, SubmitRequest,
};

/// What is agreed.
const AGREED: Table<MetaKey, ConsensusValue> = Table::new(0x01);
/// Votes that have not led to agreement yet.
const PENDING: Table<(MetaKey, PeerId), Vote> = Table::new(0x02);
/// What this guardian wants; not consensus state.
const WISHES: Table<MetaKey, Vote> = Table::new(0x80);

/// A value with the salt of its submission.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Vote {
    salt: u64,
    value: MetaValue,
}

/// The server half.
#[derive(Debug)]
pub struct MetaServer {
    seat: Seat,
}

impl MetaServer {
    /// Opens the module for one guardian.
    pub fn new(seat: Seat) -> Self {
        Self { seat }
    }

    fn pending(&self, state: &dyn Read, key: MetaKey) -> Result<Vec<(PeerId, Vote)>, StoreError> {
        let rows = PENDING.starting_with(state, &key, Order::Ascending);
        rows.map(|row| row.map(|((_, peer), vote)| (peer, vote))).collect()
    }
}

impl ServerModule for MetaServer {
    type Input = NoValue;
    type Output = NoValue;
    type Item = MetaItem;
    type InputError = MetaInputError;
    type OutputError = MetaOutputError;

    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn process_input(
        &self,
        _: &mut Processing<'_>,
        _: &NoValue,
    ) -> Result<InputEffect, Fault<MetaInputError>> {
        Err(Fault::Refused(MetaInputError::NotSupported))
    }

    fn process_output(
        &self,
        _: &mut Processing<'_>,
        _: &NoValue,
        _: OutPoint,
    ) -> Result<OutputEffect, Fault<MetaOutputError>> {
        Err(Fault::Refused(MetaOutputError::NotSupported))
    }

    fn process_item(
        &self,
        call: &mut Processing<'_>,
        peer: PeerId,
        item: &MetaItem,
    ) -> Result<(), Fault<ItemRefused>> {
        let MetaItem { salt, key, value } = item;
        let vote = Vote { salt: *salt, value: value.clone() };
        let state = &mut *call.state;
        let former = PENDING.get(state, &(*key, peer))?;
        if former.is_some_and(|former| former != vote) {
            PENDING.remove(state, &(*key, peer));
        }
        let agreed = AGREED.get(state, key)?;
        if agreed.as_ref().is_some_and(|agreed| agreed.value == *value) {
            // Voting for what is agreed withdraws an older vote and stays in history.
            return Ok(());
        }
        PENDING.insert(state, &(*key, peer), &vote);
        let mut supporters = self.pending(state, *key)?;
        supporters.retain(|(_, vote)| vote.value == *value);
        if supporters.len() >= self.seat.size.threshold() {
            let revision = agreed.map_or(0, |agreed| agreed.revision.saturating_add(1));
            AGREED.insert(state, key, &ConsensusValue { revision, value: value.clone() });
            for (supporter, _) in supporters {
                PENDING.remove(state, &(*key, supporter));
            }
        }
        Ok(())
    }

    fn proposals(
        &self,
        state: &dyn Read,
        _: Option<&ChainStatus>,
    ) -> Result<Vec<MetaItem>, StoreError> {
        let mut items = Vec::new();
        for row in WISHES.scan(state, Order::Ascending) {
            let (key, wish) = row?;
            let own_vote = PENDING.get(state, &(key, self.seat.me))?;
            let is_agreed = AGREED.get(state, &key)?.is_some_and(|a| a.value == wish.value);
            let propose = match (&own_vote, is_agreed) {
                (Some(vote), _) if *vote == wish => false,
                (vote, true) => vote.is_some(),
                (_, false) => true,
            };
            if propose {
                items.push(MetaItem { salt: wish.salt, key, value: wish.value });
            }
        }
        Ok(items)
    }

    fn audit(&self, _: &dyn Read) -> Result<i128, StoreError> {
        Ok(0)
    }

    fn api_version(&self) -> ApiVersion {
        API_VERSION
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        const ENDPOINTS: [Endpoint; 4] = [
            Endpoint::admin("submit"),
            Endpoint::public("get_consensus"),
            Endpoint::public("get_consensus_rev"),
            Endpoint::admin("get_submission"),
        ];
        &ENDPOINTS
    }

    fn call(&self, view: &View<'_>, endpoint: &str, params: &Value) -> Result<Reply, ApiError> {
        let state = view.state;
        match endpoint {
            "submit" => self.submit(view, parse(params)?),
            "get_consensus" => {
                let agreed = AGREED.get(state, &parse(params)?).map_err(store_failed)?;
                Ok(Reply::Value(json!(agreed)))
            }
            "get_consensus_rev" => {
                let agreed = AGREED.get(state, &parse(params)?).map_err(store_failed)?;
                Ok(Reply::Value(json!(agreed.map(|agreed| agreed.revision))))
            }
            "get_submission" => {
                let pending = self.pending(state, parse(params)?).map_err(store_failed)?;
                let by_peer: BTreeMap<PeerId, MetaValue> =
                    pending.into_iter().map(|(peer, vote)| (peer, vote.value)).collect();
                Ok(Reply::Value(json!(by_peer)))
            }
            other => Err(ApiError::not_found(other)),
        }
    }
}

impl MetaServer {
    fn submit(&self, view: &View<'_>, request: SubmitRequest) -> Result<Reply, ApiError> {
        let SubmitRequest { key, value } = request;
        let size = value.0.len();
        if size > MAX_VALUE_BYTES {
            let message = format!("the value has {size} bytes, at most {MAX_VALUE_BYTES} fit");
            return Err(ApiError::bad_request(message));
        }
        let mut writes = WriteSet::new(view.state);
        WISHES.insert(&mut writes, &key, &Vote { salt: view.salt, value });
        Ok(Reply::Write { batch: writes.into_batch(), value: Value::Null })
    }
}

fn parse<T: DeserializeOwned>(params: &Value) -> Result<T, ApiError> {
    T::deserialize(params).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn store_failed(error: StoreError) -> ApiError {
    ApiError::internal(error.to_string())
}

#[cfg(test)]
mod tests;
