//! What the commands say to the module for on-chain bitcoin.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, Network, Txid};
use moneta_client::online::{AskError, Client};
use moneta_core::Decode;
use moneta_core::amount::Msat;
use moneta_core::config::ClientConfig;
use moneta_core::id::{ModuleInstanceId, OperationId};
use moneta_module::client::{SubmitError, Turn};
use moneta_wallet::client::{
    AddressError, Deposit, DepositStatus, Machine, SendError, WalletClient, parse_fee,
    send_fee_call,
};
use moneta_wallet::words::{KIND as WALLET, WalletConfig};
use serde_json::Value;

use super::amount::readable_sat;
use super::failure::Failure;

/// How long guardians may take to agree on a fee. They do in a moment unless too few are there.
const FEE_LIMIT: Duration = Duration::from_secs(30);

/// How often the largest possible withdrawal is looked for. Each round closes in by what the last
/// one lacked; two are usual.
const ROUNDS_FOR_ALL: usize = 64;

/// The federation's module for bitcoin.
///
/// Errors: it has none this program can use.
pub fn wallet(client: &Client) -> Result<ModuleInstanceId, Failure> {
    client.find_module(&WALLET).ok_or_else(|| {
        Failure::refused("the federation has no bitcoin module that this wallet can use")
            .hint("a newer release of the wallet may be able to; `moneta info` lists the modules")
    })
}

/// What the module is configured to.
async fn config(client: &Client) -> Option<WalletConfig> {
    let instance = client.find_module(&WALLET)?;
    let read = move |driver: &mut moneta_client::driver::Driver| {
        driver.module::<WalletClient>(instance).map(|wallet| wallet.config().clone())
    };
    client.with_driver(read).await
}

/// The Bitcoin network of a federation that was joined.
pub async fn network(client: &Client) -> Option<Network> {
    config(client).await.map(|config| config.network)
}

/// The Bitcoin network of a federation that may be joined; `None` if it has no bitcoin module this
/// program can use.
pub fn network_of(config: &ClientConfig) -> Option<Network> {
    let entry = config.modules.values().find(|entry| entry.kind == WALLET)?;
    Some(WalletConfig::from_bytes(&entry.config.bytes).ok()?.network)
}

/// The address to receive at; `None` while the first one is searched.
pub async fn address(client: &Client) -> Result<Option<Address>, Failure> {
    let instance = wallet(client)?;
    let act = |wallet: &WalletClient, turn: &mut Turn<'_, Machine>| match wallet.address(turn) {
        Ok(address) => Ok(Some(address)),
        Err(AddressError::Searching { .. }) => Ok(None),
        Err(AddressError::Store(error)) => Err(SubmitError::Store(error)),
        Err(error) => Err(invariant(&error)),
    };
    Ok(client.act(instance, act).await?)
}

/// Whether the federation's log of deposits was read to its end, so that all of a restored wallet are
/// known.
pub async fn is_log_read(client: &Client) -> Result<bool, Failure> {
    let instance = wallet(client)?;
    let read = client
        .with_driver(move |driver| {
            let wallet = driver.module::<WalletClient>(instance)?;
            Some(wallet.end_seen_at(&driver.module_view(instance)))
        })
        .await;
    Ok(read.transpose()?.flatten().is_some())
}

/// The deposits found so far, each with its operation.
pub async fn deposits(client: &Client) -> Result<Vec<(OperationId, Deposit)>, Failure> {
    let instance = wallet(client)?;
    let read = client
        .with_driver(move |driver| {
            let wallet = driver.module::<WalletClient>(instance)?;
            let deposits = wallet.deposits(&driver.module_view(instance));
            let named = |(index, deposit)| (wallet.deposit_operation(index), deposit);
            Some(deposits.map(|deposits| deposits.into_iter().map(named).collect()))
        })
        .await;
    Ok(read.transpose()?.unwrap_or_default())
}

/// The deposits that wait for a lower fee, or for blocks.
pub async fn resting(client: &Client) -> Result<BTreeSet<OperationId>, Failure> {
    if client.find_module(&WALLET).is_none() {
        return Ok(BTreeSet::new());
    }
    let deposits = deposits(client).await?.into_iter();
    let rests =
        |status: &_| matches!(status, DepositStatus::Uneconomical { .. } | DepositStatus::Queued);
    Ok(deposits.filter(|(_, deposit)| rests(&deposit.status)).map(|(id, _)| id).collect())
}

