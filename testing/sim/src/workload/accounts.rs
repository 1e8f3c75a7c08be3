//! Where every millisatoshi and every coin is at the end.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{Amount, OutPoint};
use moneta_core::Msat;
use moneta_mint::client::MintClient;
use moneta_mint::words::{ECash, SpendableNote};
use moneta_module::client::End;
use moneta_wallet::words::FederationWallet;
use serde::Deserialize as _;
use serde_json::Value;

use super::users::all_handed_out;
use crate::check::{shared_rows, unspent};
use crate::federation::{MINT, WALLET};
use crate::wallet::{StockNote, withdrawal_of};
use crate::world::World;

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

/// Whether guardian 0 knows a note of it to be unspent.
pub(super) fn has_unspent(world: &World, ecash: &ECash) -> bool {
    let Some(process) = world.guardians[0].process.as_ref() else { return false };
    unspent(&process.engine, &process.view(), ecash.notes().map(as_stock)).next().is_some()
}

fn as_stock(note: &SpendableNote) -> StockNote {
    (note.nonce().to_array().to_vec(), note.value().unwrap_or(Msat::ZERO))
}

/// Every note that is issued and not spent is in one wallet's stock, in e-cash that was handed out,
/// or set aside.
fn check_notes(world: &mut World) -> Result<(), String> {
    let audit = books(world)?;
    let outstanding = -audit.get(&MINT).copied().unwrap_or(0);
    let mut loose: BTreeMap<Vec<u8>, Msat> = BTreeMap::new();
    for (_, ecash) in all_handed_out(world)? {
        loose.extend(ecash.notes().map(as_stock));
    }
    let mut held: BTreeMap<Vec<u8>, Msat> = BTreeMap::new();
    let process = world.guardians[0].process.as_ref().ok_or("guardian 0 is down at the end")?;
    let (engine, view) = (&process.engine, process.view());
    for wallet in &world.wallets {
        let number = wallet.number;
        let driver = wallet.driver.as_ref().ok_or("a wallet is down at the end")?;
        let mint = driver.module::<MintClient>(MINT).ok_or("a wallet lacks the mint")?;
        let state = driver.module_view(MINT);
        let aside = mint.set_aside(&state).map_err(|error| error.to_string())?;
        loose.extend(aside.iter().map(as_stock));
        if !mint.unresolved(&state).map_err(|error| error.to_string())?.is_empty() {
            return Err(format!("wallet {number} has not recovered all of its notes"));
        }
        let stock = wallet.stock().map_err(|trouble| format!("{trouble:?}"))?;
        let good: Vec<StockNote> = unspent(engine, &view, stock.clone()).collect();
        // The words do not tell a wallet what it had handed out.
        if good.len() < stock.len() && wallet.recoveries == 0 {
            return Err(format!("wallet {number} holds spent notes"));
        }
        for (nonce, value) in good {
            let known = held.insert(nonce.clone(), value).is_some() || loose.contains_key(&nonce);
            if known && wallet.recoveries == 0 {
                return Err(format!("a note of wallet {number} is elsewhere as well"));
            }
        }
    }
    loose.retain(|nonce, _| !held.contains_key(nonce));
    let sum = |notes| unspent(engine, &view, notes).map(|(_, value)| i128::from(value.0)).sum();
    let (held, loose): (i128, i128) = (sum(held), sum(loose));
    if outstanding != held + loose {
        return Err(format!(
            "{outstanding} msat of notes are out, wallets hold {held}, {loose} are loose"
        ));
    }
    if loose > 0 {
        world.count("ended with loose notes");
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
    let coin = process.ask(WALLET, "federation_wallet", &Value::Null).unwrap_or_default();
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
        for operation in wallet.operations("withdraw").map_err(|trouble| format!("{trouble:?}"))? {
            let (id, end) = (operation.id, operation.end);
            let (script, value) = withdrawal_of(&operation).map_err(|t| format!("{t:?}"))?;
            let received = world.chain.received(&script);
            let expected = match end {
                Some(End::Succeeded) => value,
                Some(End::Failed) => Amount::ZERO,
                None => return Err(format!("withdrawal {id} has no end")),
            };
            if received != expected {
                return Err(format!(
                    "withdrawal {id} ended {end:?} and paid {received} of {value}"
                ));
            }
        }
        // How these ended is forgotten.
        for (script, value) in &wallet.lost_withdrawals {
            let received = world.chain.received(script);
            if received != *value && received != Amount::ZERO {
                return Err(format!("a withdrawal paid {received} of {value}"));
            }
        }
    }
    Ok(())
}
