//! Entering a federation: from an invite code to a store that a client opens on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moneta_core::api::endpoint;
use moneta_core::config::ClientConfig;
use moneta_core::id::PeerId;
use moneta_core::invite::InviteCode;
use moneta_core::peers::FederationSize;
use moneta_core::version::VersionSummary;
use moneta_module::client::ClientKind;
use moneta_net::api::ApiConnector;
use moneta_store::{Store, StoreError, WriteSet};
use tokio::task::JoinSet;

use super::ask::{agree, gather};
use super::guardians::call;
use super::known::{ADDRESSES, CHAIN_ID, MEMBERSHIP, Membership, VERSIONS};
use super::{Guardians, Transport, now};
use crate::addresses::{AddressesError, SignedAddresses};
use crate::join::{Attempt, JoinError, MAX_RETRIES, RollCall, Step};
use crate::query::Pace;
use crate::versions::{self, NoCommonVersion};

/// How long a call for the config may take: a guardian that is there answers in a moment.
const CONFIG_LIMIT: Duration = Duration::from_secs(20);
/// How long to wait for moved guardians to say so before the first real use.
const ADDRESSES_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait for a threshold of version reports (core.md 9.2).
const VERSIONS_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait for the chain id, without which a wallet works as well.
const CHAIN_ID_LIMIT: Duration = Duration::from_secs(5);

