//! A wallet that comes back from its words, with one guardian down: items of history per second.
//!
//! The wallet that made the deposit is recovered, in an empty folder, by the wallet library in this
//! process: the same for all federations. What it finds is compared with what it had.
//!
//! History is made in two ways. Through the wire, by payments of strangers: alike for all federations, about
//! a thousand items a second. And written into the stores of our own guardians while they are stopped, for
//! logs of millions of items: the recovery log alone, the same at each. That is done by another program
//! ([`FILLER`]), since this one knows federations by their public wire alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moneta::world::Narrator;
use moneta_client::online::{Client, Wallet};
use moneta_client::words::Derivation;
use moneta_core::{InviteCode, ModuleInstanceId, Msat};
use serde::Serialize;

use crate::cost::{Cost, Sample};
use crate::drive::closed_loop;
use crate::fund::client_kinds;
use crate::shape::Shape;
use crate::subject::{Subject, start_all, stop_all};

/// Payments that make history: many items each.
const HISTORY: Shape = Shape { inputs: 20, outputs: 20 };

/// Items of the log per such payment, the splits that make its notes included.
const ITEMS_PER_PAYMENT: u64 = 60;

/// Such payments prepared at once.
const BATCH: usize = 200;

/// Payments under way.
const IN_FLIGHT: usize = 16;

/// Longer than any batch takes.
const BATCH_TIME: Duration = Duration::from_secs(600);

/// Wallets that are recovered one after the other: guardians keep hashes of slices after the first.
const WALLETS: usize = 2;

/// Operations of a fresh wallet looked through.
const OPERATIONS: usize = 1_000;

/// A stopped guardian's peers need a moment to notice.
const DOWN_REST: Duration = Duration::from_secs(3);

/// The store of one of our guardians, in its data folder.
const DATABASE: &str = "database.redb";

/// Writes into stores; lies beside this program.
const FILLER: &str = "moneta-growth";

/// One recovery.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Recovered {
    /// Length of the recovery log.
    pub items: u64,
    /// How many of them were written into the guardians' stores.
    pub filled_items: u64,
    /// Which wallet it was with this log, from 1.
    pub wallet: usize,
    /// From opening a folder to the last note found.
    pub seconds: f64,
    /// Of them, until the federation was joined and the search began.
    pub joining_seconds: f64,
    /// What this process used up, which is the wallet.
    pub client: Cost,
    /// Processor time of the guardians together.
    pub guardians_cpu_ms: f64,
}

impl Recovered {
    /// Items of history per second.
    pub fn items_per_second(&self) -> f64 {
        self.items as f64 / self.seconds.max(1e-3)
    }

    /// In a few words; the same for all federations, whose logs differ a little in length.
    pub fn words(&self) -> String {
        let which = if self.wallet == 1 { "first wallet" } else { "next wallet" };
        let log = if self.filled_items == 0 { "" } else { ", filled log" };
        format!("recovery{log}, one guardian down, {which}")
    }
}

impl Subject {
    /// Makes history of at least `items` items through the wire and recovers; then, if `fill` is not zero
    /// and the guardians are ours, appends so many and recovers again.
    ///
    /// Errors: a recovery fails or finds other than what was there.
    pub async fn recovery(
        &mut self,
        items: u64,
        fill: u64,
        folder: &Path,
        narrator: &mut Narrator,
    ) -> Result<()> {
        narrator.begin(&format!("{}: history of {items} items", self.report.name));
        while self.log_length().await? < items {
            let missing = items.saturating_sub(self.log_length().await?);
            let count = usize::try_from(missing.div_ceil(ITEMS_PER_PAYMENT)).unwrap_or(BATCH);
            let count = count.min(BATCH);
            let payments = self.purse.payments(&self.federation, HISTORY, count).await?;
            let sent =
                closed_loop(&self.federation, payments.prepared, IN_FLIGHT, BATCH_TIME).await;
            ensure!(sent.succeeded() > 0, "no payment came through: {:?}", sent.first_failure);
            self.report.payments_in_all += sent.succeeded();
        }
        narrator.done(&format!("the log has {}", self.log_length().await?));
        self.recover_wallets(0, folder, narrator).await?;
        if fill > 0 && self.is_ours {
            self.fill_logs(fill, narrator).await?;
            self.recover_wallets(fill, folder, narrator).await?;
        }
        Ok(())
    }

    async fn log_length(&self) -> Result<u64> {
        self.federation.recovery_count().await
    }

