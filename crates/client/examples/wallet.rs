//! A wallet in a program of its own: join a federation, show where to deposit, hand out e-cash, take
//! e-cash.
//!
//! ```text
//! cargo run -p moneta-client --features online --example wallet -- FOLDER INVITE [AMOUNT_MSAT | ECASH]
//! ```
//!
//! What an embedding program has to know:
//! * Whatever [`Client::act`] returned is durable. Closing, a crash and no network only delay it.
//! * An operation is over when it has an end, in the history or from [`Client::wait_operation`].
//! * Errors say which kind they are in their text's documentation: *refused* (do not try again),
//!   *unavailable* (try again), *broken* (open the wallet again, or get help).

use std::time::Duration;

use anyhow::{Context, bail};
use moneta_client::driver::ActError;
use moneta_client::online::{Client, Wallet, WalletError};
use moneta_core::amount::Msat;
use moneta_core::id::{ModuleInstanceId, ModuleKind, OperationId};
use moneta_core::invite::InviteCode;
use moneta_mint::client::{MintClient, MintClientKind, SendProgress};
use moneta_mint::words::{ECash, KIND as MINT};
use moneta_module::client::{ClientKind, End};
use moneta_wallet::client::{AddressError, WalletClient, WalletClientKind};
use moneta_wallet::words::KIND as WALLET;

/// The kinds of money this program knows. Modules of other kinds are left alone.
fn kinds() -> Vec<Box<dyn ClientKind>> {
    vec![Box::new(MintClientKind), Box::new(WalletClientKind)]
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("which folder?")?;
    let invite: InviteCode = arguments.next().context("which invite?")?.parse()?;
    let client = open(&folder, &invite).await?;
    println!("balance: {}", client.balance().await?);
    match arguments.next() {
        None => println!("deposit at: {}", deposit_address(&client).await?),
        Some(text) => match text.parse() {
            Ok(msat) => println!("{}", send(&client, Msat(msat)).await?),
            Err(_) => receive(&client, text.parse()?).await?,
        },
    }
    for late in client.unsettled().await.into_iter().filter(|it| it.is_stalled) {
        println!("transaction {} is not accepted yet; it is tried on and on", late.txid);
    }
    // Optional: whatever is under way goes on at the next start.
    client.shutdown().await;
    Ok(())
}

/// Opens the wallet in `folder`, or makes one; joins the federation, or opens it.
async fn open(folder: &str, invite: &InviteCode) -> anyhow::Result<Client> {
    let wallet = match Wallet::open(folder, kinds()) {
        Err(WalletError::Missing { .. }) => {
            let wallet = Wallet::create(folder, kinds())?;
            println!("write these words down: {}", *wallet.words().reveal());
            wallet
        }
        opened => opened?,
    };
    match wallet.join(invite).await {
        Err(WalletError::Joined(federation)) => Ok(wallet.client(federation).await?),
        joined => Ok(joined?),
    }
}

fn module(client: &Client, kind: &ModuleKind) -> anyhow::Result<ModuleInstanceId> {
    client.find_module(kind).with_context(|| format!("the federation has no module {kind}"))
}

/// An address of the federation whose deposits are this wallet's.
async fn deposit_address(client: &Client) -> anyhow::Result<String> {
    let instance = module(client, &WALLET)?;
    loop {
        let address = client.act(instance, |wallet: &WalletClient, turn| wallet.address(turn));
        match address.await {
            Ok(address) => return Ok(address.to_string()),
            // The first one takes some seconds of hashing, once in a wallet's life.
            Err(ActError::Action(AddressError::Searching { .. })) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Hands out e-cash: whoever has the text has the money.
async fn send(client: &Client, amount: Msat) -> anyhow::Result<ECash> {
    let instance = module(client, &MINT)?;
    let sent = client.act(instance, move |mint: &MintClient, turn| mint.send(turn, amount, None));
    let operation = match sent.await? {
        SendProgress::Ready { ecash, .. } => return Ok(ecash),
        // The notes at hand do not fit; the federation changes them.
        SendProgress::Pending { operation } => operation,
    };
    wait(client, operation).await?;
    let sent = client.with_driver(move |driver| {
        let view = driver.module_view(instance);
        driver.module::<MintClient>(instance).map(|mint| mint.sent(&view, operation))
    });
    sent.await.context("the mint is in use")??.context("the operation handed out e-cash")
}

/// Exchanges somebody's notes for notes only this wallet knows.
async fn receive(client: &Client, ecash: ECash) -> anyhow::Result<()> {
    let instance = module(client, &MINT)?;
    let received = client.act(instance, move |mint: &MintClient, turn| mint.receive(turn, &ecash));
    wait(client, received.await?).await?;
    println!("balance: {}", client.balance().await?);
    Ok(())
}

async fn wait(client: &Client, operation: OperationId) -> anyhow::Result<()> {
    match client.wait_operation(operation).await?.end {
        End::Succeeded => Ok(()),
        End::Failed => bail!("operation {operation} failed; no money was lost"),
    }
}
