//! What users do and what befalls everybody, drawn from the seed; and how a simulation ends: in calm
//! weather, with everything open coming to its end and every coin counted.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::Hash as _;
use bitcoin::{Address, Amount, Network, OutPoint, ScriptBuf, WPubkeyHash};
use moneta_client::history;
use moneta_core::{Encode as _, Msat, OperationId};
use moneta_mint::client::MintClient;
use moneta_mint::words::{ECash, Nonce, SpendableNote};
use moneta_module::client::End;
use moneta_wallet::words::FederationWallet;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::check::shared_rows;
use crate::federation::{GUARDIANS, MINT, WALLET};
use crate::guardian::Trouble;
use crate::vice::Vice;
use crate::wallet::Done;
use crate::world::World;

/// The first byte of the keys of spent notes (`modules/mint`, server tables).
const SPENT: u8 = 0x01;
/// Most deposits of one wallet: below the number of its known addresses.
const DEPOSITS_MAX: usize = 3;
/// Machines that run as long as a wallet lives: grinder, scanner, reader of metadata.
const STANDING_MACHINES: usize = 3;
/// Most notes of e-cash that two wallets try to receive.
const CONTESTED_NOTES_MAX: usize = 5;
/// How often the end is looked for, and for how long.
const LOOK_MS: u64 = 2_000;
const LOOKS_MAX: u32 = 3_000;
/// How long users wait for the first deposit before they try everything else.
const PATIENCE_LOOKS: u32 = 40;

/// How far a simulation is.
enum Stage {
    /// So many more actions.
    Busy(u32),
    /// What is open comes to an end.
    Settling,
    /// Guardians draw level.
    Levelling,
}

/// The script of one simulation.
pub(crate) struct Workload {
    stage: Stage,
    looks: u32,
    first_deposits: usize,
    /// The one guardian that may be bad. Votes stay, so it is the same one all along.
    villain: usize,
    deposits: BTreeMap<usize, usize>,
}

