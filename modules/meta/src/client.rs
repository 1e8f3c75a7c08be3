//! What a wallet does with agreed data: it reads key 0 now and then and keeps the last answer.
//!
//! ```text
//! Fetch --answer--> Sleep(until) --time--> Fetch
//! ```
//! A crash loses nothing: the machine asks again. While guardians are unreachable the last answer
//! stays.

use moneta_core::transaction::ModuleFailure;
use moneta_core::version::ApiVersion;
use moneta_core::{Decode, Encode, ModuleKind};
use moneta_module::client::{
    Call, ClientKind, ClientModule, Env, Outcome, Stop, Strategy, Target, Timestamp, Turn, Wait,
    text_of_failure,
};
use moneta_module::erased::{AnyClient, erase_client};
use moneta_module::setup::OpenError;
use moneta_store::{Read, StoreError, Table};
use serde_json::{Value, json};

use crate::words::{
    API_VERSION, ConsensusValue, FEDERATION_METADATA, KIND, MetaConfig, MetaInputError, MetaKey,
    MetaOutputError,
};

/// The last agreed values that were read.
const CACHED: Table<MetaKey, ConsensusValue> = Table::new(0x01);

/// How long an answer counts as fresh: ten minutes, as other wallets do (guardian.md 6.5).
const REFRESH_MS: u64 = 600_000;

/// The client half.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetaClient;

/// The states of the reader.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Machine {
    /// Asks the guardians.
    Fetch,
    /// Has asked; asks again at this time, in milliseconds since the Unix epoch.
    Sleep(u64),
}

impl MetaClient {
    /// The call that reads one agreed value.
    pub fn read(key: MetaKey) -> Call {
        Call {
            target: Target::Module("get_consensus"),
            params: json!(key),
            strategy: Strategy::Agree,
        }
    }

    /// The last federation metadata that was read, with its revision.
    pub fn metadata(&self, state: &dyn Read) -> Result<Option<ConsensusValue>, StoreError> {
        CACHED.get(state, &FEDERATION_METADATA)
    }
}

impl ClientModule for MetaClient {
    type Machine = Machine;

    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn begin(&self, turn: &mut Turn<'_, Machine>, _: bool) -> Result<(), Stop> {
        turn.spawn(&Machine::Fetch);
        Ok(())
    }

    fn wait(&self, machine: &Machine, _: Option<&moneta_module::client::Origin>) -> Wait {
        match machine {
            Machine::Fetch => Wait::call(Self::read(FEDERATION_METADATA)),
            Machine::Sleep(until) => Wait::until(Timestamp(*until)),
        }
    }

    fn failure_text(&self, failure: ModuleFailure<'_>) -> Option<String> {
        text_of_failure::<MetaInputError, MetaOutputError>(failure)
    }

    fn advance(
        &self,
        turn: &mut Turn<'_, Machine>,
        machine: Machine,
        outcome: Outcome,
    ) -> Result<Option<Machine>, Stop> {
        if machine != Machine::Fetch {
            return Ok(Some(Machine::Fetch));
        }
        if let Outcome::Answer(answer @ Value::Object(_)) = outcome
            && let Ok(agreed) = serde_json::from_value::<ConsensusValue>(answer)
        {
            CACHED.insert(&mut *turn.state(), &FEDERATION_METADATA, &agreed);
        }
        Ok(Some(Machine::Sleep(turn.now().after_ms(REFRESH_MS).0)))
    }
}

/// Opens `meta` client halves.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetaClientKind;

impl ClientKind for MetaClientKind {
    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn required_api(&self) -> Vec<ApiVersion> {
        vec![API_VERSION]
    }

    fn open(&self, _: Env, config: &[u8]) -> Result<Box<dyn AnyClient>, OpenError> {
        MetaConfig::from_bytes(config)?;
        Ok(erase_client(MetaClient))
    }
}

#[cfg(test)]
mod tests {
    use moneta_core::ModuleInstanceId;
    use moneta_core::envelope::OutputErrorEnvelope;

    use super::*;

    #[test]
    fn refusal_is_told_in_the_words_of_the_protocol() {
        let error = OutputErrorEnvelope::new(ModuleInstanceId(2), &MetaOutputError::NotSupported);
        let text = MetaClient.failure_text(ModuleFailure::Output(&error));
        assert_eq!(text.as_deref(), Some("This module does not support outputs"));
    }
}
