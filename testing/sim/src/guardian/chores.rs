//! What a guardian does by itself: proposals, broadcasts, what happens every now and then.

use moneta_core::ApiError;
use moneta_module::LOCAL_TABLES_FROM;
use moneta_module::server::{Facts, Reply, View};
use moneta_store::Batch as Writes;
use serde_json::json;

use super::calls::{LONG_POLL_MS, Waiting};
use super::{Effect, Process, Trouble};

/// An item that is still wanted this long after it was submitted is submitted again.
const AGAIN_AFTER_MS: u64 = 10_000;

impl Process {
    /// Adds an item that is to be ordered.
    pub(super) fn submit(&mut self, item: Vec<u8>) {
        if !self.queue.contains(&item) {
            self.queue.push_back(item);
        }
    }

    /// The operator wishes for a value of metadata.
    pub(crate) fn wish(&mut self, value: &str, salt: u64, now_ms: u64) -> Result<(), Trouble> {
        let instance = crate::federation::META;
        let view = self.store.snapshot();
        let state = self.engine.module_state(&view, instance);
        let Some(module) = self.engine.module(instance) else { return Ok(()) };
        let params = json!({ "key": 0, "value": hex::encode(value) });
        let reply = module.call(&View { state: &state, salt }, "submit", &params);
        let Ok(Reply::Write { batch, .. }) = reply else {
            return Err(Trouble::Broken("a wish was refused".to_owned()));
        };
        let mut full = Writes::new();
        for (key, value) in batch.iter() {
            if key.first().is_none_or(|table| *table < LOCAL_TABLES_FROM) {
                return Err(Trouble::Broken("an endpoint writes consensus state".to_owned()));
            }
            full.put(self.engine.module_key(instance, key), value.unwrap_or_default());
        }
        self.store.commit(full)?;
        self.propose(now_ms)
    }

    pub(super) fn propose(&mut self, now_ms: u64) -> Result<(), Trouble> {
        let items = self.engine.proposals(&self.store.snapshot(), self.chain.as_ref())?;
        self.submitted.retain(|item, _| items.contains(item));
        // What is no longer wanted need not be ordered.
        for item in items {
            let recent = self.submitted.get(&item).is_some_and(|at| now_ms - *at < AGAIN_AFTER_MS);
            if !recent {
                self.submitted.insert(item.clone(), now_ms);
                self.submit(item);
            }
        }
        Ok(())
    }

    pub(super) fn broadcast(&self, effects: &mut Vec<Effect>) -> Result<(), Trouble> {
        let transactions = self.engine.broadcasts(&self.store.snapshot())?;
        effects.extend(transactions.into_iter().map(Effect::Broadcast));
        Ok(())
    }

    /// Takes blocks from the chain source. What is there stays: one unit may hold several votes, each
    /// of which needs other blocks, and it is processed whole or not at all.
    pub(crate) fn fetched(&mut self, facts: Facts) {
        self.facts.block_count = facts.block_count;
        self.facts.blocks.extend(facts.blocks);
        self.is_fetching = false;
    }

    /// What happens every now and then.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Result<Vec<Effect>, Trouble> {
        let mut effects = Vec::new();
        let due = |w: &Waiting| now_ms.saturating_sub(w.since_ms) >= LONG_POLL_MS;
        let (over, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(due);
        self.waiting = left;
        for Waiting { call, method, .. } in over {
            effects.push(Effect::Answer(call, method, Err(ApiError::timeout())));
        }
        self.propose(now_ms)?;
        self.broadcast(&mut effects)?;
        let count = self.engine.session_count(&self.store.snapshot())?;
        for (session, (header, _)) in self.ended.clone() {
            if session >= count {
                effects.push(Effect::Tell(session, self.sign(header)));
            }
        }
        Ok(effects)
    }
}
