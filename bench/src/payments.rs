//! Two wallets, a deposit, and payments between them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bitcoin::Amount;
use moneta::world::World;
use moneta_client::driver::ActError;
use moneta_client::online::{Client, Wallet};
use moneta_core::{InviteCode, ModuleInstanceId, Msat};
use moneta_load::drive::Moment;
use moneta_meta::client::MetaClientKind;
use moneta_mint::client::{MintClient, MintClientKind, SendProgress};
use moneta_mint::words::ECash;
use moneta_module::client::{ClientKind, End};
use moneta_wallet::client::{AddressError, WalletClient, WalletClientKind};

/// Deposited by the sender, in sat: enough for an hour of payments, of which there are ten a second.
const DEPOSIT_SAT: u64 = 60_000_000;

/// One payment, in msat: an odd amount, so that change is needed as in life.
const PAYMENT: Msat = Msat(1_234_000);

/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long to pay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Length {
    /// So many payments.
    Count(usize),
    /// Payments until so much time has passed; the last one is finished.
    Time(Duration),
}

/// Two wallets in one federation.
pub(crate) struct Bench {
    sender: Member,
    receiver: Member,
}

struct Member {
    _wallet: Wallet,
    client: Client,
    mint: ModuleInstanceId,
    wallet_module: ModuleInstanceId,
}

fn kinds() -> Vec<Box<dyn ClientKind>> {
    vec![Box::new(MetaClientKind), Box::new(MintClientKind), Box::new(WalletClientKind)]
}

impl Member {
    async fn join(folder: &Path, invite: &InviteCode) -> Result<Self> {
        let wallet = Wallet::create(folder, kinds()).context("make a wallet")?;
        let client = wallet.join(invite).await.context("join the federation")?;
        let find = |kind: &str| {
            let found = client.info().modules.iter().find(|(_, known)| known.as_str() == kind);
            found.map(|(instance, _)| *instance).with_context(|| format!("no module {kind}"))
        };
        let (mint, wallet_module) = (find("mintv2")?, find("walletv2")?);
        Ok(Self { _wallet: wallet, client, mint, wallet_module })
    }
}

impl Bench {
    /// Both wallets join.
    pub(crate) async fn enter(world: &World, folder: &Path) -> Result<Self> {
        let invite: InviteCode = world.invite.parse().context("read the invite")?;
        let sender = Member::join(&folder.join("sender"), &invite).await?;
        let receiver = Member::join(&folder.join("receiver"), &invite).await?;
        Ok(Self { sender, receiver })
    }

    /// The sender deposits. Returns the time from the last needed block to spendable e-cash.
    pub(crate) async fn deposit(&self, world: &World) -> Result<Duration> {
        let member = &self.sender;
        let started = Instant::now();
        let address = loop {
            let address = member
                .client
                .act::<WalletClient, _, _, _>(member.wallet_module, |module, turn| {
                    module.address(turn)
                })
                .await;
            match address {
                Ok(address) => break address,
                Err(ActError::Action(AddressError::Searching { .. })) => {}
                Err(error) => bail!("no address: {error}"),
            }
            ensure!(started.elapsed() < PATIENCE, "no deposit address was found in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        world.bitcoind.send(&address.to_string(), Amount::from_sat(DEPOSIT_SAT)).await?;
        // One block holds the deposit; seven more bury it, the last of which is measured.
        world.bitcoind.mine(7).await?;
        // Whatever the guardians do about these blocks they do before the one that counts.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let started = Instant::now();
        world.bitcoind.mine(1).await?;
        while member.client.balance().await? == Msat::ZERO {
            ensure!(started.elapsed() < PATIENCE, "the deposit was not claimed in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(started.elapsed())
    }

    /// Payments one after the other; when each began, counted from `began`, and the time from the wish to
    /// send to notes the receiver can spend, in order.
    pub(crate) async fn pay(&self, length: Length, began: Instant) -> Result<Vec<Moment>> {
        let mut moments = Vec::new();
        loop {
            let started = Instant::now();
            let due = started.saturating_duration_since(began);
            let enough = match length {
                Length::Count(count) => moments.len() >= count,
                Length::Time(time) => due >= time,
            };
            if enough {
                return Ok(moments);
            }
            let ecash = self.send().await?;
            let ecash: ECash = ecash.parse().context("read the e-cash")?;
            let receiver = &self.receiver;
            let operation = receiver
                .client
                .act::<MintClient, _, _, _>(receiver.mint, move |module, turn| {
                    module.receive(turn, &ecash)
                })
                .await
                .map_err(|error| anyhow::anyhow!("not received: {error}"))?;
            let ended = receiver.client.wait_operation(operation).await?;
            ensure!(ended.end == End::Succeeded, "a payment failed: {:?}", ended.events);
            moments.push(Moment { due, paid: started.elapsed() });
        }
    }

    async fn send(&self) -> Result<String> {
        let sender = &self.sender;
        let progress = sender
            .client
            .act::<MintClient, _, _, _>(sender.mint, |module, turn| {
                module.send(turn, PAYMENT, None)
            })
            .await
            .map_err(|error| anyhow::anyhow!("not sent: {error}"))?;
        let operation = match progress {
            SendProgress::Ready { ecash, .. } => return Ok(ecash.to_string()),
            SendProgress::Pending { operation } => operation,
        };
        let ended = sender.client.wait_operation(operation).await?;
        let sent = ended.events.iter().find(|event| event.kind == "payment-send");
        let ecash = sent.and_then(|event| event.payload.get("ecash")?.as_str().map(str::to_owned));
        ecash.with_context(|| format!("a send ended without e-cash: {:?}", ended.events))
    }

    /// Closes both wallets.
    pub(crate) async fn leave(self) {
        self.sender.client.shutdown().await;
        self.receiver.client.shutdown().await;
    }
}