impl Workload {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        Self {
            stage: Stage::Busy(rng.gen_range(15..40)),
            looks: 0,
            villain: rng.gen_range(0..GUARDIANS),
            first_deposits: if rng.gen_bool(0.3) { 2 } else { 1 },
            deposits: BTreeMap::new(),
        }
    }

    /// Has its turn; true when the simulation is over and everything was in order.
    pub(crate) fn act(&mut self, world: &mut World) -> Result<bool, String> {
        match self.stage {
            Stage::Busy(0) => {
                world.calm_down();
                self.looks = 0;
                self.stage = Stage::Settling;
                world.plan(LOOK_MS, crate::world::Event::Act);
            }
            Stage::Busy(left) => {
                self.do_something(world)?;
                // Until there is money only misfortune counts the time.
                if self.is_patient(world) {
                    self.looks += 1;
                } else {
                    self.stage = Stage::Busy(left - 1);
                }
                let pause = world.rng.gen_range(100..8_000);
                world.plan(pause, crate::world::Event::Act);
            }
            Stage::Settling => {
                if self.is_settled(world)? && !self.redeem(world)? {
                    world.is_frozen = true;
                    self.stage = Stage::Levelling;
                }
                self.look_again(world)?;
            }
            Stage::Levelling => {
                if is_level(world) {
                    self.check_end(world)?;
                    return Ok(true);
                }
                self.look_again(world)?;
            }
        }
        Ok(false)
    }

    fn look_again(&mut self, world: &mut World) -> Result<(), String> {
        self.looks += 1;
        if self.looks > LOOKS_MAX {
            return Err(format!("it does not come to rest: {}", world.describe_open()));
        }
        world.plan(LOOK_MS, crate::world::Event::Act);
        Ok(())
    }

    /// Whether the first deposit is still to come, within reason.
    fn is_patient(&self, world: &World) -> bool {
        let has_money = |wallet: &crate::wallet::Wallet| {
            wallet.balance().is_ok_and(|balance| balance > Msat::ZERO)
        };
        self.looks < PATIENCE_LOOKS && !world.wallets.iter().any(has_money)
    }

    fn do_something(&mut self, world: &mut World) -> Result<(), String> {
        let wallet = world.rng.gen_range(0..world.wallets.len());
        let made: usize = self.deposits.values().sum();
        match world.rng.gen_range(0..100) {
            _ if made < self.first_deposits => self.deposit(world, wallet),
            _ if self.is_patient(world) && world.rng.gen_bool(0.8) => Ok(()),
            0..=3 => self.deposit(world, wallet),
            4..=32 => send(world, wallet),
            33..=59 => receive(world, wallet),
            60..=63 => cancel(world, wallet),
            64..=71 => withdraw(world, wallet),
            72..=75 => wish(world),
            76..=82 => {
                let guardian = world.rng.gen_range(0..world.guardians.len());
                if world.guardians[guardian].process.is_some() {
                    world.crash_guardian(guardian);
                }
                Ok(())
            }
            83..=87 => {
                if world.wallets[wallet].driver.is_some() {
                    world.crash_wallet(wallet);
                }
                Ok(())
            }
            88..=95 => {
                world.strike();
                Ok(())
            }
            _ => {
                let vice = Vice::draw(&mut world.rng);
                world.vice = match world.vice {
                    None => Some((self.villain, vice)),
                    Some(_) => None,
                };
                world.count("changes of heart");
                Ok(())
            }
        }
    }

    fn deposit(&mut self, world: &mut World, wallet: usize) -> Result<(), String> {
        let made = self.deposits.get(&wallet).copied().unwrap_or(0);
        if made >= DEPOSITS_MAX {
            return Ok(());
        }
        let address = world.wallets[wallet].address(world.now);
        let Some(script) = ask_wallet(world, wallet, address)?.flatten() else { return Ok(()) };
        world.poll_soon(wallet);
        let value = Amount::from_sat(world.rng.gen_range(30_000..400_000));
        world.chain.pay(script, value, &mut world.rng);
        self.deposits.insert(wallet, made + 1);
        world.count("deposits");
        Ok(())
    }

    /// Whether nothing is on its way any more.
    fn is_settled(&self, world: &World) -> Result<bool, String> {
        for wallet in &world.wallets {
            let (transactions, machines) = wallet.pending();
            let made = self.deposits.get(&wallet.number).copied().unwrap_or(0);
            let found = wallet.found_deposits().map_err(|trouble| format!("{trouble:?}"))?;
            let open = wallet.open_deposits().map_err(|trouble| format!("{trouble:?}"))?;
            if found > made {
                return Err(format!("wallet {} found {found} of {made} deposits", wallet.number));
            }
            if wallet.driver.is_none()
                || transactions > 0
                || machines > STANDING_MACHINES
                || found < made
                || open > 0
            {
                return Ok(false);
            }
        }
        let pending = |guardian: &crate::guardian::Guardian| {
            let process = guardian.process.as_ref()?;
            process.ask("pending_transaction_chain", &Value::Null)
        };
        let nothing = Some(json!([]));
        Ok(world.chain.is_idle()
            && world.guardians.iter().all(|guardian| pending(guardian) == nothing))
    }

    /// Has e-cash that nobody took yet taken by somebody; false if there is none.
    fn redeem(&mut self, world: &mut World) -> Result<bool, String> {
        for (_, ecash) in all_handed_out(world)? {
            let operation = ecash.receive_operation();
            let ends = world.wallets.iter().map(|wallet| wallet.end_of(operation));
            let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|t| format!("{t:?}"))?;
            if ends.contains(&Some(End::Succeeded)) || !has_unspent(world, &ecash) {
                continue;
            }
            let Some(wallet) = ends.iter().position(Option::is_none) else { continue };
            let received = world.wallets[wallet].receive(&ecash, world.now);
            if let Some(Done::Yes) = ask_wallet(world, wallet, received)? {
                world.poll_soon(wallet);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check_end(&self, world: &mut World) -> Result<(), String> {
        check_guardians(world)?;
        check_notes(world)?;
        check_coins(world)
    }
}

fn ask_wallet<T>(
    world: &mut World,
    wallet: usize,
    result: Result<T, Trouble>,
) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(trouble) => world.settle_wallet(wallet, trouble).map(|()| None),
    }
}

