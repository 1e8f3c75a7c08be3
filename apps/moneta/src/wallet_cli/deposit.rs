//! `moneta deposit`.
//!
//! JSON: the first line has the address, then one line for each deposit to it that was claimed. The
//! command ends when all deposits that were there are.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bitcoin::{Address, Amount, Network};
use moneta_client::online::Client;
use moneta_core::amount::Msat;
use moneta_core::id::OperationId;
use moneta_module::client::End;
use moneta_wallet::client::{Deposit, DepositStatus};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;

use super::amount::{readable, readable_sat};
use super::coins;
use super::context::{Context, settled};
use super::failure::Failure;
use super::screen::{Report, Style};

/// Between two looks for deposits found. The wallet itself asks the guardians every second.
const LOOK: Duration = Duration::from_millis(100);

/// How often the wallet is told that somebody waits; it looks less often ten minutes after that.
const WATCH_AGAIN: Duration = Duration::from_secs(300);

#[derive(Debug, Serialize)]
struct AddressReport {
    address: String,
    network: Option<Network>,
    /// For people who look at a terminal.
    #[serde(skip)]
    qr: Option<String>,
}

impl Report for AddressReport {
    fn text(&self, style: Style) -> String {
        let network = match self.network {
            Some(Network::Bitcoin) | None => String::new(),
            Some(network) => format!("  ({network}: coins without value)"),
        };
        let qr = self.qr.as_deref().unwrap_or_default();
        format!("{qr}{}{network}", style.strong(&self.address))
    }
}

#[derive(Debug, Serialize)]
struct Claimed {
    operation_id: OperationId,
    value_sat: u64,
    fee_sat: Option<u64>,
    outpoint: Option<bitcoin::OutPoint>,
    status: &'static str,
    balance_msat: u64,
}

