//! The folder of a wallet.
//!
//! ```text
//! words                            the words, readable for the owner alone
//! lock                             held by the process that has the wallet open
//! restored                         present if the words were typed in, not drawn
//! selected                         the federation that is used when none is named
//! federations/<id>/wallet.redb     everything of one federation
//! ```
//!
//! Files are written beside their place and moved there, so a crash leaves the old or the new one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use moneta_core::id::FederationId;
use moneta_store::{Disk, Store, StoreError};
use zeroize::Zeroizing;

use super::WalletError;
use crate::words::Words;

const WORDS: &str = "words";
const LOCK: &str = "lock";
const RESTORED: &str = "restored";
const SELECTED: &str = "selected";
const FEDERATIONS: &str = "federations";
const STORE: &str = "wallet.redb";

/// A wallet's folder, held by this process.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Keeps the lock until it is dropped.
    _lock: File,
}

impl Folder {
    /// Makes a wallet of an empty or missing folder.
    pub(super) fn create(root: &Path, words: &Words, restored: bool) -> Result<Self, WalletError> {
        create_private_folder(root).map_err(|source| io_error(root, source))?;
        let folder = Self::lock(root)?;
        if folder.path(WORDS).exists() {
            return Err(WalletError::Exists { path: root.to_owned() });
        }
        if restored {
            folder.write(RESTORED, b"")?;
        }
        let mut text = words.reveal();
        text.push('\n');
        folder.write(WORDS, text.as_bytes())?;
        Ok(folder)
    }

    /// Opens the folder of a wallet.
    pub(super) fn open(root: &Path) -> Result<(Self, Words), WalletError> {
        if !root.join(WORDS).exists() {
            return Err(WalletError::Missing { path: root.to_owned() });
        }
        let folder = Self::lock(root)?;
        let path = folder.path(WORDS);
        let text = fs::read_to_string(&path).map_err(|source| io_error(&path, source))?;
        let words =
            Zeroizing::new(text).parse().map_err(|source| WalletError::Words { path, source })?;
        Ok((folder, words))
    }

    /// Whether the words may have been used before.
    pub(super) fn is_restored(&self) -> bool {
        self.path(RESTORED).exists()
    }

    /// The federations there are folders of, ascending.
    pub(super) fn federations(&self) -> Result<Vec<FederationId>, WalletError> {
        let path = self.path(FEDERATIONS);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(io_error(&path, source)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| io_error(&path, source))?;
            let name = entry.file_name();
            found.extend(name.to_str().and_then(|name| name.parse::<FederationId>().ok()));
        }
        found.sort();
        Ok(found)
    }

    /// The federation that is used when none is named.
    pub(super) fn selected(&self) -> Option<FederationId> {
        fs::read_to_string(self.path(SELECTED)).ok()?.trim().parse().ok()
    }

    /// Sets the federation that is used when none is named.
    pub(super) fn select(&self, federation: FederationId) -> Result<(), WalletError> {
        self.write(SELECTED, format!("{federation}\n").as_bytes())
    }

    /// Opens the store of a federation that has one.
    pub(super) fn open_store(&self, federation: FederationId) -> Result<Store, StoreError> {
        Ok(Store::new(Disk::open(self.store_path(federation))?))
    }

    /// Opens the store of a federation, which is made if there is none.
    pub(super) fn open_or_create_store(
        &self,
        federation: FederationId,
    ) -> Result<Store, WalletError> {
        let path = self.store_path(federation);
        if path.exists() {
            return Ok(self.open_store(federation)?);
        }
        let parent = path.parent().unwrap_or(&self.root);
        create_private_folder(parent).map_err(|source| io_error(parent, source))?;
        Ok(Store::new(Disk::create(&path)?))
    }

    fn store_path(&self, federation: FederationId) -> PathBuf {
        self.path(FEDERATIONS).join(federation.to_string()).join(STORE)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn lock(root: &Path) -> Result<Self, WalletError> {
        let path = root.join(LOCK);
        let file = private_file(OpenOptions::new().write(true).create(true).truncate(false))
            .open(&path)
            .map_err(|source| io_error(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(WalletError::InUse { path: root.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io_error(&path, source)),
        }
    }

    /// Writes a small file, whole or not at all, readable for the owner alone.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WalletError> {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        let written = private_file(OpenOptions::new().write(true).create(true).truncate(true))
            .open(&new)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(&self.root)?.sync_all());
        written.map_err(|source| io_error(&path, source))
    }
}

fn io_error(path: &Path, source: io::Error) -> WalletError {
    WalletError::Folder { path: path.to_owned(), source }
}

#[cfg(unix)]
fn private_file(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private_file(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
