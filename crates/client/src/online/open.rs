//! Opening a federation that was joined: from its store to a running client.

use std::sync::Arc;

use moneta_core::config::PeersError;
use moneta_core::id::FederationId;
use moneta_module::client::ClientKind;
use moneta_net::api::ApiConnector;
use moneta_store::{Store, StoreError, WriteSet};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::client::{Client, ClientInfo};
use super::drive::{Shared, drive};
use super::known::{ADDRESSES, MEMBERSHIP, Membership, PENDING_CONFIG, versions};
use super::overlay::Overlays;
use super::refresh::Refresh;
use super::{Guardians, Web, now};
use crate::driver::{BeginError, Driver, OpenModuleError, OpenedModules, open_modules};
use crate::versions::{self as discovery, NoCommonVersion};
use crate::words::{Derivation, Words};

/// Why the wallet does not open on a federation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Refused: the wallet never joined it.
    #[error("this wallet has not joined federation {0}")]
    NotJoined(FederationId),
    /// Broken: the store was made with other words.
    #[error("the wallet's words are not those this federation was joined with")]
    OtherWords,
    /// Broken: the stored config makes no federation.
    #[error("the federation's config is not usable: {0}")]
    Peers(#[from] PeersError),
    /// Refused: the guardians' versions do not fit.
    #[error(transparent)]
    Versions(#[from] NoCommonVersion),
    /// Broken: a module does not open.
    #[error(transparent)]
    Module(#[from] OpenModuleError),
    /// Broken: a module does not begin.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

/// How a client reaches what is outside.
pub(super) struct World {
    /// The guardians.
    pub(super) connector: ApiConnector,
    /// Everything else.
    pub(super) web: Arc<dyn Web>,
}

impl Client {
    /// Opens on the store of a federation that was joined, and starts its tasks.
    pub(super) async fn open(
        store: Store,
        federation: FederationId,
        words: &Words,
        kinds: &[Box<dyn ClientKind>],
        world: World,
    ) -> Result<Self, OpenError> {
        let World { connector, web } = world;
        let membership = activate_pending_config(&store, federation)?;
        let Membership { config, invite, recovering, doubled, check } = membership;
        let derivation = if doubled { Derivation::Doubled } else { Derivation::Standard };
        let secrets = words.secrets(federation, derivation);
        if secrets.check_value() != check {
            return Err(OpenError::OtherWords);
        }
        let size = config.size()?;
        let view = store.snapshot();
        let found = discovery::agree(&config, kinds, &versions(&view)?)?;
        let usable = |instance| found.agreed.modules.contains_key(&instance);
        let opened = open_modules(&config, size, kinds, &secrets, usable)?;
        let OpenedModules { modules, unknown } = opened;
        let info = ClientInfo {
            federation,
            meta: config.global.meta.clone(),
            guardians: config.global.api_endpoints.clone(),
            modules: modules.iter().map(|(instance, module)| (*instance, module.kind())).collect(),
            unknown,
            unusable: found.unusable,
            invite,
        };
        let addresses = ADDRESSES.get(&view, &())?.unwrap_or_default();
        drop(view);
        let urls = addresses.current(&config.global);
        let guardians = Guardians::new(connector, urls, info.invite.api_secret().cloned());

        let mut driver =
            Driver::open(store.clone(), size, modules, Box::new(StdRng::from_entropy()))?;
        driver.begin(recovering, now())?;
        let (stop, stopping) = watch::channel(false);
        let overlays = Overlays::new(store.clone(), federation, &info.meta, web);
        let refresh = Refresh {
            store,
            config,
            size,
            guardians: guardians.clone(),
            stopping: stopping.clone(),
        };
        let refreshing = tokio::spawn(refresh.run());
        let shared = Shared::new(driver);
        let driving = tokio::spawn(drive(shared.clone(), guardians.clone(), stopping));
        Ok(Self { info, size, guardians, shared, overlays, stop, driving, refreshing })
    }
}

/// Takes over the config that was noted for this start.
fn activate_pending_config(
    store: &Store,
    federation: FederationId,
) -> Result<Membership, OpenError> {
    store.update(|writes: &mut WriteSet<'_>| {
        let mut membership =
            MEMBERSHIP.get(writes, &())?.ok_or(OpenError::NotJoined(federation))?;
        if let Some(newer) = PENDING_CONFIG.get(writes, &())? {
            if membership.config.check_update(&newer).is_ok() {
                membership.config = newer;
                MEMBERSHIP.insert(writes, &(), &membership);
            }
            PENDING_CONFIG.remove(writes, &());
        }
        Ok(membership)
    })
}