fn send(world: &mut World, wallet: usize) -> Result<(), String> {
    let Ok(balance) = world.wallets[wallet].balance() else { return Ok(()) };
    if balance < Msat(100_000) {
        return Ok(());
    }
    let amount = match world.rng.gen_bool(0.8) {
        true => Msat(world.rng.gen_range(20_000..=balance.0.min(50_000_000))),
        false => balance,
    };
    let sent = world.wallets[wallet].send(amount, world.now);
    if let Some(Done::Yes) = ask_wallet(world, wallet, sent)? {
        world.count("sent e-cash");
    }
    world.poll_soon(wallet);
    Ok(())
}

/// All e-cash that any wallet ever handed out, with the wallet.
fn all_handed_out(world: &World) -> Result<Vec<(usize, ECash)>, String> {
    let mut all = Vec::new();
    for wallet in &world.wallets {
        let handed = wallet.handed_out().map_err(|trouble| format!("{trouble:?}"))?;
        all.extend(handed.into_values().map(|ecash| (wallet.number, ecash)));
    }
    Ok(all)
}

fn receive(world: &mut World, wallet: usize) -> Result<(), String> {
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

fn cancel(world: &mut World, wallet: usize) -> Result<(), String> {
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

fn withdraw(world: &mut World, wallet: usize) -> Result<(), String> {
    let Ok(balance) = world.wallets[wallet].balance() else { return Ok(()) };
    let part = world.rng.gen_range(5..90);
    let value = Amount::from_sat(balance.0 / 1000 * part / 100);
    if value < Amount::from_sat(10_000) {
        return Ok(());
    }
    let guardian = world.rng.gen_range(0..world.guardians.len());
    let process = world.guardians[guardian].process.as_ref();
    let fee = process.and_then(|process| process.ask("send_fee", &Value::Null));
    let Some(fee) = fee.and_then(|fee| fee.as_u64()) else { return Ok(()) };
    let fee = Amount::from_sat(fee.saturating_sub(u64::from(world.rng.gen_bool(0.1))));
    let mut hash = [0; 20];
    world.rng.fill(&mut hash);
    let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(hash));
    let address = Address::from_script(&script, Network::Regtest).expect("a witness script");
    let sent = world.wallets[wallet].withdraw(&address, value, fee, world.now);
    if let Some(Some(_)) = ask_wallet(world, wallet, sent)? {
        world.count("withdrawals");
    }
    world.poll_soon(wallet);
    Ok(())
}

fn wish(world: &mut World) -> Result<(), String> {
    let value = format!("{{\"motd\":\"{}\"}}", world.rng.gen_range(0..3));
    for guardian in 0..world.guardians.len() {
        let salt = world.rng.r#gen();
        let now = world.now;
        if world.rng.gen_bool(0.8)
            && let Some(process) = world.guardians[guardian].process.as_mut()
        {
            let wished = process.wish(&value, salt, now).map(|()| Vec::new());
            world.settle_guardian(guardian, wished)?;
        }
    }
    world.count("wishes");
    Ok(())
}

/// Whether all guardians have processed everything.
fn is_level(world: &World) -> bool {
    let rows = world.guardians.iter().map(|guardian| {
        let process = guardian.process.as_ref()?;
        process.has_followed(&world.log).then_some(())
    });
    rows.flatten().count() == world.guardians.len()
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

fn has_unspent(world: &World, ecash: &ECash) -> bool {
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