/// What a withdrawal takes from the wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// What the address gets.
    pub value: Amount,
    /// What miners get.
    pub fee: Amount,
    /// What the federation keeps; its fee for e-cash notes comes on top.
    pub federation_fee: Msat,
}

impl Quote {
    /// What it takes from the wallet, short of the fee for e-cash notes.
    pub fn total(&self) -> Option<Msat> {
        Msat::from_sat(self.value.checked_add(self.fee)?)?.checked_add(self.federation_fee)
    }
}

/// An address to withdraw to.
pub fn parse_address(text: &str) -> Result<Address<NetworkUnchecked>, Failure> {
    text.trim().parse().map_err(|error| {
        Failure::refused(format!("the text is no bitcoin address: {error}"))
            .hint("copy the whole address again; a single wrong letter is noticed")
    })
}

/// What withdrawing `value` costs now, or with `None` the largest withdrawal possible.
///
/// Errors: the withdrawal is not possible, and why.
pub async fn quote(
    client: &Client,
    address: &Address<NetworkUnchecked>,
    value: Option<Amount>,
) -> Result<Quote, Failure> {
    let instance = wallet(client)?;
    let config = config(client).await.ok_or_else(|| Failure::broken("the module is gone"))?;
    // Refuse what can be refused before anybody is asked.
    check(client, instance, address, value.unwrap_or(config.dust_limit)).await?;
    let fee = fee(client, instance).await?;
    let quote = |value: Amount| {
        let gross = value.checked_add(fee).and_then(Msat::from_sat);
        let federation_fee = gross.map(|gross| config.fee_consensus.fee(gross));
        federation_fee.map(|federation_fee| Quote { value, fee, federation_fee })
    };
    let out_of_range = || Failure::from(SubmitError::Overflow);
    if let Some(value) = value {
        return match probe(client, instance, address, value, fee).await? {
            None => quote(value).ok_or_else(out_of_range),
            Some(error) => Err(error.into()),
        };
    }
    // From above down to what fits. What lacks is told in msat; whole satoshis are taken off.
    let mut value = client.balance().await?.floor_to_sat().checked_sub(fee).unwrap_or_default();
    for _ in 0..ROUNDS_FOR_ALL {
        if value < config.dust_limit {
            break;
        }
        match probe(client, instance, address, value, fee).await? {
            None => return quote(value).ok_or_else(out_of_range),
            Some(SubmitError::Insufficient { needed, available }) => {
                let lacking = needed.saturating_sub(available).0.div_ceil(1000).max(1);
                value = value.checked_sub(Amount::from_sat(lacking)).unwrap_or_default();
            }
            Some(error) => return Err(error.into()),
        }
    }
    Err(Failure::refused(format!(
        "the wallet holds too little for any withdrawal: the least is {} and the network fee {} on top",
        readable_sat(config.dust_limit),
        readable_sat(fee)
    ))
    .hint("get more e-cash first, or `moneta send` it to somebody"))
}

/// Starts a withdrawal.
pub async fn withdraw(
    client: &Client,
    address: &Address<NetworkUnchecked>,
    quote: Quote,
) -> Result<OperationId, Failure> {
    let instance = wallet(client)?;
    let address = address.clone();
    let act = move |wallet: &WalletClient, turn: &mut Turn<'_, Machine>| {
        wallet.send(turn, &address, quote.value, quote.fee)
    };
    Ok(client.act(instance, act).await?)
}

/// The bitcoin transaction that a withdrawal's last event names.
pub fn txid(payload: &Value) -> Option<Txid> {
    payload["status"]["Success"].as_str()?.parse().ok()
}

async fn check(
    client: &Client,
    instance: ModuleInstanceId,
    address: &Address<NetworkUnchecked>,
    value: Amount,
) -> Result<(), Failure> {
    let address = address.clone();
    let checked = client
        .with_driver(move |driver| {
            let wallet = driver.module::<WalletClient>(instance)?;
            Some(wallet.check_destination(&address, value).map(drop))
        })
        .await;
    checked.transpose()?;
    Ok(())
}