    /// With the last guardian stopped, which comes back afterwards.
    async fn recover_wallets(
        &mut self,
        filled_items: u64,
        folder: &Path,
        narrator: &mut Narrator,
    ) -> Result<()> {
        let items = self.log_length().await?;
        let last = self.world.guardians.last_mut().context("a federation has guardians")?;
        // Gone either way; those of the reference end with an error.
        let _ = last.stop().await;
        tokio::time::sleep(DOWN_REST).await;
        let mut outcome = Ok(());
        for wallet in 1..=WALLETS {
            narrator.begin(&format!("{}: wallet {wallet} recovers", self.report.name));
            let folder = folder.join(format!("recovered-{items}-{wallet}"));
            match self.recover_one(&folder, items).await {
                Ok(recovered) => {
                    let recovered = Recovered { filled_items, wallet, ..recovered };
                    narrator.done(&in_short(&recovered));
                    self.report.recoveries.push(recovered);
                }
                Err(error) => {
                    outcome = Err(error.context("recover a wallet"));
                    break;
                }
            }
        }
        let last = self.world.guardians.last_mut().context("a federation has guardians")?;
        last.start().await?;
        outcome
    }

    async fn recover_one(&self, folder: &PathBuf, items: u64) -> Result<Recovered> {
        let invite: InviteCode = self.world.invite.parse().context("read the invite")?;
        let us = std::process::id();
        let before = (self.sample()?, Sample::take(us, None)?);
        let began = Instant::now();
        let wallet = Wallet::restore(folder, self.wallet.words.clone(), client_kinds())?;
        let client = wallet.recover(&invite, Derivation::Standard).await?;
        let joining = began.elapsed();
        await_notes(&client).await?;
        let elapsed = began.elapsed();
        let after = (self.sample()?, Sample::take(us, None)?);
        let balance = client.balance().await?;
        client.shutdown().await;
        let owned = self.owned_by_wallet();
        ensure!(balance == owned, "the recovered wallet has {} msat of {}", balance.0, owned.0);
        let costs = after.0.iter().zip(&before.0).map(|(after, before)| after.since(before));
        Ok(Recovered {
            items,
            filled_items: 0,
            wallet: 1,
            seconds: elapsed.as_secs_f64(),
            joining_seconds: joining.as_secs_f64(),
            client: after.1.since(&before.1),
            guardians_cpu_ms: costs.map(|cost| cost.cpu_ms).sum(),
        })
    }

    /// What is left in the wallet, and what it gave away and nobody has spent.
    fn owned_by_wallet(&self) -> Msat {
        let given = self.wallet.given.iter().filter(|note| self.purse.contains(note));
        given
            .filter_map(|note| note.denomination.value())
            .fold(self.wallet.left, Msat::saturating_add)
    }

    async fn fill_logs(&mut self, items: u64, narrator: &mut Narrator) -> Result<()> {
        narrator.begin(&format!("Write {items} items into the stores of all guardians"));
        stop_all(&mut self.world).await;
        let instance = self.federation.mint.instance;
        for guardian in &self.world.guardians {
            fill_log(&guardian.data_dir().join(DATABASE), instance, items).await?;
        }
        start_all(&mut self.world).await?;
        narrator.done(&format!("the log has {}", self.log_length().await?));
        Ok(())
    }
}

async fn fill_log(store: &Path, instance: ModuleInstanceId, items: u64) -> Result<()> {
    let this = std::env::current_exe().context("find this program")?;
    let program = this.with_file_name(FILLER);
    let status = tokio::process::Command::new(&program)
        .arg("--append-log")
        .arg(store)
        .args(["--instance", &instance.0.to_string(), "--items", &items.to_string()])
        .status()
        .await
        .with_context(|| format!("start {}; cargo build -p moneta-hot", program.display()))?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(())
}

async fn await_notes(client: &Client) -> Result<()> {
    let operations = client.operations(OPERATIONS).await?;
    let recoveries: Vec<_> =
        operations.into_iter().filter(|operation| operation.kind == "recover").collect();
    ensure!(!recoveries.is_empty(), "the wallet does not search");
    for operation in recoveries {
        client.wait_operation(operation.id).await?;
    }
    Ok(())
}

fn in_short(recovered: &Recovered) -> String {
    format!(
        "{:.2} s, {:.0} items per s; joining {:.2} s; the wallet {:.0} % of a core, guardians {:.1} s of processor",
        recovered.seconds,
        recovered.items_per_second(),
        recovered.joining_seconds,
        recovered.client.cpu_percent(),
        recovered.guardians_cpu_ms / 1e3,
    )
}
