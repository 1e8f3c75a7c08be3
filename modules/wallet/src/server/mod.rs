//! The rules of deposits and withdrawals.
//!
//! ```text
//! block --filter--> output log --claim--> sweep ----.
//!                                                    >-- unsigned --t signatures--> unconfirmed
//!                             withdrawal ------------'                                  |
//!                                                              gone <--in a scanned block'
//! ```
//! Claims and withdrawals move the federation's coin on at once; signatures follow later and change
//! no txid. Reading order: `process` (inputs and outputs), `vote` (block count, blocks, feerate),
//! `signing`, then `endpoints`.
//!
//! Source: docs/protocol/wallet.md, sections 1.3 to 1.11.

mod endpoints;
mod fees;
mod process;
mod signing;
mod tables;
#[cfg(test)]
mod tests;
mod vote;

use bitcoin::Transaction;
use bitcoin::secp256k1::SecretKey;
use moneta_core::api::ApiError;
use moneta_core::version::ApiVersion;
use moneta_core::{ModuleKind, OutPoint, PeerId};
use moneta_module::server::{
    ChainStatus, Endpoint, Fault, InputEffect, ItemRefused, OutputEffect, Processing, Reply,
    ServerModule, View,
};
use moneta_module::setup::{OpenError, Seat};
use moneta_store::{Read, StoreError};
use serde_json::Value;

use crate::descriptor::{Descriptor, SECP};
use crate::setup::all_differ;
use crate::words::{
    API_VERSION, KIND, WalletConfig, WalletInput, WalletInputError, WalletItem, WalletOutput,
    WalletOutputError,
};

/// The server half.
pub struct WalletServer {
    seat: Seat,
    config: WalletConfig,
    descriptor: Descriptor,
    secret: SecretKey,
    block_vote_step: u64,
}

impl WalletServer {
    /// Opens the module for one guardian. For `block_vote_step` see
    /// [`crate::WalletKind::block_vote_step`].
    ///
    /// Errors: `Mismatch` if the secret or the number of keys does not fit the configuration, or if
    /// two guardians have the same key.
    pub fn new(
        seat: Seat,
        config: WalletConfig,
        secret: SecretKey,
        block_vote_step: u64,
    ) -> Result<Self, OpenError> {
        if !config.bitcoin_pks.keys().copied().eq(seat.size.peer_ids()) {
            return Err(OpenError::Mismatch("not one key for each guardian"));
        }
        if config.bitcoin_pks.get(&seat.me) != Some(&secret.public_key(&SECP)) {
            return Err(OpenError::Mismatch("the secret is of another key"));
        }
        if !all_differ(&config.bitcoin_pks) {
            return Err(OpenError::Mismatch("two guardians have the same key"));
        }
        let descriptor = Descriptor::new(&config.bitcoin_pks)
            .ok_or(OpenError::Mismatch("too many keys for a multisig script"))?;
        Ok(Self { seat, config, descriptor, secret, block_vote_step })
    }
}

impl ServerModule for WalletServer {
    type Input = WalletInput;
    type Output = WalletOutput;
    type Item = WalletItem;
    type InputError = WalletInputError;
    type OutputError = WalletOutputError;

    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn process_input(
        &self,
        call: &mut Processing<'_>,
        input: &WalletInput,
    ) -> Result<InputEffect, Fault<WalletInputError>> {
        match input {
            WalletInput::V0(input) => self.claim(&mut *call.state, input),
            WalletInput::Unknown { variant, .. } => {
                Err(Fault::Refused(WalletInputError::UnknownInputVariant { variant: *variant }))
            }
        }
    }

    fn process_output(
        &self,
        call: &mut Processing<'_>,
        output: &WalletOutput,
        out_point: OutPoint,
    ) -> Result<OutputEffect, Fault<WalletOutputError>> {
        match output {
            WalletOutput::V0(output) => self.withdraw(&mut *call.state, output, out_point),
            WalletOutput::Unknown { variant, .. } => {
                Err(Fault::Refused(WalletOutputError::UnknownOutputVariant { variant: *variant }))
            }
        }
    }

    fn process_item(
        &self,
        call: &mut Processing<'_>,
        peer: PeerId,
        item: &WalletItem,
    ) -> Result<(), Fault<ItemRefused>> {
        match item {
            WalletItem::BlockCount(count) => self.vote_block_count(call, peer, *count),
            WalletItem::Feerate(feerate) => self.vote_feerate(&mut *call.state, peer, *feerate),
            WalletItem::Signatures(txid, signatures) => {
                self.add_signatures(&mut *call.state, peer, *txid, signatures)
            }
            WalletItem::Unknown { .. } => {
                Err(Fault::Refused(ItemRefused("an item of a later protocol")))
            }
        }
    }

    fn proposals(
        &self,
        state: &dyn Read,
        chain: Option<&ChainStatus>,
    ) -> Result<Vec<WalletItem>, StoreError> {
        let mut items = self.missing_signatures(state)?;
        items.extend(self.block_count_proposal(state, chain)?);
        items.extend(self.feerate_proposal(state, chain)?);
        Ok(items)
    }

    fn broadcasts(&self, state: &dyn Read) -> Result<Vec<Transaction>, StoreError> {
        signing::signed_transactions(state)
    }

    fn audit(&self, state: &dyn Read) -> Result<i128, StoreError> {
        let wallet = tables::WALLET.get(state, &())?;
        Ok(wallet.map_or(0, |wallet| process::net_msat(wallet.value)))
    }

    fn api_version(&self) -> ApiVersion {
        API_VERSION
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        &endpoints::ENDPOINTS
    }

    fn call(&self, view: &View<'_>, endpoint: &str, params: &Value) -> Result<Reply, ApiError> {
        self.answer(view.state, endpoint, params).map(Reply::Value)
    }
}

impl std::fmt::Debug for WalletServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalletServer").field("seat", &self.seat).finish_non_exhaustive()
    }
}