impl Report for Claimed {
    fn text(&self, style: Style) -> String {
        let value = readable_sat(Amount::from_sat(self.value_sat));
        let fee = self.fee_sat.map(|fee| readable_sat(Amount::from_sat(fee)));
        let fee = fee.map(|fee| format!(" (network fee {fee})")).unwrap_or_default();
        let balance = readable(Msat(self.balance_msat));
        format!("Deposited {}{fee}; the wallet holds {balance}", style.good(value))
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context, no_wait: bool) -> Result<(), Failure> {
    context
        .use_client(async |client: &Client| {
            let address = context
                .follow_on("searching the wallet's first address", first_address(client))
                .await?;
            let known = coins::deposits(client).await?.into_iter().map(|(id, _)| id).collect();
            let (text, network) = (address.to_string(), coins::network(client).await);
            let qr = if context.screen.shows_people() { qr(&text) } else { None };
            context.screen.report(&AddressReport { address: text, network, qr })?;
            if no_wait {
                return Ok(());
            }
            wait(context, client, &address, known).await
        })
        .await
}

/// Waits until coins came to the address and are e-cash.
async fn wait(
    context: &Context,
    client: &Client,
    address: &Address,
    known: BTreeSet<OperationId>,
) -> Result<(), Failure> {
    context.screen.note(
        "Waiting for coins. They count some blocks after they were sent. Ctrl-C ends the waiting; \
         the next `moneta deposit` goes on with it.",
    );
    let finding = found(client, address, &known);
    let mut open = context.follow_on("waiting for coins", finding).await?;
    let mut done = BTreeSet::new();
    while let Some((id, deposit)) = open.pop() {
        done.insert(id);
        let value = readable_sat(deposit.value);
        context.screen.note(&format!("{value} arrived; turning them into e-cash."));
        let claiming = claimed(client, id);
        let report = context.follow_on("claiming", claiming).await?;
        context.screen.report(&report)?;
        let others = deposits_to(client, address).await?.into_iter();
        open = others.filter(|(id, _)| !known.contains(id) && !done.contains(id)).collect();
    }
    Ok(())
}

async fn first_address(client: &Client) -> Result<Address, Failure> {
    loop {
        if let Some(address) = coins::address(client).await? {
            return Ok(address);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for deposits that were not known before.
async fn found(
    client: &Client,
    address: &Address,
    known: &BTreeSet<OperationId>,
) -> Result<Vec<(OperationId, Deposit)>, Failure> {
    let mut watched = Instant::now();
    loop {
        let deposits = deposits_to(client, address).await?.into_iter();
        let new: Vec<_> = deposits.filter(|(id, _)| !known.contains(id)).collect();
        if !new.is_empty() {
            return Ok(new);
        }
        if watched.elapsed() > WATCH_AGAIN {
            coins::address(client).await?;
            watched = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn deposits_to(
    client: &Client,
    address: &Address,
) -> Result<Vec<(OperationId, Deposit)>, Failure> {
    let address = address.to_string();
    let mut fitting = Vec::new();
    for (id, deposit) in coins::deposits(client).await? {
        let operation = client.operation(id).await?;
        if operation.is_some_and(|(operation, _)| operation.details["address"] == address) {
            fitting.push((id, deposit));
        }
    }
    Ok(fitting)
}

/// Waits until a deposit is e-cash.
///
/// Errors: it is worth less than the fee, or another wallet with the same words was faster.
async fn claimed(client: &Client, id: OperationId) -> Result<Claimed, Failure> {
    let end = tokio::select! {
        ended = settled(client, id) => ended?,
        failure = uneconomical(client, id) => return Err(failure?),
    };
    let deposits = coins::deposits(client).await?;
    let deposit = deposits.into_iter().find(|(known, _)| *known == id).map(|(_, deposit)| deposit);
    let deposit = deposit.ok_or_else(|| Failure::broken("a deposit is gone from the wallet"))?;
    if end.end == End::Failed {
        return Err(Failure::refused("another wallet with the same words claimed the deposit")
            .hint("the money is there; use one wallet per set of words"));
    }
    let begun = end.events.iter().rev().find(|event| event.kind == "payment-receive");
    Ok(Claimed {
        operation_id: id,
        value_sat: deposit.value.to_sat(),
        fee_sat: begun.and_then(|event| event.payload["fee"].as_u64()),
        outpoint: deposit.outpoint,
        status: "claimed",
        balance_msat: client.balance().await?.0,
    })
}

/// Waits until a deposit turns out to be worth less than its fee.
async fn uneconomical(client: &Client, id: OperationId) -> Result<Failure, Failure> {
    loop {
        for (known, deposit) in coins::deposits(client).await? {
            if let (true, DepositStatus::Uneconomical { fee }) = (known == id, deposit.status) {
                return Ok(too_small(deposit.value, fee));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn too_small(value: Amount, fee: Amount) -> Failure {
    let (value, fee) = (readable_sat(value), readable_sat(fee));
    let message = format!("the deposit of {value} is not worth the network fee of {fee} now");
    Failure::refused(message).hint(
        "it is not lost: the wallet claims it by itself when fees have fallen. Larger deposits \
         arrive at once",
    )
}

/// The address as a QR code, light on dark as terminals mostly are; `None` if it does not fit one.
fn qr(address: &str) -> Option<String> {
    // Capitals make a smaller code; segwit addresses mean the same in them.
    let code = QrCode::new(address.to_uppercase()).ok()?;
    let drawn =
        code.render::<Dense1x2>().dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build();
    Some(format!("{drawn}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn first_line_has_the_address_and_the_last_what_was_claimed() {
        let network = Some(Network::Regtest);
        let address = AddressReport { address: "bcrt1q".into(), network, qr: None };
        assert_eq!(json!(address), json!({"address": "bcrt1q", "network": "regtest"}));
        assert!(address.text(Style::PLAIN).starts_with("bcrt1q  (regtest"));
        let claimed = Claimed {
            operation_id: OperationId([1; 32]),
            value_sat: 1_000_000,
            fee_sat: Some(300),
            outpoint: None,
            status: "claimed",
            balance_msat: 999_000_512,
        };
        let shape = json!({
            "operation_id": "01".repeat(32), "value_sat": 1_000_000, "fee_sat": 300,
            "outpoint": null, "status": "claimed", "balance_msat": 999_000_512,
        });
        assert_eq!(json!(claimed), shape);
        let text = claimed.text(Style::PLAIN);
        assert!(text.starts_with("Deposited 1 000 000 sat (network fee 300 sat)"), "{text}");
    }

    #[test]
    fn deposit_below_the_fee_is_refused_and_not_lost() {
        let failure = too_small(Amount::from_sat(200), Amount::from_sat(300));
        assert_eq!(failure.kind.exit_code(), 3);
        assert!(failure.hint.is_some_and(|hint| hint.contains("not lost")));
    }

    #[test]
    fn every_address_fits_a_code() {
        let longest = "bcrt1p".to_owned() + &"q".repeat(84);
        assert!(qr(&longest).is_some_and(|code| code.lines().count() > 10));
    }
}