async fn fee(client: &Client, instance: ModuleInstanceId) -> Result<Amount, Failure> {
    let answer = client.ask(instance, send_fee_call(), FEE_LIMIT).await?;
    parse_fee(&answer).ok_or_else(|| {
        Failure::unavailable("the guardians know no network fee yet")
            .hint("they learn it from the Bitcoin network; try again in some minutes")
    })
}

/// Plans a withdrawal without making it: returns why it would not be made, if so.
async fn probe(
    client: &Client,
    instance: ModuleInstanceId,
    address: &Address<NetworkUnchecked>,
    value: Amount,
    fee: Amount,
) -> Result<Option<SubmitError>, Failure> {
    /// Ends the turn, so that nothing of it happens.
    enum Probed {
        Fits,
        No(SendError),
    }
    let address = address.clone();
    let act = move |wallet: &WalletClient, turn: &mut Turn<'_, Machine>| -> Result<(), Probed> {
        Err(match wallet.send(turn, &address, value, fee) {
            Ok(_) => Probed::Fits,
            Err(error) => Probed::No(error),
        })
    };
    match client.act(instance, act).await {
        Ok(()) => Err(Failure::broken("a plan was taken for a deed")),
        Err(moneta_client::driver::ActError::Action(Probed::Fits)) => Ok(None),
        Err(moneta_client::driver::ActError::Action(Probed::No(SendError::Submit(error)))) => {
            Ok(Some(error))
        }
        Err(moneta_client::driver::ActError::Action(Probed::No(error))) => Err(error.into()),
        Err(moneta_client::driver::ActError::Store(error)) => Err(error.into()),
        Err(_) => wallet(client).map(|_| None),
    }
}

fn invariant(error: &AddressError) -> SubmitError {
    tracing::error!(%error, "no address");
    SubmitError::Invariant("the wallet gives no address")
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let message = error.to_string();
        match error {
            SendError::Submit(error) => error.into(),
            SendError::WrongNetwork { network } => {
                Self::refused(message).hint(format!("give an address of {network}"))
            }
            SendError::BelowDust { value, dust_limit } => Self::refused(format!(
                "{} is too little for a bitcoin transaction",
                readable_sat(value)
            ))
            .hint(format!("the least is {}", readable_sat(dust_limit))),
            SendError::UnsupportedAddress => Self::refused(message)
                .hint("give an address of one of the usual kinds, such as bc1q... or bc1p..."),
            _ => Self::refused(message),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NoAnswer => Self::unavailable(error)
                .hint("check your connection; nothing happened, so repeat the command"),
            other => Self::refused(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::super::failure::Kind;
    use super::*;

    #[test]
    fn mistyped_address_is_refused() {
        let good = "bcrt1q2nfxmhd4n3c8834pj72xagvyr9gl57n5r94fsl";
        assert!(parse_address(good).is_ok());
        let failure = parse_address(&good.replace("94fsl", "94fsm")).unwrap_err();
        assert_eq!(failure.kind, Kind::Refused);
    }

    #[test]
    fn refused_withdrawals_say_what_to_do() {
        let network = Failure::from(SendError::WrongNetwork { network: Network::Regtest });
        assert_eq!(network.hint.as_deref(), Some("give an address of regtest"));
        let (value, dust_limit) = (Amount::from_sat(9_999), Amount::from_sat(10_000));
        let dust = Failure::from(SendError::BelowDust { value, dust_limit });
        assert_eq!(dust.message, "9 999 sat is too little for a bitcoin transaction");
        assert_eq!(dust.hint.as_deref(), Some("the least is 10 000 sat"));
    }

    #[test]
    fn total_of_a_quote_is_all_that_leaves_the_wallet() {
        let (value, fee) = (Amount::from_sat(100), Amount::from_sat(20));
        let quote = Quote { value, fee, federation_fee: Msat(7) };
        assert_eq!(quote.total(), Some(Msat(120_007)));
    }

    #[test]
    fn txid_is_read_from_the_last_event() {
        let id = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
        assert_eq!(txid(&json!({"status": {"Success": id}})).unwrap().to_string(), id);
        assert_eq!(txid(&json!({"status": "Aborted"})), None);
    }
}
