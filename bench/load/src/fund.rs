//! The one deposit of a load test: made with the wallet library, since only a wallet knows how, then
//! taken over as notes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bitcoin::Amount;
use moneta::world::World;
use moneta_client::driver::ActError;
use moneta_client::online::{Client, Wallet};
use moneta_client::words::Words;
use moneta_core::{InviteCode, ModuleKind, Msat};
use moneta_meta::client::MetaClientKind;
use moneta_mint::client::{MintClient, MintClientKind, SendProgress};
use moneta_mint::words::{ECash, SpendableNote};
use moneta_module::client::ClientKind;
use moneta_wallet::client::{AddressError, WalletClient, WalletClientKind};

/// Deposited, in sat.
const DEPOSIT_SAT: u64 = 50_000_000;

/// Taken over from the wallet: one large note, enough for millions of small ones.
const TAKEN: Msat = Msat(1 << 35);

/// How long the deposit may take: a busy machine delays guardians of the reference by minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Blocks that bury a deposit.
const BLOCKS: u64 = 11;

/// What a deposit has led to.
pub struct Funded {
    /// Notes nobody else has.
    pub notes: Vec<SpendableNote>,
    /// From the last needed block to spendable e-cash.
    pub time: Duration,
    /// The wallet that made it.
    pub wallet: FundedWallet,
}

/// A wallet that is closed, as its owner remembers it.
pub struct FundedWallet {
    /// All that is needed to find it again.
    pub words: Words,
    /// What is left in it.
    pub left: Msat,
    /// What it gave to the load test. Recovery finds those that nobody has spent yet, too.
    pub given: Vec<SpendableNote>,
}

/// The kinds of modules that wallets of a load test know.
pub fn client_kinds() -> Vec<Box<dyn ClientKind>> {
    vec![Box::new(MetaClientKind), Box::new(MintClientKind), Box::new(WalletClientKind)]
}

/// Deposits in the world's federation.
///
/// Errors: the federation does not take the deposit in time.
pub async fn deposit(world: &World, folder: &Path) -> Result<Funded> {
    let invite: InviteCode = world.invite.parse().context("read the invite")?;
    let wallet = Wallet::create(folder, client_kinds()).context("make a wallet")?;
    let client = wallet.join(&invite).await.context("join the federation")?;
    let time = claim(world, &client).await?;
    let ecash = take(&client).await?;
    let left = client.balance().await?;
    client.shutdown().await;
    let words = wallet.words().reveal().parse().context("read the wallet's own words")?;
    let notes: Vec<SpendableNote> = ecash.notes().copied().collect();
    let wallet = FundedWallet { words, left, given: notes.clone() };
    Ok(Funded { notes, time, wallet })
}

async fn claim(world: &World, client: &Client) -> Result<Duration> {
    let module = client.find_module(&ModuleKind::from_static("walletv2")).context("no walletv2")?;
    let began = Instant::now();
    let address = loop {
        let asked =
            client.act::<WalletClient, _, _, _>(module, |wallet, turn| wallet.address(turn)).await;
        match asked {
            Ok(address) => break address,
            Err(ActError::Action(AddressError::Searching { .. })) => {}
            Err(error) => bail!("no deposit address: {error}"),
        }
        ensure!(began.elapsed() < PATIENCE, "no deposit address was found in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    world.bitcoind.send(&address.to_string(), Amount::from_sat(DEPOSIT_SAT)).await?;
    let began = Instant::now();
    world.bitcoind.mine(BLOCKS).await?;
    while client.balance().await? == Msat::ZERO {
        ensure!(began.elapsed() < PATIENCE, "the deposit was not claimed in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(began.elapsed())
}

async fn take(client: &Client) -> Result<ECash> {
    let module = client.find_module(&moneta_mint::words::KIND).context("no mintv2")?;
    let progress = client
        .act::<MintClient, _, _, _>(module, |mint, turn| mint.send(turn, TAKEN, None))
        .await
        .map_err(|error| anyhow::anyhow!("the wallet does not send: {error}"))?;
    let operation = match progress {
        SendProgress::Ready { ecash, .. } => return Ok(ecash),
        SendProgress::Pending { operation } => operation,
    };
    let ended = client.wait_operation(operation).await?;
    let sent = ended.events.iter().find_map(|event| event.payload.get("ecash")?.as_str());
    Ok(sent.context("a send ended without e-cash")?.parse()?)
}
