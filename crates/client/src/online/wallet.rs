//! A wallet: one set of words, and a folder with one store per federation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moneta_core::id::FederationId;
use moneta_core::invite::InviteCode;
use moneta_module::client::ClientKind;
use moneta_net::api::ApiConnector;
use moneta_store::StoreError;
use rand::RngCore;
use rand::rngs::OsRng;
use std::io;
use zeroize::Zeroizing;

use super::client::Client;
use super::enter::{EnterError, enter, is_member};
use super::folder::Folder;
use super::open::{OpenError, World};
use super::web::{Https, Web};
use crate::join::RollCall;
use crate::words::{Derivation, ENTROPY_BYTES, Words, WordsError};

/// Why a wallet cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalletError {
    /// Refused: there is a wallet already, which would be overwritten.
    #[error("{path} holds a wallet already")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// Refused: there is no wallet.
    #[error("{path} holds no wallet; create one or restore one from its words")]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// Refused: another process has the wallet open.
    #[error("{path} is open in another process; close that one first")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Refused: the federation was joined before.
    #[error("this wallet has joined federation {0} already")]
    Joined(FederationId),
    /// Refused: no federation, or several, are meant by the text.
    #[error("{found} of this wallet's federations are named {text:?}; give the whole id")]
    Ambiguous {
        /// What was given.
        text: String,
        /// How many fit.
        found: usize,
    },
    /// Unavailable: the folder cannot be read or written, as the system says.
    #[error("cannot use {path}: {source}")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Broken: the file with the words was changed.
    #[error("{path} does not hold a wallet's words: {source}")]
    Words {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: WordsError,
    },
    /// Entering a federation failed.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A federation does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Broken: a store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

/// An open wallet. It belongs to this process until it is dropped.
pub struct Wallet {
    folder: Folder,
    words: Words,
    kinds: Arc<[Box<dyn ClientKind>]>,
    connector: ApiConnector,
    web: Arc<dyn Web>,
    roll: RollCall,
}

impl Wallet {
    /// Makes a new wallet with fresh words in an empty or missing folder.
    ///
    /// `kinds` are the kinds of modules the program knows.
    pub fn create(
        folder: impl AsRef<Path>,
        kinds: Vec<Box<dyn ClientKind>>,
    ) -> Result<Self, WalletError> {
        let mut entropy = Zeroizing::new([0; ENTROPY_BYTES]);
        OsRng.fill_bytes(entropy.as_mut_slice());
        let words = Words::from_entropy(entropy);
        let folder = Folder::create(folder.as_ref(), &words, false)?;
        Ok(Self::new(folder, words, kinds))
    }

    /// Makes a wallet of words that were used before. Each federation it joins is searched for
    /// what they own.
    pub fn restore(
        folder: impl AsRef<Path>,
        words: Words,
        kinds: Vec<Box<dyn ClientKind>>,
    ) -> Result<Self, WalletError> {
        let folder = Folder::create(folder.as_ref(), &words, true)?;
        Ok(Self::new(folder, words, kinds))
    }

    /// Opens a wallet.
    pub fn open(
        folder: impl AsRef<Path>,
        kinds: Vec<Box<dyn ClientKind>>,
    ) -> Result<Self, WalletError> {
        let (folder, words) = Folder::open(folder.as_ref())?;
        Ok(Self::new(folder, words, kinds))
    }

    /// Uses a connector other than the default one, for further transports.
    #[must_use]
    pub fn with_connector(mut self, connector: ApiConnector) -> Self {
        self.connector = connector;
        self
    }

    /// Fetches documents from the web in another way than over TLS to the address they name.
    #[must_use]
    pub fn with_web(mut self, web: Arc<dyn Web>) -> Self {
        self.web = web;
        self
    }

    /// Keeps `roll` informed on which guardians have not answered yet while a federation is joined.
    #[must_use]
    pub fn with_roll_call(mut self, roll: RollCall) -> Self {
        self.roll = roll;
        self
    }

    /// The words, to be written down by their owner.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// The federations this wallet has folders of, ascending. One that was never joined to the end
    /// is among them until it is; opening it says so.
    pub fn federations(&self) -> Result<Vec<FederationId>, WalletError> {
        self.folder.federations()
    }

    /// The federation whose id begins with `text`.
    pub fn find_federation(&self, text: &str) -> Result<FederationId, WalletError> {
        let federations = self.federations()?.into_iter();
        let fitting = federations.filter(|id| id.to_string().starts_with(text));
        match fitting.collect::<Vec<_>>().as_slice() {
            [federation] => Ok(*federation),
            several => {
                let (text, found) = (text.to_owned(), several.len());
                Err(WalletError::Ambiguous { text, found })
            }
        }
    }

    /// The federation that is used when none is named: the selected one, or the only one.
    pub fn selected(&self) -> Result<Option<FederationId>, WalletError> {
        let federations = self.federations()?;
        let selected = self.folder.selected().filter(|id| federations.contains(id));
        Ok(selected.or(match federations.as_slice() {
            [only] => Some(*only),
            _ => None,
        }))
    }

    /// Sets the federation that is used when none is named.
    pub fn select(&self, federation: FederationId) -> Result<(), WalletError> {
        if !self.federations()?.contains(&federation) {
            return Err(OpenError::NotJoined(federation).into());
        }
        self.folder.select(federation)
    }

    /// Joins a federation and opens it. The first one joined is selected.
    ///
    /// A restored wallet searches the federation for what its words own.
    pub async fn join(&self, invite: &InviteCode) -> Result<Client, WalletError> {
        self.enter(invite, self.folder.is_restored(), Derivation::Standard).await
    }

    /// Joins a federation that the words were used in before, with the secrets derived in the given
    /// way.
    pub async fn recover(
        &self,
        invite: &InviteCode,
        derivation: Derivation,
    ) -> Result<Client, WalletError> {
        self.enter(invite, true, derivation).await
    }

    /// Opens a federation that was joined.
    pub async fn client(&self, federation: FederationId) -> Result<Client, WalletError> {
        if !self.federations()?.contains(&federation) {
            return Err(OpenError::NotJoined(federation).into());
        }
        let store = self.folder.open_store(federation)?;
        Ok(Client::open(store, federation, &self.words, &self.kinds, self.world()).await?)
    }

    async fn enter(
        &self,
        invite: &InviteCode,
        recovering: bool,
        derivation: Derivation,
    ) -> Result<Client, WalletError> {
        let federation = invite.federation_id();
        if self.federations()?.contains(&federation) {
            // A store that is no member's was left by a join that did not finish.
            if is_member(&self.folder.open_or_create_store(federation)?)? {
                return Err(WalletError::Joined(federation));
            }
        }
        let entered = enter(&self.connector, invite, &self.kinds, &self.roll).await?;
        let first = self.federations()?.is_empty();
        let store = self.folder.open_or_create_store(federation)?;
        let check = self.words.secrets(federation, derivation).check_value();
        let doubled = derivation == Derivation::Doubled;
        entered.save(&store, invite.clone(), recovering, doubled, check)?;
        if first {
            self.folder.select(federation)?;
        }
        Ok(Client::open(store, federation, &self.words, &self.kinds, self.world()).await?)
    }

    fn new(folder: Folder, words: Words, kinds: Vec<Box<dyn ClientKind>>) -> Self {
        let (connector, web) = (ApiConnector::default(), Arc::new(Https::default()));
        Self { folder, words, kinds: kinds.into(), connector, web, roll: RollCall::default() }
    }

    fn world(&self) -> World {
        World { connector: self.connector.clone(), web: self.web.clone() }
    }
}
