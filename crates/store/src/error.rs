//! Why a store could not do what was asked.

use std::io;
use std::path::PathBuf;

use moneta_core::codec::DecodeError;

/// Why a store could not be opened, read or written.
///
/// None of these is worth a retry on the same open store. After `CommitUnknown` and `Stopped` the
/// owner must drop every handle and open the store again, which shows what was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Refused: another process, or another handle in this one, has the file open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Refused: there is no store to open.
    #[error("there is no store at {path}")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Refused: a new store would replace an existing file.
    #[error("{path} exists already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Refused: the layout of the file is one that this build does not read.
    #[error("{path} was written by another version of this program, which this one cannot read")]
    OtherVersion {
        /// The file.
        path: PathBuf,
    },
    /// Unavailable: the file cannot be opened, created or locked, as the system says.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Unavailable: reading failed. The stored state is unchanged.
    #[error("cannot read the store: {source}")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// Unavailable: the commit failed and nothing of it was applied.
    #[error("the commit was not applied: {source}")]
    NotCommitted {
        /// What the system said.
        source: io::Error,
    },
    /// Unavailable: the commit failed and only opening the store again tells whether it was
    /// applied. It was applied whole or not at all.
    #[error("it is unknown whether the commit was applied: {source}")]
    CommitUnknown {
        /// What the system said.
        source: io::Error,
    },
    /// Unavailable: an earlier commit failed, so the store takes no more of them until it is opened
    /// again. Nothing of this commit was applied.
    #[error("the store stopped after an earlier failure")]
    Stopped,
    /// Broken: the file is torn, damaged or no store. Restore it from a backup.
    #[error("the store is damaged: {reason}")]
    Damaged {
        /// What was found.
        reason: String,
    },
    /// Broken: the bytes of a row do not decode. The key may be the one of a note: it is kept for
    /// diagnosis, not printed.
    #[error("a row of table {table:#04x} does not decode: {source}")]
    Corrupt {
        /// The prefix byte of the table.
        table: u8,
        /// The whole key, prefix byte included, without the scope of the view.
        key: Vec<u8>,
        /// What is wrong with the bytes.
        source: DecodeError,
    },
}
