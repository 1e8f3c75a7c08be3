//! The wallet a command works on: its folder, the federation that is meant, and waiting.

use std::path::PathBuf;
use std::time::Duration;

use moneta_client::history::Operation;
use moneta_client::join::{Absent, RollCall};
use moneta_client::meta;
use moneta_client::online::{Client, ClientInfo, Ended, OpenError, Wallet, WalletError};
use moneta_core::id::{FederationId, OperationId};
use moneta_meta::client::{MetaClient, MetaClientKind};
use moneta_meta::words::{ConsensusValue, KIND as META};
use moneta_mint::client::MintClientKind;
use moneta_module::client::ClientKind;
use moneta_store::StoreError;
use moneta_wallet::client::WalletClientKind;

use super::args::Global;
use super::coins;
use super::failure::Failure;
use super::screen::Screen;

/// Between two looks at what is still under way. There is no event for it: new notes are nobody's
/// news.
const SETTLE_TICK: Duration = Duration::from_millis(10);

/// Operations looked through for the beginning of an id.
const OPERATIONS_SEARCHED: usize = 10_000;

/// What to do when a question had no answer in time.
const QUESTION_HINT: &str = "too few guardians answer, or the network is slow. Nothing happened, so \
                             repeat the command; --timeout sets how long to wait";

/// What to do when something that was begun had no end in time. A payment that is repeated then is paid
/// twice.
const OPERATION_HINT: &str = "too few guardians answer, or the network is slow. Nothing is lost and \
                              nothing must be repeated: it goes on at the next command. `moneta \
                              history` lists it, `moneta show ID --wait` waits for it";

/// What a command is run with.
pub struct Context {
    /// Where to print.
    pub screen: Screen,
    /// The flags that hold for every command.
    pub global: Global,
}

/// The kinds of modules this program knows.
pub fn client_kinds() -> Vec<Box<dyn ClientKind>> {
    vec![Box::new(MetaClientKind), Box::new(MintClientKind), Box::new(WalletClientKind)]
}

impl Context {
    /// Puts both together.
    pub fn new(screen: Screen, global: Global) -> Self {
        Self { screen, global }
    }

    /// The wallet's folder.
    ///
    /// Errors: none is named and there is no home folder.
    pub fn folder(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.global.wallet {
            return Ok(folder.clone());
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.ok_or_else(|| {
            Failure::refused("there is no home folder").hint("name the wallet's with --wallet")
        })?;
        Ok(PathBuf::from(home).join(".moneta"))
    }

    /// Opens the wallet.
    pub fn wallet(&self) -> Result<Wallet, Failure> {
        Ok(Wallet::open(self.folder()?, client_kinds())?)
    }

    /// Opens the wallet and the federation that is meant, lets `work` use it, and closes both.
    pub async fn use_client<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let wallet = self.wallet()?;
        let federation = self.federation(&wallet).await?;
        self.use_federation(&wallet, federation, work).await
    }

    /// Opens one federation, lets `work` use it, and closes it.
    pub async fn use_federation<T>(
        &self,
        wallet: &Wallet,
        federation: FederationId,
        work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let client = wallet.client(federation).await?;
        let result = work(&client).await;
        client.shutdown().await;
        result
    }

    /// The federation that is meant: the named one, else the selected or only one.
    pub async fn federation(&self, wallet: &Wallet) -> Result<FederationId, Failure> {
        match &self.global.federation {
            Some(text) => self.find_federation(wallet, text).await,
            None => wallet.selected()?.ok_or_else(|| match wallet.federations() {
                Ok(federations) if federations.is_empty() => {
                    Failure::refused("this wallet has joined no federation")
                        .hint("join one with `moneta join INVITE`")
                }
                _ => Failure::refused("this wallet has joined several federations")
                    .hint("name one with --federation; `moneta info` lists them"),
            }),
        }
    }

    /// By the beginning of its id, else by its name. One that cannot be opened has no name that we know.
    async fn find_federation(&self, wallet: &Wallet, text: &str) -> Result<FederationId, Failure> {
        let by_id = wallet.find_federation(text);
        if !text.is_empty() && by_id.is_ok() {
            return Ok(by_id?);
        }
        let mut named = Vec::new();
        for (federation, name) in self.each_federation(wallet, federation_name).await? {
            if name.is_ok_and(|name| name.as_deref() == Some(text)) {
                named.push(federation);
            }
        }
        match named.as_slice() {
            [federation] => Ok(*federation),
            _ => Ok(by_id?),
        }
    }

    /// Opens the federations that were joined one after the other and asks each. One that cannot be opened
    /// says why and stops nobody else: its store may be damaged, while the others hold sound money.
    ///
    /// Errors: the wallet's folder cannot be read.
    pub async fn each_federation<T>(
        &self,
        wallet: &Wallet,
        ask: impl AsyncFn(&Client) -> T,
    ) -> Result<Vec<(FederationId, Result<T, Failure>)>, Failure> {
        let mut answers = Vec::new();
        for federation in wallet.federations()? {
            match wallet.client(federation).await {
                Ok(client) => {
                    answers.push((federation, Ok(ask(&client).await)));
                    client.shutdown().await;
                }
                // Left by a join that did not finish, at one point or another.
                Err(
                    WalletError::Open(OpenError::NotJoined(_))
                    | WalletError::Store(StoreError::Missing { .. }),
                ) => {}
                Err(error) => answers.push((federation, Err(error.into()))),
            }
        }
        Ok(answers)
    }

