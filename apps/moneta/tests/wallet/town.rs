//! A world with people in it.

use std::time::Duration;

use bitcoin::Amount;
use moneta::world::{
    Narrator, World, WorldOptions,
    process::{Probe, poll_until},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::moneta::Moneta;

/// A loaded machine gets time; a healthy one needs a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks after which guardians count a payment, itself included.
pub(crate) const DEPTH: u64 = 8;

pub(crate) struct Town {
    // Stands before its folder: it is dropped first.
    pub(crate) world: World,
    pub(crate) folder: TempDir,
}

impl Town {
    pub(crate) async fn start(guardians: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = WorldOptions::in_dir(folder.path().join("world")).unwrap();
        options.guardians = guardians;
        let world = World::start(options, &mut Narrator::silent()).await.unwrap();
        Self { world, folder }
    }

    /// A wallet folder nobody used.
    pub(crate) fn stranger(&self, name: &str) -> Moneta {
        Moneta::new(self.folder.path().join(name))
    }

    /// A wallet that has joined.
    pub(crate) async fn member(&self, name: &str) -> Moneta {
        let wallet = self.stranger(name);
        wallet.json(&["join", &self.world.invite]).await;
        wallet
    }

    /// Pays `sat` to a fresh deposit of the wallet and waits until it is e-cash; returns the report.
    pub(crate) async fn deposit(&self, wallet: &Moneta, sat: u64) -> Value {
        let mut command = wallet.script().start(&["deposit"]).unwrap();
        let first = command.next_report().await.unwrap().unwrap();
        self.pay(first["address"].as_str().unwrap(), sat).await;
        self.world.bitcoind.mine(DEPTH).await.unwrap();
        command.finish().await.unwrap()
    }

    /// Pays from the world's own coins. The payment waits for a block.
    pub(crate) async fn pay(&self, address: &str, sat: u64) {
        self.world.bitcoind.send(address, Amount::from_sat(sat)).await.unwrap();
    }

    /// What the federation owes to holders of e-cash, in msat: every note that was issued and not spent.
    pub(crate) async fn owed(&self) -> u64 {
        let audit = self.world.audit().await.unwrap();
        assert!(audit.net_assets >= 0, "{audit:?}");
        let mint =
            audit.module_summaries.values().find(|module| module.kind.to_string() == "mintv2");
        u64::try_from(-mint.unwrap().net_assets).unwrap()
    }

    /// Checks that every msat the federation owes is in one of these wallets, and nothing more.
    pub(crate) async fn assert_accounted_for(&self, wallets: &[&Moneta]) {
        let mut held = 0;
        for wallet in wallets {
            held += wallet.balance().await;
        }
        // The guardian that is asked may be a moment behind those that answered the wallets.
        poll_until("a balance sheet that fits the wallets", PATIENCE, async || {
            Ok(match self.owed().await {
                owed if owed == held => Probe::Ready(()),
                owed => Probe::Waiting(format!("{owed} msat are owed, {held} are held")),
            })
        })
        .await
        .unwrap();
    }

    /// Waits until `address`, of the world's own wallet, has received `sat` in all, and buries it.
    pub(crate) async fn await_received(&self, address: &bitcoin::Address, sat: u64) {
        poll_until("the withdrawn coins", PATIENCE, async || {
            Ok(match self.world.bitcoind.received(address).await? {
                received if received == Amount::from_sat(sat) => Probe::Ready(()),
                received => Probe::Waiting(format!("it received {received}")),
            })
        })
        .await
        .unwrap();
        self.world.bitcoind.mine(1).await.unwrap();
    }
}