/// Why a wallet did not enter a federation. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// No config was obtained.
    #[error("cannot join: {0}")]
    Join(#[from] JoinError),
    /// Unavailable: too few guardians told their versions in time.
    #[error("cannot join: {answers} guardians told their versions, {needed} must; try again")]
    FewVersions {
        /// How many did.
        answers: usize,
        /// How many must: one more than can be faulty.
        needed: usize,
    },
    /// Refused: too old or too new a federation.
    #[error("cannot join: {0}")]
    Versions(#[from] NoCommonVersion),
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

/// What was learned on entering.
pub(super) struct Entered {
    config: ClientConfig,
    addresses: SignedAddresses,
    versions: BTreeMap<PeerId, VersionSummary>,
    chain_id: Option<String>,
}

/// Fetches the config of a federation that nobody joins yet: what a program wants to know before, such as
/// the Bitcoin network. A threshold of guardians agrees on it. Writes nothing.
///
/// Errors: `Join`, as on joining.
pub async fn preview(
    connector: &ApiConnector,
    invite: &InviteCode,
) -> Result<ClientConfig, EnterError> {
    preview_watched(connector, invite, &RollCall::default()).await
}

/// [`preview`], and keeps `roll` informed on who has not answered yet.
pub async fn preview_watched(
    connector: &ApiConnector,
    invite: &InviteCode,
    roll: &RollCall,
) -> Result<ClientConfig, EnterError> {
    Ok(obtain_config(connector, invite, roll).await?)
}

/// Obtains and checks everything a wallet needs to know of a federation. Writes nothing.
pub(super) async fn enter(
    connector: &ApiConnector,
    invite: &InviteCode,
    kinds: &[Box<dyn ClientKind>],
    roll: &RollCall,
) -> Result<Entered, EnterError> {
    let config = obtain_config(connector, invite, roll).await?;
    let size = config.size().map_err(JoinError::Peers)?;
    let mut addresses = SignedAddresses::default();
    let mut urls = addresses.current(&config.global);
    urls.extend(invite.peers().into_iter().filter(|(peer, _)| size.contains(*peer)));
    let guardians = Guardians::new(connector.clone(), urls, invite.api_secret().cloned());
    let transport: Arc<dyn Transport> = guardians.clone();

    // What guardians sign counts wherever it comes from, so the invite's addresses are good for that.
    let known = Mutex::new(&mut addresses);
    let take =
        |peer: PeerId, update: &dyn Fn(&mut SignedAddresses) -> Result<bool, AddressesError>| {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = update(&mut known);
            if let Err(error) = &taken {
                tracing::debug!(target: "moneta::client", %peer, %error, "addresses");
            }
            taken.is_ok()
        };
    let (global, now_secs) = (&config.global, now().0 / 1000);
    let announcements =
        |peer, answer| take(peer, &|known| known.take_announcements(global, &answer));
    let metadata =
        |peer, answer| take(peer, &|known| known.take_metadata(global, &answer, now_secs));
    let (enough, limit) = (size.threshold(), ADDRESSES_LIMIT);
    tokio::join!(
        gather(&transport, size, endpoint::API_ANNOUNCEMENTS, enough, limit, announcements),
        gather(&transport, size, endpoint::GUARDIAN_METADATA, enough, limit, metadata),
    );
    // What follows is asked at addresses that are vouched for.
    guardians.set_urls(addresses.current(&config.global));
    let versions = version_reports(&transport, &config, size).await;
    // With fewer there may be no honest one among them, and what they say is kept.
    let (answers, needed) = (versions.len(), size.max_faulty() + 1);
    if answers < needed {
        return Err(EnterError::FewVersions { answers, needed });
    }
    versions::agree(&config, kinds, &versions)?;
    let chain_id = agree(&transport, size, endpoint::CHAIN_ID, CHAIN_ID_LIMIT).await;
    let chain_id = chain_id.and_then(|answer| answer.as_str().map(str::to_owned));
    Ok(Entered { config, addresses, versions, chain_id })
}

impl Entered {
    /// Makes the store the one of a member.
    pub(super) fn save(
        self,
        store: &Store,
        invite: InviteCode,
        recovering: bool,
        doubled: bool,
        check: [u8; 8],
    ) -> Result<(), StoreError> {
        let Self { config, addresses, versions, chain_id } = self;
        let membership = Membership { config, invite, recovering, doubled, check };
        store.update(|writes: &mut WriteSet<'_>| {
            MEMBERSHIP.insert(writes, &(), &membership);
            ADDRESSES.insert(writes, &(), &addresses);
            save_versions(writes, &versions);
            if let Some(chain_id) = &chain_id {
                CHAIN_ID.insert(writes, &(), chain_id);
            }
            Ok(())
        })
    }
}

/// Asks for the guardians' versions: a threshold of reports is enough.
pub(super) async fn version_reports(
    transport: &Arc<dyn Transport>,
    config: &ClientConfig,
    size: FederationSize,
) -> BTreeMap<PeerId, VersionSummary> {
    let (method, enough) = (endpoint::VERSION, size.threshold());
    let mut reports = BTreeMap::new();
    let take = |peer, answer| {
        let report = versions::parse_report(config, answer);
        let is_one = report.is_some();
        reports.extend(report.map(|report| (peer, report)));
        is_one
    };
    gather(transport, size, method, enough, VERSIONS_LIMIT, take).await;
    reports
}

/// Notes version reports, in place of earlier ones of the same guardians.
pub(super) fn save_versions(
    writes: &mut WriteSet<'_>,
    versions: &BTreeMap<PeerId, VersionSummary>,
) {
    for (peer, summary) in versions {
        let text = serde_json::to_string(summary).expect("numbers in a tree serialize");
        VERSIONS.insert(writes, peer, &text);
    }
}

async fn obtain_config(
    connector: &ApiConnector,
    invite: &InviteCode,
    roll: &RollCall,
) -> Result<ClientConfig, JoinError> {
    let mut repeats = 0;
    loop {
        match attempt(connector, invite, roll).await {
            Err(error) if !error.is_final() && repeats < MAX_RETRIES => {
                tracing::debug!(target: "moneta::client", %error, "joining again");
                tokio::time::sleep(Duration::from_millis(Pace::JOIN.delay_ms(repeats))).await;
                repeats += 1;
            }
            result => return result,
        }
    }
}

async fn attempt(
    connector: &ApiConnector,
    invite: &InviteCode,
    roll: &RollCall,
) -> Result<ClientConfig, JoinError> {
    let (mut attempt, asks) = Attempt::watched(invite.clone(), roll.clone());
    let mut calls = JoinSet::new();
    let ask_all = |calls: &mut JoinSet<_>, asks: Vec<crate::join::Ask>| {
        for ask in asks {
            let (connector, secret) = (connector.clone(), invite.api_secret().cloned());
            calls.spawn(async move {
                let params = serde_json::Value::Null;
                let call =
                    call(&connector, &ask.url, secret.as_ref(), endpoint::CLIENT_CONFIG, params);
                let result = tokio::time::timeout(CONFIG_LIMIT, call).await;
                let late = || Err(crate::query::CallFailure::unavailable("no answer in time"));
                (ask, result.unwrap_or_else(|_| late()))
            });
        }
    };
    ask_all(&mut calls, asks);
    while let Some(joined) = calls.join_next().await {
        let Ok((ask, result)) = joined else { continue };
        match attempt.answer(&ask, result) {
            Step::Wait => {}
            Step::Ask(asks) => ask_all(&mut calls, asks),
            Step::Joined(config) => return Ok(*config),
            Step::Failed(error) => return Err(error),
        }
    }
    Err(JoinError::Invite { witnesses: Vec::new() })
}

/// Whether the store belongs to a member already.
pub(super) fn is_member(store: &Store) -> Result<bool, StoreError> {
    MEMBERSHIP.contains(&store.snapshot(), &())
}
