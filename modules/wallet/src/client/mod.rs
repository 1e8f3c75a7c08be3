//! What a wallet does with on-chain bitcoin. It never talks to the bitcoin network: everything is
//! read from the guardians.
//!
//! ```text
//! scanner, for the wallet's whole life:
//!   Search --valid index--> Read --own output--> deposit noted, claim started
//!     ^                     |  ^                     |
//!     '--newest address used'  '--again, or Idle-----'
//! claim, one per deposit:
//!   Queue --under 3 pending--> Price --fee--> submit + Submitted --accepted--> done
//!     ^ '------more----------> Crowded --queued, uneconomical--.        |
//!     '--------- Rest <-- no answer, no fee, uneconomical, rejected ----'
//! withdrawal:
//!   Submitted --accepted--> Lookup --txid--> done      Submitted --rejected--> aborted, done
//! ```
//! Crash outcomes. Each arrow is one turn with one commit. A crash before it repeats the question,
//! which changes nothing; a deposit and the claim that follows it are started in the turn that moves
//! the scanner past it, so neither is lost nor doubled. A submitted transaction is the driver's.
//!
//! Recovery is the scanner from output 0: outputs that are spent still move the addresses on.
//!
//! Source: docs/protocol/wallet.md, sections 1.3.2 and 1.10.

mod addresses;
mod calls;
mod claim;
mod scan;
mod send;
mod tables;
#[cfg(test)]
mod tests;

pub use addresses::{AddressError, HintError};
pub use calls::{
    consensus_block_count_call, consensus_feerate_call, federation_wallet_call, parse_fee,
    receive_fee_call, send_fee_call,
};
pub use claim::{Claim, ClaimStage};
pub use scan::Scanner;
pub use send::{SendError, Withdrawal};
pub use tables::{Deposit, DepositStatus};

use moneta_core::transaction::ModuleFailure;
use moneta_core::version::ApiVersion;
use moneta_core::{Decode, Encode, FederationId, ModuleInstanceId, ModuleKind, OperationId};
use moneta_crypto::derive::DerivableSecret;
use moneta_module::client::{
    ClientKind, ClientModule, Env, Origin, Outcome, Stop, SubmitError, Turn, Wait, text_of_failure,
};
use moneta_module::erased::{AnyClient, erase_client};
use moneta_module::setup::OpenError;
use moneta_store::{Order, Read, StoreError};

use crate::descriptor::Descriptor;
use crate::words::{CLIENT_API_VERSION, KIND, WalletConfig, WalletInputError, WalletOutputError};

/// The client half.
pub struct WalletClient {
    instance: ModuleInstanceId,
    federation: FederationId,
    config: WalletConfig,
    descriptor: Descriptor,
    secret: DerivableSecret,
}

/// The states of all machines.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Machine {
    /// Finds deposits.
    Scan(Scanner),
    /// Claims one deposit.
    Claim(Claim),
    /// Follows one withdrawal.
    Withdraw(Withdrawal),
}

impl WalletClient {
    /// Opens the client half.
    ///
    /// Errors: `Mismatch` if the configuration holds another number of keys than guardians, or
    /// too many for a script.
    pub fn new(env: Env, config: WalletConfig) -> Result<Self, OpenError> {
        if !config.bitcoin_pks.keys().copied().eq(env.size.peer_ids()) {
            return Err(OpenError::Mismatch("not one key for each guardian"));
        }
        let descriptor = Descriptor::new(&config.bitcoin_pks)
            .ok_or(OpenError::Mismatch("too many keys for a multisig script"))?;
        let Env { instance, federation, secret, .. } = env;
        Ok(Self { instance, federation, config, descriptor, secret })
    }

    /// The configuration: fee formulas, dust limit, network.
    pub fn config(&self) -> &WalletConfig {
        &self.config
    }

    /// All deposits that were found unclaimed, by position in the federation's log.
    pub fn deposits(&self, state: &dyn Read) -> Result<Vec<(u64, Deposit)>, StoreError> {
        tables::DEPOSITS.scan(state, Order::Ascending).collect()
    }

    /// The operation that a deposit belongs to. The same for ever, so that no deposit has two.
    pub fn deposit_operation(&self, output_index: u64) -> OperationId {
        let about = (b"walletv2 deposit", self.federation, self.instance, output_index);
        OperationId::from_encodable(&about)
    }
}

impl ClientModule for WalletClient {
    type Machine = Machine;

    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn begin(&self, turn: &mut Turn<'_, Machine>, _: bool) -> Result<(), Stop> {
        tables::SEARCH.insert(&mut *turn.state(), &(), &0);
        let scanner = Scanner::Search { next_output: 0, until_ms: turn.now().0 };
        turn.spawn(&Machine::Scan(scanner));
        Ok(())
    }

    fn wait(&self, machine: &Machine, origin: Option<&Origin>) -> Wait {
        match machine {
            Machine::Scan(scanner) => scanner.wait(),
            Machine::Claim(claim) => claim.wait(origin),
            Machine::Withdraw(withdrawal) => withdrawal.wait(origin),
        }
    }

    fn failure_text(&self, failure: ModuleFailure<'_>) -> Option<String> {
        text_of_failure::<WalletInputError, WalletOutputError>(failure)
    }

    fn advance(
        &self,
        turn: &mut Turn<'_, Machine>,
        machine: Machine,
        outcome: Outcome,
    ) -> Result<Option<Machine>, Stop> {
        match machine {
            Machine::Scan(scanner) => {
                self.advance_scanner(turn, scanner, outcome).map(|next| Some(Machine::Scan(next)))
            }
            Machine::Claim(claim) => {
                Ok(self.advance_claim(turn, claim, outcome)?.map(Machine::Claim))
            }
            Machine::Withdraw(withdrawal) => {
                Ok(self.advance_withdrawal(turn, withdrawal, outcome)?.map(Machine::Withdraw))
            }
        }
    }
}

/// What a failed part of a turn means for its machine, where a refusal cannot happen.
fn stop(error: SubmitError) -> Stop {
    match error {
        SubmitError::Store(error) => Stop::Store(error),
        SubmitError::Invariant(reason) => Stop::Invariant(reason),
        other => Stop::Later(other.to_string()),
    }
}

/// Opens `walletv2` client halves.
#[derive(Debug, Clone, Copy, Default)]
pub struct WalletClientKind;

impl ClientKind for WalletClientKind {
    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn required_api(&self) -> Vec<ApiVersion> {
        vec![CLIENT_API_VERSION]
    }

    fn open(&self, env: Env, config: &[u8]) -> Result<Box<dyn AnyClient>, OpenError> {
        Ok(erase_client(WalletClient::new(env, WalletConfig::from_bytes(config)?)?))
    }
}
