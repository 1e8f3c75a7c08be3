//! What users do.

use bitcoin::hashes::Hash as _;
use bitcoin::{Address, Amount, Network, ScriptBuf, WPubkeyHash};
use moneta_core::Msat;
use moneta_mint::words::ECash;
use rand::Rng as _;
use serde_json::Value;

use super::Workload;
use crate::federation::WALLET;
use crate::guardian::Trouble;
use crate::wallet::Done;
use crate::world::{Event, World};

/// Most deposits of one wallet: below the number of its known addresses.
const DEPOSITS_MAX: usize = 3;
/// How much is deposited: worth claiming at any feerate, and not too many notes.
const DEPOSIT_SAT: std::ops::Range<u64> = 25_000..90_000;
/// Least that the federation lets go.
const WITHDRAWAL_MIN: Amount = Amount::from_sat(10_000);
/// Most notes of e-cash that two wallets try to receive.
const CONTESTED_NOTES_MAX: usize = 5;

impl Workload {
    pub(super) fn deposit(&mut self, world: &mut World, wallet: usize) -> Result<(), String> {
        let made = self.deposits.iter().filter(|(owner, _)| *owner == wallet).count();
        if made >= DEPOSITS_MAX {
            return Ok(());
        }
        let address = world.wallets[wallet].address(world.now);
        let Some(script) = ask_wallet(world, wallet, address)?.flatten() else { return Ok(()) };
        world.poll_soon(wallet);
        let value = Amount::from_sat(world.rng.gen_range(DEPOSIT_SAT));
        let deposit = world.chain.pay(script, value, &mut world.rng);
        self.deposits.push((wallet, deposit));
        world.count("deposits");
        Ok(())
    }
}

pub(super) fn ask_wallet<T>(
    world: &mut World,
    wallet: usize,
    result: Result<T, Trouble>,
) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(trouble) => world.settle_wallet(wallet, trouble).map(|()| None),
    }
}

pub(super) fn send(world: &mut World, wallet: usize) -> Result<(), String> {
    let Ok(balance) = world.wallets[wallet].balance() else { return Ok(()) };
    if balance < Msat(100_000) {
        return Ok(());
    }
    let amount = match world.rng.gen_bool(0.8) {
        true => world.rng.gen_range(20_000..=balance.0.min(50_000_000)),
        false => balance.0,
    };
    // Others are rounded up, to more than there may be.
    let amount = Msat(amount - amount % world.federation.grain.0);
    let sent = world.wallets[wallet].send(amount, world.now);
    if let Some(Done::Yes) = ask_wallet(world, wallet, sent)? {
        world.count("sent e-cash");
    }
    world.poll_soon(wallet);
    Ok(())
}

/// All e-cash that any wallet ever handed out, with the wallet.
pub(super) fn all_handed_out(world: &mut World) -> Result<Vec<(usize, ECash)>, String> {
    let mut all = Vec::new();
    for wallet in &mut world.wallets {
        let number = wallet.number;
        let handed = wallet.handed_out().map_err(|trouble| format!("{trouble:?}"))?;
        all.extend(handed.values().map(|ecash| (number, ecash.clone())));
    }
    Ok(all)
}

pub(super) fn receive(world: &mut World, wallet: usize) -> Result<(), String> {
    let all = all_handed_out(world)?;
    if all.is_empty() {
        return Ok(());
    }
    let (_, ecash) = &all[world.rng.gen_range(0..all.len())];
    // Somebody may be faster. A wallet finds that out note by note, which is slow for many.
    let operation = ecash.receive_operation();
    let is_known = world.wallets.iter().any(|wallet| wallet.knows(operation));
    if is_known && ecash.notes().count() > CONTESTED_NOTES_MAX {
        return Ok(());
    }
    let received = world.wallets[wallet].receive(ecash, world.now);
    if let Some(Done::Yes) = ask_wallet(world, wallet, received)? {
        world.count("received e-cash");
    }
    world.poll_soon(wallet);
    Ok(())
}

pub(super) fn cancel(world: &mut World, wallet: usize) -> Result<(), String> {
    let handed = world.wallets[wallet].handed_out().map_err(|trouble| format!("{trouble:?}"))?;
    let small = |ecash: &ECash| ecash.notes().count() <= CONTESTED_NOTES_MAX;
    let mut contested = handed.iter().filter(|(_, ecash)| small(ecash));
    let Some((operation, _)) = contested.next_back() else { return Ok(()) };
    let operation = *operation;
    let cancelled = world.wallets[wallet].cancel(operation, world.now);
    if let Some(Done::Yes) = ask_wallet(world, wallet, cancelled)? {
        world.count("took e-cash back");
    }
    world.poll_soon(wallet);
    Ok(())
}

pub(super) fn withdraw(world: &mut World, wallet: usize) -> Result<(), String> {
    let Ok(balance) = world.wallets[wallet].balance() else { return Ok(()) };
    let part = world.rng.gen_range(5..90);
    let value = Amount::from_sat(balance.0 / 1000 * part / 100);
    if value < WITHDRAWAL_MIN {
        return Ok(());
    }
    let guardian = world.rng.gen_range(0..world.guardians.len());
    let process = world.guardians[guardian].process.as_ref();
    let fee = process.and_then(|process| process.ask(WALLET, "send_fee", &Value::Null));
    let Some(fee) = fee.and_then(|fee| fee.as_u64()) else { return Ok(()) };
    let fee = Amount::from_sat(fee.saturating_sub(u64::from(world.rng.gen_bool(0.1))));
    let mut hash = [0; 20];
    world.rng.fill(&mut hash);
    let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(hash));
    let address = Address::from_script(&script, Network::Regtest).expect("a witness script");
    let sent = world.wallets[wallet].withdraw(&address, value, fee, world.now);
    if let Some(Some(_)) = ask_wallet(world, wallet, sent)? {
        world.count("withdrawals");
        if !world.chain.is_idle() {
            world.count("withdrawals behind others");
        }
    }
    world.poll_soon(wallet);
    Ok(())
}

pub(super) fn wish(world: &mut World) -> Result<(), String> {
    let value = format!("{{\"motd\":\"{}\"}}", world.rng.gen_range(0..3));
    for guardian in 0..world.guardians.len() {
        if world.rng.gen_bool(0.8) {
            wish_for(world, guardian, &value)?;
        }
    }
    world.count("wishes");
    Ok(())
}

/// Has an operator wish for a value; false if the guardian was down, or died of it.
pub(super) fn wish_for(world: &mut World, guardian: usize, value: &str) -> Result<bool, String> {
    let salt = world.rng.r#gen();
    let now = world.now;
    let Some(process) = world.guardians[guardian].process.as_mut() else { return Ok(false) };
    let wished = process.wish(value, salt, now).map(|()| Vec::new());
    world.settle_guardian(guardian, wished)?;
    Ok(world.guardians[guardian].process.is_some())
}

/// Loses a wallet's machine; the user gets another one and enters the words.
pub(super) fn lose_wallet(world: &mut World, wallet: usize) -> Result<(), String> {
    let lost = world.wallets[wallet].lose_folder();
    if let Some(true) = ask_wallet(world, wallet, lost)? {
        world.count("wallets lost");
        let away = world.rng.gen_range(1_000..30_000);
        world.plan(away, Event::StartWallet(wallet));
    }
    Ok(())
}
