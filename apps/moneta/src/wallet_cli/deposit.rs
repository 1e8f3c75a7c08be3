//! `moneta deposit`.
//!
//! JSON: the first line has the address, then one line for each deposit to it. `status` tells whether it
//! was claimed or is not worth its fee now. The command ends when all deposits that were there are dealt
//! with; it is refused if none of them was worth its fee.

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
use super::failure::{Failure, Kind};
use super::screen::{Report, Style};

/// Between two looks for deposits found. The wallet itself asks the guardians every second.
const LOOK: Duration = Duration::from_millis(100);

/// How often the wallet is told that somebody waits; it looks less often ten minutes after that.
const WATCH_AGAIN: Duration = Duration::from_secs(300);

/// Why a deposit is not claimed at once.
const QUEUED: &str = "Too many of the federation's bitcoin transactions are in no block yet. The \
                      deposit is claimed after the next blocks; Ctrl-C ends the waiting.";

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

/// What became of one deposit.
#[derive(Debug, Clone, Serialize)]
struct Settled {
    operation_id: OperationId,
    value_sat: u64,
    /// What miners get for claiming it; what they would get if it is not claimed.
    fee_sat: Option<u64>,
    /// What the federation keeps; null if it was not claimed, or by an older release.
    federation_fee_msat: Option<u64>,
    /// What arrived as e-cash.
    credited_msat: Option<u64>,
    outpoint: Option<bitcoin::OutPoint>,
    status: Status,
    balance_msat: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Claimed,
    Uneconomical,
}

