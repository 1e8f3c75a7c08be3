//! Where every millisatoshi and every coin is at the end.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{Address, Amount, OutPoint};
use moneta_client::history;
use moneta_core::{Encode as _, OperationId};
use moneta_mint::client::MintClient;
use moneta_mint::words::{ECash, Nonce, SpendableNote};
use moneta_module::client::End;
use moneta_wallet::words::FederationWallet;
use serde::Deserialize as _;
use serde_json::Value;

use super::users::all_handed_out;
use crate::check::shared_rows;
use crate::federation::{MINT, WALLET};
use crate::world::World;

/// The first byte of the keys of spent notes (`modules/mint`, server tables).
const SPENT: u8 = 0x01;

/// Checks everything that must hold when nothing is open any more.
pub(super) fn check_end(world: &mut World) -> Result<(), String> {
    check_guardians(world)?;
    check_notes(world)?;
    check_coins(world)
}

/// Guardians hold the same rows, and their books balance.
fn check_guardians(world: &World) -> Result<(), String> {
    let mut first: Option<BTreeMap<_, _>> = None;
    for guardian in &world.guardians {
        let me = guardian.me;
        let Some(process) = guardian.process.as_ref() else { continue };
        let view = process.view();
        process.engine.check_books(&view).map_err(|halt| format!("guardian {me}: {halt}"))?;
        let rows = shared_rows(&process.engine, &view);
        match &first {
            None => first = Some(rows),
            Some(first) if *first == rows => {}
            Some(first) => {
                let mine: BTreeSet<_> = rows.iter().collect();
                let theirs: BTreeSet<_> = first.iter().collect();
                let row = mine.symmetric_difference(&theirs).next();
                let key = row.map(|(key, _)| hex::encode(key));
                return Err(format!("guardian {me} has other rows, first {key:?}"));
            }
        }
    }
    Ok(())
}

fn is_spent(world: &World, nonce: Nonce) -> bool {
    let Some(process) = world.guardians[0].process.as_ref() else { return false };
    let mut key = vec![SPENT];
    nonce.encode(&mut key);
    process.has(&process.engine.module_key(MINT, &key))
}

pub(super) fn has_unspent(world: &World, ecash: &ECash) -> bool {
    ecash.notes().any(|note| !is_spent(world, note.nonce()))
}

/// Every note that is issued and not spent is in a wallet's stock, in e-cash that was handed out, or
/// set aside.
fn check_notes(world: &mut World) -> Result<(), String> {
    let audit = books(world)?;
    let outstanding = -audit.get(&MINT).copied().unwrap_or(0);
    let mut held = 0_i128;
    let mut loose: BTreeMap<Nonce, SpendableNote> = BTreeMap::new();
    for wallet in &world.wallets {
        held += i128::from(wallet.balance().map_err(|trouble| format!("{trouble:?}"))?.0);
        let driver = wallet.driver.as_ref().ok_or("a wallet is down at the end")?;
        let mint = driver.module::<MintClient>(MINT).ok_or("a wallet lacks the mint")?;
        let aside = mint.set_aside(&driver.module_view(MINT)).map_err(|e| e.to_string())?;
        loose.extend(aside.into_iter().map(|note| (note.nonce(), note)));
    }
    for (_, ecash) in all_handed_out(world)? {
        loose.extend(ecash.notes().map(|note| (note.nonce(), *note)));
    }
    let loose = loose.into_values().filter(|note| !is_spent(world, note.nonce()));
    let loose: i128 = loose.map(|note| note.value().map_or(0, |value| i128::from(value.0))).sum();
    if loose > 0 {
        world.count("ended with loose notes");
    }
    if outstanding != held + loose {
        return Err(format!(
            "{outstanding} msat of notes are out, wallets hold {held}, {loose} are loose"
        ));
    }
    Ok(())
}

fn books(world: &World) -> Result<BTreeMap<moneta_core::ModuleInstanceId, i128>, String> {
    let process = world.guardians[0].process.as_ref().ok_or("guardian 0 is down at the end")?;
    let lines = process.engine.audit(&process.view()).map_err(|error| error.to_string())?;
    Ok(lines.into_iter().map(|line| (line.instance, line.net_msat)).collect())
}

/// The federation's coin is on the chain and worth what the books say, and every withdrawal was paid
/// once or not at all.
fn check_coins(world: &World) -> Result<(), String> {
    let process = world.guardians[0].process.as_ref().ok_or("guardian 0 is down at the end")?;
    let coin = process.ask("federation_wallet", &Value::Null).unwrap_or_default();
    let on_books = books(world)?.get(&WALLET).copied().unwrap_or(0);
    if coin.is_null() {
        return if on_books == 0 { Ok(()) } else { Err("money without a coin".to_owned()) };
    }
    let coin = FederationWallet::deserialize(&coin).map_err(|error| error.to_string())?;
    let outpoint: OutPoint = coin.outpoint;
    let on_chain = world.chain.unspent(outpoint);
    if on_chain != Some(coin.value) {
        return Err(format!(
            "the coin {outpoint} is {on_chain:?} on the chain, not {}",
            coin.value
        ));
    }
    if i128::from(coin.value.to_sat()) * 1000 != on_books {
        return Err(format!("the coin is worth {}, the books say {on_books} msat", coin.value));
    }
    for wallet in &world.wallets {
        let driver = wallet.driver.as_ref().ok_or("a wallet is down at the end")?;
        let operations = history::operations(&driver.view(), usize::MAX);
        for operation in operations.map_err(|error| error.to_string())? {
            if operation.kind != "withdraw" {
                continue;
            }
            check_withdrawal(world, operation.id, &operation.details, operation.end)?;
        }
    }
    Ok(())
}

fn check_withdrawal(
    world: &World,
    id: OperationId,
    details: &Value,
    end: Option<End>,
) -> Result<(), String> {
    let address: Address<_> = details["address"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or("a withdrawal has no address")?;
    let value = Amount::from_sat(details["value"].as_u64().unwrap_or(0));
    let received = world.chain.received(&address.assume_checked().script_pubkey());
    let expected = match end {
        Some(End::Succeeded) => value,
        Some(End::Failed) => Amount::ZERO,
        None => return Err(format!("withdrawal {id} has no end")),
    };
    match received == expected {
        true => Ok(()),
        false => Err(format!("withdrawal {id} ended {end:?} and paid {received} of {value}")),
    }
}