    /// Waits for an answer as long as the command may take.
    ///
    /// Errors: `Unavailable` after that; nothing happened.
    pub async fn within<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.until(what, work, Failure::unavailable, QUESTION_HINT).await
    }

    /// [`Context::within`] for a join: the failure names the guardians that have not answered.
    pub async fn within_roll<T>(
        &self,
        what: &str,
        roll: &RollCall,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let late = |message: String| Failure::unavailable(message + &absent(&roll.absent()));
        self.until(what, work, late, QUESTION_HINT).await
    }

    /// Waits for the end of something that was begun, as long as the command may take.
    ///
    /// Errors: `Pending` after that; it goes on at the next command.
    pub async fn follow<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.until(what, work, Failure::pending, OPERATION_HINT).await
    }

    /// [`Context::follow`], for ever unless the command line sets a limit.
    pub async fn follow_on<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match self.global.timeout {
            Some(_) => self.follow(what, work).await,
            None => self.screen.wait(what, work).await,
        }
    }

    async fn until<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Failure>>,
        late: impl FnOnce(String) -> Failure,
        hint: &str,
    ) -> Result<T, Failure> {
        let patience = self.global.patience();
        match tokio::time::timeout(patience, self.screen.wait(what, work)).await {
            Ok(result) => result,
            Err(_) => {
                let seconds = patience.as_secs();
                Err(late(format!("{what}: not done after {seconds} s")).hint(hint))
            }
        }
    }
}

/// Who did not answer, as the end of a sentence. Other programs' words in it are harmless already.
fn absent(absent: &[Absent]) -> String {
    let absent: Vec<_> = absent.iter().map(ToString::to_string).collect();
    if absent.is_empty() { String::new() } else { format!("; {}", absent.join("; ")) }
}

/// Waits until an operation has ended and everything it set going is done, its change included.
pub async fn settled(client: &Client, id: OperationId) -> Result<Ended, Failure> {
    let ended = client.wait_operation(id).await?;
    while client.with_driver(move |driver| driver.under_way().contains_key(&id)).await {
        tokio::time::sleep(SETTLE_TICK).await;
    }
    Ok(ended)
}

/// Waits until nothing is under way that a wait could bring to its end, at most for `limit`.
/// Returns how many operations are under way then.
pub async fn settle_all(client: &Client, limit: Duration) -> Result<usize, Failure> {
    let settling = async {
        loop {
            // A deposit below the fee may rest for ever, since anybody can send some dust, and one that
            // waits for blocks for an hour.
            let resting = coins::resting(client).await?;
            let open = client.with_driver(|driver| driver.under_way()).await;
            if open.keys().all(|id| resting.contains(id)) {
                return Ok::<_, Failure>(());
            }
            tokio::time::sleep(SETTLE_TICK).await;
        }
    };
    tokio::time::timeout(limit, settling).await.unwrap_or(Ok(()))?;
    Ok(client.with_driver(|driver| driver.under_way().len()).await)
}

/// The operation whose id begins with `text`.
pub async fn find_operation(client: &Client, text: &str) -> Result<Operation, Failure> {
    let text = text.trim().to_lowercase();
    if let Ok(id) = text.parse::<OperationId>() {
        let found = client.operation(id).await?;
        return found.map(|(operation, _)| operation).ok_or_else(|| no_operation(&text));
    }
    let operations = client.operations(OPERATIONS_SEARCHED).await?.into_iter();
    let fits = |operation: &Operation| operation.id.to_string().starts_with(&text);
    let mut fitting = operations.filter(|operation| !text.is_empty() && fits(operation));
    match (fitting.next(), fitting.next()) {
        (Some(operation), None) => Ok(operation),
        (Some(_), Some(_)) => {
            Err(Failure::refused(format!("several operations begin with {text}"))
                .hint("give more of the id"))
        }
        (None, _) => Err(no_operation(&text)),
    }
}

fn no_operation(text: &str) -> Failure {
    Failure::refused(format!("there is no operation {text:?}"))
        .hint("`moneta history` lists the operations and their ids")
}

/// The metadata that the guardians agreed on later, as last read.
pub async fn agreed_meta(client: &Client) -> Result<Option<ConsensusValue>, Failure> {
    let Some(instance) = client.find_module(&META) else { return Ok(None) };
    let read = client
        .with_driver(move |driver| {
            let module = driver.module::<MetaClient>(instance)?;
            Some(module.metadata(&driver.module_view(instance)))
        })
        .await;
    Ok(read.transpose()?.flatten())
}

/// What the federation is called.
pub async fn federation_name(client: &Client) -> Option<String> {
    let agreed = agreed_meta(client).await.ok().flatten();
    name_of(client.info(), agreed.as_ref())
}

fn name_of(info: &ClientInfo, agreed: Option<&ConsensusValue>) -> Option<String> {
    let value = agreed.map(|agreed| agreed.value.0.as_slice());
    let fields = meta::fields(value, &info.meta).or_else(|_| meta::fields(None, &info.meta));
    meta::text(&fields.ok()?, "federation_name")
}
