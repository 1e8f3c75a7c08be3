//! Where the programs of a world are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A guardian daemon: ours, or another implementation of the same protocol and the same options.
#[derive(Clone, Debug)]
pub struct GuardianProgram {
    /// The program.
    pub path: PathBuf,
    /// Whether its variables begin with `FM_` instead of `MONETA_`, and it listens on ports of its own
    /// for a web page and for figures.
    pub is_reference: bool,
}

/// The programs a world runs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The Bitcoin node.
    pub bitcoind: PathBuf,
    /// The guardian daemon.
    pub guardian: GuardianProgram,
    /// The wallet, if built. A world without wallets does not need it.
    pub moneta: Option<PathBuf>,
}

impl Programs {
    /// Finds bitcoind ([`find_bitcoind`]), and our own programs beside the running one (for a test: in the
    /// folder above it, where cargo puts them).
    ///
    /// Errors: bitcoind or monetad is missing; says how to get it.
    pub fn find() -> Result<Self> {
        let monetad = beside_us("monetad")?
            .context("no program monetad beside this one: cargo build -p moneta --bins")?;
        Self::with_guardian(GuardianProgram { path: monetad, is_reference: false })
    }

    /// As [`find`](Self::find), with another guardian daemon.
    ///
    /// Errors: bitcoind is missing.
    pub fn with_guardian(guardian: GuardianProgram) -> Result<Self> {
        Ok(Self { bitcoind: find_bitcoind()?, guardian, moneta: beside_us("moneta")? })
    }
}

/// Finds bitcoind in the folder `MONETA_BITCOIND_DIR`, in `PATH`, or where `./dev` puts it.
///
/// Errors: there is none; says how to get it.
pub fn find_bitcoind() -> Result<PathBuf> {
    let chosen = env::var_os("MONETA_BITCOIND_DIR").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    chosen
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(cache.map(|cache| cache.join("moneta/bitcoind/bin")))
        .map(|folder| folder.join("bitcoind"))
        .find(|program| program.is_file())
        .context(
            "no bitcoind in MONETA_BITCOIND_DIR or PATH; scripts/install-bitcoind.sh fetches one and \
             prints its folder, ./dev does so by itself",
        )
}

fn beside_us(name: &str) -> Result<Option<PathBuf>> {
    let this = env::current_exe().context("find the running program")?;
    let folders = this.ancestors().skip(1).take(2);
    Ok(folders.map(|folder: &Path| folder.join(name)).find(|program| program.is_file()))
}
