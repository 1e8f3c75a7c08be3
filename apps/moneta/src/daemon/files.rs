//! How many files the daemon may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Connections of wallets, of guardians, of the chain source, and files, generously. The API port serves
/// some two thousand connections; many systems start a process with room for 1024.
const WANTED: u64 = 4096;

/// Allows this process as many open files as it may want, if the system lets it.
pub(super) fn allow_open_files() {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= WANTED) {
        return;
    }
    let current = now.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..now });
    if raised.is_err() || current < WANTED {
        warn!(
            wanted = WANTED,
            limit = current,
            "few open files are allowed; many wallets at once may be turned away"
        );
    }
}
