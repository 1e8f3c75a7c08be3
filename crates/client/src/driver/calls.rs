//! Calls that are to be made, and those that are out.

use std::collections::BTreeMap;

use moneta_core::api::Method;
use moneta_core::id::PeerId;
use moneta_module::client::Timestamp;
use serde_json::Value;

use super::agenda::Owner;
use crate::query::Query;

/// A call's number, unique in the life of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A call to be made to one guardian.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// To hand the answer back with.
    pub id: RequestId,
    /// Whom to call.
    pub peer: PeerId,
    /// What to call.
    pub method: Method,
    /// The parameter.
    pub params: Value,
}

/// A query together with the call it makes. Close it with [`Calls::close`].
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) query: Query,
    method: Method,
    params: Value,
    open: BTreeMap<PeerId, RequestId>,
}

impl Asking {
    pub(crate) fn new(query: Query, method: Method, params: Value) -> Self {
        Self { query, method, params, open: BTreeMap::new() }
    }
}

/// The calls of a driver.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: u64,
    open: BTreeMap<RequestId, (Owner, PeerId)>,
    outbox: Vec<Request>,
    abandoned: Vec<RequestId>,
}

impl Calls {
    /// Puts out the calls that are due.
    pub(crate) fn send(&mut self, owner: Owner, asking: &mut Asking, now: Timestamp) {
        for peer in asking.query.ask(now) {
            self.last += 1;
            let id = RequestId(self.last);
            self.open.insert(id, (owner, peer));
            asking.open.insert(peer, id);
            let (method, params) = (asking.method.clone(), asking.params.clone());
            self.outbox.push(Request { id, peer, method, params });
        }
    }

    /// Returns whose call `id` is and whom it went to. It is not out any more then.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<(Owner, PeerId)> {
        self.open.remove(&id)
    }

    /// Gives up the calls of a query that is over.
    pub(crate) fn close(&mut self, asking: Asking) {
        for id in asking.open.into_values() {
            if self.open.remove(&id).is_some() {
                self.abandoned.push(id);
            }
        }
    }

    /// Returns the calls to be made: those put out that were not given up since.
    pub(crate) fn take_outbox(&mut self) -> Vec<Request> {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.retain(|request| self.open.contains_key(&request.id));
        outbox
    }

    /// Returns the calls whose answers nobody waits for any more.
    pub(crate) fn take_abandoned(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.abandoned)
    }
}
