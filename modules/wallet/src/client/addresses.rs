//! Which addresses the wallet has.
//!
//! Index `i` has the claim key of the module secret's child `i`. It is valid if the federation's
//! filter lets its script through, which one in 65,536 does. Addresses are used in ascending order,
//! the next one only after the one before was paid, so that the words alone find all of them again.
//!
//! Source: docs/protocol/wallet.md, sections 1.3.1 and 1.3.2.

use bitcoin::secp256k1::Keypair;
use bitcoin::{Address, ScriptBuf};
use moneta_module::client::Turn;
use moneta_store::{Read, StoreError, Write};

use super::tables::{BY_SCRIPT, SEARCH, VALID, WATCHED_UNTIL};
use super::{Machine, WalletClient};
use crate::descriptor::claim_tweak;

/// How many indices one turn of a search looks at: some 17 ms on the
/// development machine with four guardians, nearly all of it curve arithmetic, and about twice that
/// with twenty.
pub(super) const INDICES_PER_TURN: u64 = 256;

/// How long the wallet looks more often after an address was shown, in milliseconds. A user who
/// waits longer says so with [`WalletClient::watch`].
const WATCH_AFTER_ADDRESS_MS: u64 = 600_000;

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not yet: the first address is being searched, which takes some seconds. Ask again.
    #[error("the first address is being searched, {examined} candidates were looked at")]
    Searching {
        /// How far the search is; 65,536 is the average length.
        examined: u64,
    },
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

/// Why a hint was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HintError {
    /// Refused: the address of this index does not pass the filter.
    #[error("index {0} gives no valid address in this federation")]
    NotValid(u64),
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

impl WalletClient {
    /// Returns the address to receive at, and has the wallet look for deposits more often for a
    /// while.
    ///
    /// The same address until a deposit to it was seen. Errors: `Searching` in the first seconds
    /// of a wallet's life.
    pub fn address(&self, turn: &mut Turn<'_, Machine>) -> Result<Address, AddressError> {
        let address = self.current_address(&*turn.state())?;
        self.watch(turn, WATCH_AFTER_ADDRESS_MS)?;
        Ok(address)
    }

    /// Returns the address to receive at.
    ///
    /// Errors: as [`WalletClient::address`].
    pub fn current_address(&self, state: &dyn Read) -> Result<Address, AddressError> {
        if let Some((_, script)) = VALID.last(state)? {
            return Ok(self.address_of(&script));
        }
        Err(AddressError::Searching { examined: SEARCH.get(state, &())?.unwrap_or(0) })
    }

    /// Has the wallet look for deposits every second for the next `for_ms` milliseconds.
    pub fn watch(&self, turn: &mut Turn<'_, Machine>, for_ms: u64) -> Result<(), StoreError> {
        let until = turn.now().after_ms(for_ms).0;
        let mut state = turn.state();
        if WATCHED_UNTIL.get(&*state, &())?.is_none_or(|known| known < until) {
            WATCHED_UNTIL.insert(&mut *state, &(), &until);
        }
        Ok(())
    }

    /// Takes `index` for the wallet's newest address without searching, for test worlds where
    /// the index is known.
    ///
    /// Not for real wallets: valid indices below it are passed over, so that another client would
    /// find deposits to this one late. A newer address than `index` stays.
    /// Errors: `NotValid`.
    pub fn hint_address(
        &self,
        turn: &mut Turn<'_, Machine>,
        index: u64,
    ) -> Result<Address, HintError> {
        let script = self.valid_script(index).ok_or(HintError::NotValid(index))?;
        let mut state = turn.state();
        if let Some((newest, script)) = VALID.last(&*state)?
            && newest >= index
        {
            return Ok(self.address_of(&script));
        }
        self.add_address(&mut *state, index, &script);
        Ok(self.address_of(&script))
    }

    /// Goes on with the search, if there is one. Returns whether it is over.
    pub(super) fn search(&self, state: &mut dyn Write) -> Result<bool, StoreError> {
        let Some(start) = SEARCH.get(&*state, &())? else { return Ok(true) };
        let end = start.saturating_add(INDICES_PER_TURN);
        for index in start..end {
            if let Some(script) = self.valid_script(index) {
                self.add_address(state, index, &script);
                return Ok(true);
            }
        }
        SEARCH.insert(state, &(), &end);
        Ok(false)
    }

    fn add_address(&self, state: &mut dyn Write, index: u64, script: &ScriptBuf) {
        VALID.insert(state, &index, script);
        BY_SCRIPT.insert(state, script, &index);
        SEARCH.remove(state, &());
    }

    /// The key that claims deposits to the address of `index`.
    pub(super) fn claim_key(&self, index: u64) -> Keypair {
        self.secret.child(index).secp_keypair()
    }

    /// The script of `index` if it is valid.
    fn valid_script(&self, index: u64) -> Option<ScriptBuf> {
        let tweak = claim_tweak(&self.claim_key(index).public_key());
        let script = self.descriptor.script_pubkey(&tweak).ok()?;
        self.descriptor.is_logged(&script).then_some(script)
    }

    pub(super) fn address_of(&self, script: &ScriptBuf) -> Address {
        Address::from_script(script, self.config.network)
            .expect("a script made by to_p2wsh has an address")
    }
}