impl Report for Settled {
    fn text(&self, style: Style) -> String {
        let value = readable_sat(Amount::from_sat(self.value_sat));
        let fee = self.fee_sat.map(|fee| readable_sat(Amount::from_sat(fee)));
        if self.status == Status::Uneconomical {
            let failure = too_small(std::slice::from_ref(self));
            let hint = failure.hint.unwrap_or_default();
            return format!("{}: {hint}", style.bad(failure.message));
        }
        let msat = |msat| readable(Msat(msat));
        let federation_fee = self.federation_fee_msat.map(msat);
        let fees = [("network", fee), ("federation", federation_fee)].into_iter();
        let fees: Vec<_> =
            fees.filter_map(|(who, fee)| fee.map(|fee| format!("{who} fee {fee}"))).collect();
        let fees = match fees.as_slice() {
            [] => String::new(),
            fees => format!(" ({})", fees.join(", ")),
        };
        let credited = self.credited_msat.map(msat);
        let credited = credited.map(|credited| format!(": {credited} arrived")).unwrap_or_default();
        let (value, balance) = (style.good(value), msat(self.balance_msat));
        format!("Deposited {value}{fees}{credited}; the wallet holds {balance}")
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
    let (mut done, mut settled, mut failed) = (known, Vec::new(), None);
    while let Some((id, deposit)) = open.pop() {
        done.insert(id);
        let value = readable_sat(deposit.value);
        context.screen.note(&format!("{value} arrived; turning them into e-cash."));
        let settling = settle(context, client, id);
        match context.follow_on("claiming", settling).await {
            Ok(deposit) => {
                if deposit.status == Status::Claimed {
                    context.screen.report(&deposit)?;
                }
                settled.push(deposit);
            }
            // Of this deposit alone: the others are dealt with all the same.
            Err(failure) if failure.kind == Kind::Refused => failed = Some(failure),
            Err(failure) => return Err(failure),
        }
        let others = deposits_to(client, address).await?.into_iter();
        open = others.filter(|(id, _)| !done.contains(id)).collect();
    }
    let is_small = |deposit: &Settled| deposit.status == Status::Uneconomical;
    let (small, good): (Vec<_>, Vec<_>) = settled.into_iter().partition(is_small);
    match failed {
        None if good.is_empty() && !small.is_empty() => Err(too_small(&small)),
        failed => {
            for deposit in &small {
                context.screen.report(deposit)?;
            }
            failed.map_or(Ok(()), Err)
        }
    }
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

/// Waits until a deposit is e-cash, or turns out to be worth less than its fee.
///
/// Errors: another wallet with the same words was faster.
async fn settle(context: &Context, client: &Client, id: OperationId) -> Result<Settled, Failure> {
    let end = tokio::select! {
        ended = settled(client, id) => ended?,
        settled = uneconomical(context, client, id) => return settled,
    };
    let deposit = deposit(client, id).await?;
    if end.end == End::Failed {
        return Err(Failure::refused("another wallet with the same words claimed the deposit")
            .hint("the money is there; use one wallet per set of words"));
    }
    let begun = end.events.iter().rev().find(|event| event.kind == "payment-receive");
    let number = |name: &str| begun.and_then(|event| event.payload[name].as_u64());
    let (fee_sat, federation_fee_msat) = (number("fee"), number("federation_fee_msat"));
    let value_sat = deposit.value.to_sat();
    Ok(Settled {
        operation_id: id,
        value_sat,
        fee_sat,
        federation_fee_msat,
        credited_msat: credited_msat(value_sat, fee_sat, federation_fee_msat),
        outpoint: deposit.outpoint,
        status: Status::Claimed,
        balance_msat: client.balance().await?.0,
    })
}

/// What is left of a deposit; `None` if a fee is not known.
fn credited_msat(
    value_sat: u64,
    fee_sat: Option<u64>,
    federation_fee_msat: Option<u64>,
) -> Option<u64> {
    let claimed_msat = value_sat.checked_sub(fee_sat?)?.checked_mul(1000)?;
    claimed_msat.checked_sub(federation_fee_msat?)
}

/// Waits until a deposit turns out to be worth less than its fee. Says so if it has to queue.
async fn uneconomical(
    context: &Context,
    client: &Client,
    id: OperationId,
) -> Result<Settled, Failure> {
    let mut is_told = false;
    loop {
        let deposit = deposit(client, id).await?;
        match deposit.status {
            DepositStatus::Uneconomical { fee } => {
                return Ok(Settled {
                    operation_id: id,
                    value_sat: deposit.value.to_sat(),
                    fee_sat: Some(fee.to_sat()),
                    federation_fee_msat: None,
                    credited_msat: None,
                    outpoint: deposit.outpoint,
                    status: Status::Uneconomical,
                    balance_msat: client.balance().await?.0,
                });
            }
            DepositStatus::Queued if !is_told => {
                context.screen.note(QUEUED);
                is_told = true;
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn deposit(client: &Client, id: OperationId) -> Result<Deposit, Failure> {
    let mut deposits = coins::deposits(client).await?.into_iter();
    let deposit = deposits.find(|(known, _)| *known == id).map(|(_, deposit)| deposit);
    deposit.ok_or_else(|| Failure::broken("a deposit is gone from the wallet"))
}

/// Deposits of which none is worth its fee now. Each is claimed by itself, so their sum does not count.
fn too_small(deposits: &[Settled]) -> Failure {
    let sat = |sat| readable_sat(Amount::from_sat(sat));
    let fees = || deposits.iter().filter_map(|deposit| deposit.fee_sat);
    let fee = sat(fees().min().unwrap_or_default());
    let values: Vec<_> = deposits.iter().map(|deposit| sat(deposit.value_sat)).collect();
    let message = match values.as_slice() {
        [value] => format!("the deposit of {value} is not worth the network fee of {fee} now"),
        values => format!(
            "each of the {} deposits ({}) is not worth the network fee of {fee} now",
            values.len(),
            values.join(", ")
        ),
    };
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
        let claimed = claimed();
        let shape = json!({
            "operation_id": "01".repeat(32), "value_sat": 1_000_000, "fee_sat": 300,
            "federation_fee_msat": 100_488, "credited_msat": 999_599_512,
            "outpoint": null, "status": "claimed", "balance_msat": 999_999_512,
        });
        assert_eq!(json!(claimed), shape);
        let text = "Deposited 1 000 000 sat (network fee 300 sat, federation fee 100.488 sat): \
                    999 599.512 sat arrived; the wallet holds 999 999.512 sat";
        assert_eq!(claimed.text(Style::PLAIN), text);
        // By an older release, which kept no record of the federation's fee.
        let older = Settled { federation_fee_msat: None, credited_msat: None, ..claimed };
        let text = "Deposited 1 000 000 sat (network fee 300 sat); the wallet holds";
        assert!(older.text(Style::PLAIN).starts_with(text), "{older:?}");
    }

    fn claimed() -> Settled {
        let (value_sat, fee_sat, federation_fee_msat) = (1_000_000, Some(300), Some(100_488));
        Settled {
            operation_id: OperationId([1; 32]),
            value_sat,
            fee_sat,
            federation_fee_msat,
            credited_msat: credited_msat(value_sat, fee_sat, federation_fee_msat),
            outpoint: None,
            status: Status::Claimed,
            balance_msat: 999_999_512,
        }
    }

    fn small(value_sat: u64) -> Settled {
        let (federation_fee_msat, credited_msat) = (None, None);
        let status = Status::Uneconomical;
        Settled { value_sat, federation_fee_msat, credited_msat, status, ..claimed() }
    }

    #[test]
    fn deposits_below_the_fee_are_refused_and_not_lost() {
        for deposits in [&[small(200)][..], &[small(200), small(250)]] {
            let failure = too_small(deposits);
            assert_eq!(failure.kind.exit_code(), 3);
            assert!(failure.message.contains("not worth the network fee of 300 sat"), "{failure}");
            assert!(failure.message.contains("200 sat"), "{failure}");
            assert!(failure.hint.is_some_and(|hint| hint.contains("not lost")));
        }
    }

    #[test]
    fn deposit_below_the_fee_beside_a_good_one_is_told_as_a_result() {
        let small = small(330);
        let told = json!(small);
        assert_eq!(
            (&told["status"], &told["credited_msat"]),
            (&json!("uneconomical"), &json!(null))
        );
        let text = small.text(Style::PLAIN);
        assert!(text.starts_with("the deposit of 330 sat is not worth the network fee"), "{text}");
        assert!(text.contains("not lost"), "{text}");
    }

    #[test]
    fn every_address_fits_a_code() {
        let longest = "bcrt1p".to_owned() + &"q".repeat(84);
        assert!(qr(&longest).is_some_and(|code| code.lines().count() > 10));
    }
}
