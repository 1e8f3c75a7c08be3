//! `monetad`: the guardian daemon. Reads flags, chooses the modules and the view of the bitcoin
//! chain, and hands everything to [`moneta_guardian::node::run`].

mod files;
pub mod flags;
pub mod memory;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use moneta_guardian::node::{self, Options, Pace};
use moneta_module::setup::ServerKind;
use moneta_net::chain::{Bitcoind, Both, ChainSource, Credentials, Esplora};
use moneta_wallet::WalletKind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use flags::Flags;

/// The release whose protocol Moneta speaks; clients and setup codes compare it.
pub const PROTOCOL_RELEASE: &str = "0.13.0";

/// All modules that this daemon implements. `test_pace` lets block votes take larger steps.
pub fn server_kinds(test_pace: bool) -> Vec<Box<dyn ServerKind>> {
    let block_vote_step = match test_pace {
        true => WalletKind::BLOCK_VOTE_STEP_OF_TESTS,
        false => WalletKind::BLOCK_VOTE_STEP,
    };
    let wallet = WalletKind { block_vote_step };
    vec![Box::new(moneta_meta::MetaKind), Box::new(moneta_mint::MintKind), Box::new(wallet)]
}

/// Runs until SIGTERM or Ctrl-C.
///
/// Errors: anything that stops a guardian, with what to do about it.
pub async fn run(flags: Flags) -> Result<()> {
    if flags.enable_iroh {
        bail!(
            "iroh is not available in this release: set --enable-iroh false (FM_ENABLE_IROH=false) \
             and give --api-url and --p2p-url; nothing was started"
        );
    }
    for name in flags.ignored() {
        info!(option = name, "this option has no meaning here and is ignored");
    }
    files::allow_open_files();
    let options = Options {
        data_dir: flags.data_dir.clone(),
        password: flags.password_api.clone().map(moneta_core::Secret::new),
        network: flags.bitcoin_network,
        bind_api: flags.bind_api,
        bind_links: flags.bind_p2p,
        api_url: flags.api_url.clone(),
        link_url: flags.p2p_url.clone(),
        api_secrets: flags.api_secrets(),
        chain: chain_source(&flags)?,
        kinds: server_kinds(flags.test_pace),
        release: PROTOCOL_RELEASE.parse().context("read our own release number")?,
        pace: if flags.test_pace { Pace::test() } else { Pace::default() },
        take_part_from: flags.take_part_from.map(moneta_core::SessionIndex),
    };
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let signals = async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = tokio::signal::ctrl_c() => info!("Ctrl-C: stopping"),
        }
        stop.send_replace(true);
        // A second signal is for the impatient.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = node::run(options, stopped) => ended.context("the guardian stopped"),
        () = signals => Ok(()),
    }
}

/// Opens the view of the bitcoin chain that the flags describe.
fn chain_source(flags: &Flags) -> Result<Arc<dyn ChainSource>> {
    let esplora = flags.esplora_url.clone().map(Esplora::new);
    let bitcoind = match &flags.bitcoind_url {
        Some(url) => Some(Bitcoind::new(url.clone(), credentials(flags)?)),
        None => None,
    };
    Ok(match (bitcoind, esplora) {
        (Some(bitcoind), Some(esplora)) => Arc::new(Both::new(bitcoind, esplora)),
        (Some(bitcoind), None) => Arc::new(bitcoind),
        (None, Some(esplora)) => Arc::new(esplora),
        (None, None) => bail!(
            "no view of the bitcoin chain: give --bitcoind-url (with --bitcoind-username and a \
             password, or --bitcoind-cookie-file) or --esplora-url"
        ),
    })
}

fn credentials(flags: &Flags) -> Result<Credentials> {
    if let Some(path) = &flags.bitcoind_cookie_file {
        return Ok(Credentials::CookieFile(path.clone()));
    }
    let url = flags.bitcoind_url.as_ref();
    let of_url = |part: Option<&str>| part.filter(|part| !part.is_empty()).map(str::to_owned);
    let user = flags.bitcoind_username.clone().or_else(|| of_url(url.map(|url| url.username())));
    let password = match &flags.bitcoind_url_password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read the bitcoind password from {}", path.display()))?;
            Some(text.trim().to_owned())
        }
        None => {
            flags.bitcoind_password.clone().or_else(|| of_url(url.and_then(|url| url.password())))
        }
    };
    match (user, password) {
        (Some(user), Some(password)) => Ok(Credentials::UserPassword { user, password }),
        _ => bail!(
            "bitcoind needs a login: give --bitcoind-username with MONETA_BITCOIND_PASSWORD or \
             --bitcoind-url-password-file, or give --bitcoind-cookie-file"
        ),
    }
}
