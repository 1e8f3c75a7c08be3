//! `moneta guardian backup` and `restore`.
//!
//! Source: docs/protocol/guardian.md, section 7.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use moneta_core::PeerId;
use moneta_core::api::{GuardianBackup, endpoint};
use moneta_guardian::node::{DataDir, FilesError, RestoreError, restore as restore_into};
use serde::Serialize;
use serde_json::Value;

use super::admin::Admin;
use crate::daemon::server_kinds;
use crate::wallet_cli::context::Context;
use crate::wallet_cli::failure::Failure;
use crate::wallet_cli::screen::{Report, Style};

/// No backup is larger; the library looks at no more.
const MAX_BACKUP_BYTES: u64 = 10 * 1024 * 1024;

#[derive(Debug, Serialize)]
struct Saved {
    file: PathBuf,
    bytes: usize,
}

impl Report for Saved {
    fn text(&self, _: Style) -> String {
        format!(
            "Saved to {}. Whoever has it can act as this guardian: keep it secret, off this \
             machine.",
            self.file.display()
        )
    }
}

/// Saves a guardian's secrets into a new file, readable by its owner alone.
pub(super) async fn save(admin: &Admin<'_>, file: &Path) -> Result<(), Failure> {
    let backup: GuardianBackup =
        admin.call(endpoint::DOWNLOAD_GUARDIAN_BACKUP, Value::Null).await?;
    let bytes = &backup.tar_archive_bytes;
    write_new(file, bytes).map_err(|error| {
        Failure::refused(format!("cannot write {}: {error}", file.display()))
            .hint("name a file that does not exist, in a folder you may write to")
    })?;
    admin.context.screen.report(&Saved { file: file.to_owned(), bytes: bytes.len() })
}

fn write_new(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let written = out.write_all(bytes).and_then(|()| out.sync_all());
    if written.is_err() {
        // Half a backup is worse than none.
        let _ = std::fs::remove_file(file);
    }
    written
}

#[derive(Debug, Serialize)]
struct Restored {
    data_dir: PathBuf,
    peer_id: PeerId,
}

impl Report for Restored {
    fn text(&self, _: Style) -> String {
        format!(
            "Guardian {} is restored. Start it with `monetad --data-dir {}`; it fetches the \
             history from the others. Make sure that its former copy never runs again.",
            self.peer_id,
            self.data_dir.display()
        )
    }
}

/// Makes a data folder from a backup.
pub(super) async fn restore(
    context: &Context,
    file: &Path,
    data_dir: &Path,
) -> Result<(), Failure> {
    let bytes = read(file).map_err(|error| {
        Failure::refused(format!("cannot read {}: {error}", file.display()))
            .hint("name the file that `moneta guardian backup` saved")
    })?;
    let dir = DataDir::open(data_dir).map_err(from_files)?;
    let config = restore_into(&dir, &bytes, &server_kinds(false)).map_err(from_restore)?;
    let peer_id = config.local.identity;
    context.screen.report(&Restored { data_dir: data_dir.to_owned(), peer_id })
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MAX_BACKUP_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn from_files(error: FilesError) -> Failure {
    match error {
        FilesError::InUse { .. } => Failure::unavailable(error),
        FilesError::Io { .. } => {
            Failure::unavailable(error).hint("check the folder's owner and the space on its disk")
        }
        other => Failure::refused(other),
    }
}

fn from_restore(error: RestoreError) -> Failure {
    match error {
        RestoreError::Occupied => Failure::refused(error).hint("name an empty or new folder"),
        RestoreError::Files(error) => from_files(error),
        other => Failure::refused(other).hint("use the backup as it was saved, of this release"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    #[test]
    fn backup_is_for_its_owner_alone_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        write_new(&file, b"secret").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_new(&file, b"other").is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"secret");
        let saved = Saved { file: "b".into(), bytes: 6 };
        assert_eq!(json!(saved), json!({"file": "b", "bytes": 6}));
    }

    #[test]
    fn what_is_no_backup_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        let error = restore_into(&dir, b"no archive", &server_kinds(false)).unwrap_err();
        assert_eq!(from_restore(error).kind.exit_code(), 3);
        assert!(dir.read_config().unwrap().is_none());
    }
}
