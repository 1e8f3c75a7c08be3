//! The rules of agreement, driven as the engine does.

#![allow(clippy::unwrap_used)]

use moneta_core::FederationSize;
use moneta_module::server::{Facts, Pass};
use moneta_store::{Memory, Store, WriteSet};

use super::*;

/// One guardian's half over its own store; all guardians process the same items.
struct Guardian {
    module: MetaServer,
    store: Store,
}

impl Guardian {
    fn new(me: u16) -> Self {
        let size = FederationSize::new(4).unwrap();
        let module = MetaServer::new(Seat { me: PeerId::new(me), size });
        Self { module, store: Memory::store() }
    }

    fn process(&self, peer: u16, salt: u64, value: &str) {
        let value = MetaValue(value.as_bytes().to_vec());
        let item = MetaItem { salt, key: MetaKey(0), value };
        let facts = Facts::default();
        let snapshot = self.store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let mut call = Processing { state: &mut writes, facts: &facts, pass: Pass::Final };
        assert!(self.module.process_item(&mut call, PeerId::new(peer), &item).is_ok());
        self.store.commit(writes.into_batch()).unwrap();
    }

    fn call(&self, endpoint: &str, params: Value) -> Result<Reply, ApiError> {
        let state = self.store.snapshot();
        self.module.call(&View { state: &state, salt: 9 }, endpoint, &params)
    }

    fn read(&self, endpoint: &str) -> Value {
        match self.call(endpoint, json!(0)) {
            Ok(Reply::Value(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    fn wish(&self, value: &str) {
        let params = json!({ "key": 0, "value": hex::encode(value) });
        match self.call("submit", params) {
            Ok(Reply::Write { batch, .. }) => self.store.commit(batch).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn proposals(&self) -> Vec<MetaItem> {
        self.module.proposals(&self.store.snapshot(), None).unwrap()
    }
}

#[test]
fn threshold_of_equal_values_agrees_whatever_their_salts() {
    let guardian = Guardian::new(0);
    guardian.process(0, 1, "a");
    guardian.process(1, 2, "a");
    assert_eq!(guardian.read("get_consensus"), Value::Null);
    guardian.process(3, 3, "a");
    let agreed = json!({ "revision": 0, "value": hex::encode("a") });
    assert_eq!(guardian.read("get_consensus"), agreed);
    assert_eq!(guardian.read("get_submission"), json!({}));
}

#[test]
fn votes_for_another_value_stay_and_revisions_count_up() {
    let guardian = Guardian::new(0);
    guardian.process(2, 1, "b");
    for peer in [0, 1, 3] {
        guardian.process(peer, 1, "a");
    }
    assert_eq!(guardian.read("get_submission"), json!({ "2": hex::encode("b") }));
    guardian.process(0, 2, "b");
    guardian.process(1, 2, "b");
    assert_eq!(guardian.read("get_consensus_rev"), json!(1));
}

#[test]
fn voting_for_the_agreed_value_withdraws_an_older_vote() {
    let guardian = Guardian::new(0);
    for peer in [0, 1, 3] {
        guardian.process(peer, 1, "a");
    }
    guardian.process(0, 2, "b");
    assert_eq!(guardian.read("get_submission"), json!({ "0": hex::encode("b") }));
    guardian.process(0, 3, "a");
    assert_eq!(guardian.read("get_submission"), json!({}));
    assert_eq!(guardian.read("get_consensus_rev"), json!(0));
}

#[test]
fn wish_is_proposed_until_it_is_pending_or_agreed() {
    let guardian = Guardian::new(1);
    guardian.wish("a");
    let proposals = guardian.proposals();
    assert_eq!(proposals.len(), 1);
    guardian.process(1, proposals[0].salt, "a");
    assert!(guardian.proposals().is_empty());
    guardian.process(0, 1, "a");
    guardian.process(2, 1, "a");
    assert!(guardian.proposals().is_empty());
}

#[test]
fn value_that_no_unit_can_carry_is_refused() {
    let guardian = Guardian::new(1);
    let value = "x".repeat(MAX_VALUE_BYTES + 1);
    let refused = guardian.call("submit", json!({ "key": 0, "value": hex::encode(value) }));
    assert_eq!(refused.unwrap_err().code, ApiError::BAD_REQUEST);
}

#[test]
fn key_beyond_a_byte_is_a_bad_request() {
    let guardian = Guardian::new(1);
    let refused = guardian.call("get_consensus", json!(256));
    assert_eq!(refused.unwrap_err().code, ApiError::BAD_REQUEST);
}
