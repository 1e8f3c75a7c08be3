//! One wallet: the real driver and client halves over a store that crashes, or is lost with
//! everything but the words.

mod actions;

pub(crate) use actions::Done;

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::{Address, Amount, ScriptBuf};
use moneta_client::driver::{ActError, Driver, Request, RequestId};
use moneta_client::history;
use moneta_client::query::CallFailure;
use moneta_core::{Msat, OperationId};
use moneta_mint::client::MintClient;
use moneta_mint::words::{Denomination, ECash, Tweak};
use moneta_module::client::{End, Timestamp};
use moneta_store::testing::CrashProne;
use moneta_store::{KeyRange, Order, Read as _, StoreError, Table, Write};
use moneta_wallet::client::WalletClient;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::federation::{ADDRESS_INDICES, Federation, MINT, TWEAK_NUMBERS, WALLET};
use crate::guardian::Trouble;

/// The first byte of the keys of notes in stock, before denomination and nonce (`modules/mint`,
/// client tables).
const NOTES: u8 = 0x01;
/// The mint's stock of ground tweaks (the same).
const TWEAKS: Table<Tweak, ()> = Table::new(0x02);
/// The next address index to look at while one is searched (`modules/wallet`, client tables).
const SEARCH: Table<(), u64> = Table::new(0x03);
/// How many indices before the known one the simulated search begins.
const SEARCH_LEAD: u64 = 2;

/// A wallet's machine, and what its user knows: they outlive its processes.
pub(crate) struct Wallet {
    pub(crate) number: usize,
    federation: &'static Federation,
    pub(crate) disk: CrashProne,
    pub(crate) life: u64,
    pub(crate) driver: Option<Driver>,
    rng: StdRng,
    /// When the driver wants to be polled next, if that is arranged.
    pub(crate) poll_at: Option<u64>,
    /// How many transactions were rejected since this was looked at last.
    pub(crate) rejected: u64,
    /// How often it came back from its words.
    pub(crate) recoveries: u32,
    /// What would otherwise be ground for minutes, and is not in the folder yet.
    new_tweaks: Option<Vec<Tweak>>,
    /// E-cash that was handed out from all folders, by operation.
    handed_out: BTreeMap<OperationId, ECash>,
    /// How many events of this folder are looked through for it.
    events_seen: u64,
    /// Withdrawals from folders that are lost: where to, and how much.
    pub(crate) lost_withdrawals: Vec<(ScriptBuf, Amount)>,
}

/// A note in stock: its nonce as stored, and what it is worth.
pub(crate) type StockNote = (Vec<u8>, Msat);

impl Wallet {
    pub(crate) fn new(number: usize, federation: &'static Federation, rng: StdRng) -> Self {
        let tweaks = TWEAK_NUMBERS[number].iter().map(|tweak| u128::from(*tweak).to_be_bytes());
        Self {
            number,
            federation,
            disk: CrashProne::new(),
            life: 0,
            driver: None,
            rng,
            poll_at: None,
            rejected: 0,
            recoveries: 0,
            new_tweaks: Some(tweaks.collect()),
            handed_out: BTreeMap::new(),
            events_seen: 0,
            lost_withdrawals: Vec::new(),
        }
    }

    /// Starts a process.
    pub(crate) fn start(&mut self, now_ms: u64) -> Result<(), Trouble> {
        self.life += 1;
        self.poll_at = None;
        let modules = self.federation.client_modules(self.number);
        let rng = StdRng::seed_from_u64(self.rng.r#gen());
        let driver = Driver::open(self.disk.start(), self.federation.size, modules, Box::new(rng));
        let mut driver = driver?;
        let is_recovered = self.recoveries > 0;
        driver.begin(is_recovered, Timestamp(now_ms)).map_err(|error| from_stop(error.stop))?;
        if let Some(tweaks) = &self.new_tweaks {
            let put = |state: &mut dyn Write| {
                tweaks.iter().for_each(|tweak| TWEAKS.insert(&mut *state, tweak, &()));
            };
            driver
                .act::<MintClient, _, StoreError>(MINT, Timestamp(now_ms), |_, turn| {
                    put(&mut *turn.state());
                    Ok(())
                })
                .map_err(from_act)?;
            self.new_tweaks = None;
        }
        self.driver = Some(driver);
        self.shorten_search(now_ms)
    }

    /// Ends the process.
    pub(crate) fn crash(&mut self) {
        self.disk.crash();
        self.driver = None;
    }

    /// Loses the machine with its folder. What is left are the words, and what was handed out.
    /// False if the wallet keeps it: a transaction whose fate is open could be accepted behind the
    /// part of the log that recovery reads.
    pub(crate) fn lose_folder(&mut self) -> Result<bool, Trouble> {
        let Some(driver) = &self.driver else { return Ok(false) };
        if self.new_tweaks.is_some() || self.pending().0 > 0 {
            return Ok(false);
        }
        // A real wallet draws them, and never the same again.
        let view = driver.module_view(MINT);
        let tweaks = TWEAKS.scan(&view, Order::Ascending).map(|row| row.map(|(tweak, ())| tweak));
        let tweaks: Vec<Tweak> = tweaks.collect::<Result<_, _>>()?;
        for operation in self.operations("withdraw")? {
            let (script, value) = withdrawal_of(&operation)?;
            self.lost_withdrawals.push((script, value));
        }
        self.look_for_handed_out()?;
        self.crash();
        self.disk = CrashProne::new();
        self.new_tweaks = Some(tweaks);
        self.events_seen = 0;
        self.recoveries += 1;
        Ok(true)
    }

    /// Moves a search for the next address to shortly before where it ends.
    pub(crate) fn shorten_search(&mut self, now_ms: u64) -> Result<(), Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(()) };
        let Some(at) = SEARCH.get(&driver.module_view(WALLET), &())? else { return Ok(()) };
        let known = ADDRESS_INDICES[self.number].iter().find(|index| **index >= at);
        let Some(known) = known else { return Ok(()) };
        let near = known.saturating_sub(SEARCH_LEAD);
        if near > at {
            let jump = |state: &mut dyn Write| SEARCH.insert(state, &(), &near);
            driver
                .act::<WalletClient, _, StoreError>(WALLET, Timestamp(now_ms), |_, turn| {
                    jump(&mut *turn.state());
                    Ok(())
                })
                .map_err(from_act)?;
        }
        Ok(())
    }

    /// Goes on as far as possible and returns the calls to make.
    pub(crate) fn poll(&mut self, now_ms: u64) -> Result<Vec<Request>, Trouble> {
        self.shorten_search(now_ms)?;
        let Some(driver) = &mut self.driver else { return Ok(Vec::new()) };
        let requests = driver.poll(Timestamp(now_ms))?;
        driver.take_abandoned();
        let events = driver.take_events();
        self.rejected += events.iter().filter(|event| event.kind == "tx-rejected").count() as u64;
        if let Some(parked) = history::parked(&driver.view())?.first() {
            let message = format!("wallet {} parked a machine: {}", self.number, parked.reason);
            return Err(Trouble::Broken(message));
        }
        Ok(requests)
    }

    pub(crate) fn answer(&mut self, request: u64, result: Result<Value, CallFailure>, now_ms: u64) {
        if let Some(driver) = &mut self.driver {
            driver.on_response(RequestId(request), result, Timestamp(now_ms));
        }
    }

    /// E-cash that was handed out in all lives, by operation.
    pub(crate) fn handed_out(&mut self) -> Result<&BTreeMap<OperationId, ECash>, Trouble> {
        self.look_for_handed_out()?;
        Ok(&self.handed_out)
    }

    fn look_for_handed_out(&mut self) -> Result<(), Trouble> {
        let Some(driver) = &self.driver else { return Ok(()) };
        for event in history::events_from(&driver.view(), self.events_seen, usize::MAX)? {
            // What comes from the log has a position.
            self.events_seen = event.position.map_or(self.events_seen, |position| position + 1);
            let text = event.payload["ecash"].as_str();
            if let (Some(operation), Some(text), "payment-send") =
                (event.operation, text, event.kind.as_str())
            {
                let ecash = text.parse::<ECash>();
                let ecash = ecash.map_err(|error| Trouble::Broken(error.to_string()))?;
                self.handed_out.insert(operation, ecash);
            }
        }
        Ok(())
    }

    /// All notes in stock, as they are on its disk.
    ///
    /// Errors: one is there twice.
    pub(crate) fn stock(&self) -> Result<Vec<StockNote>, Trouble> {
        let Some(driver) = &self.driver else { return Ok(Vec::new()) };
        let view = driver.module_view(MINT);
        let mut notes = Vec::new();
        let mut nonces = BTreeSet::new();
        for row in view.scan(KeyRange::prefix([NOTES]), Order::Ascending) {
            let (key, _) = row?;
            let [_, denomination, nonce @ ..] = key.as_slice() else { continue };
            let value = Denomination(*denomination).value().unwrap_or(Msat::ZERO);
            if !nonces.insert(nonce.to_vec()) {
                return Err(Trouble::Broken("a note is in stock twice".to_owned()));
            }
            notes.push((nonce.to_vec(), value));
        }
        Ok(notes)
    }

    /// The operations of a kind in this folder.
    pub(crate) fn operations(&self, kind: &str) -> Result<Vec<history::Operation>, Trouble> {
        let Some(driver) = &self.driver else { return Ok(Vec::new()) };
        let mut operations = history::operations(&driver.view(), usize::MAX)?;
        operations.retain(|operation| operation.kind == kind);
        Ok(operations)
    }

    /// Whether the wallet has an operation.
    pub(crate) fn knows(&self, operation: OperationId) -> bool {
        let Some(driver) = &self.driver else { return false };
        history::operation(&driver.view(), operation).is_ok_and(|found| found.is_some())
    }

    /// How an operation ended, if it did.
    pub(crate) fn end_of(&self, operation: OperationId) -> Result<Option<End>, Trouble> {
        let Some(driver) = &self.driver else { return Ok(None) };
        let found = history::operation(&driver.view(), operation)?;
        Ok(found.and_then(|operation| operation.end))
    }

    /// What the wallet can spend.
    pub(crate) fn balance(&self) -> Result<Msat, Trouble> {
        self.driver.as_ref().map_or(Ok(Msat::ZERO), |driver| Ok(driver.balance()?))
    }

    /// Deposits that are found and not claimed yet.
    pub(crate) fn open_deposits(&self) -> Result<usize, Trouble> {
        use moneta_wallet::client::DepositStatus::{Claimed, ClaimedElsewhere};
        let Some(driver) = &self.driver else { return Ok(0) };
        let Some(module) = driver.module::<WalletClient>(WALLET) else { return Ok(0) };
        let deposits = module.deposits(&driver.module_view(WALLET))?;
        let open = |status: &_| !matches!(status, Claimed { .. } | ClaimedElsewhere);
        Ok(deposits.iter().filter(|(_, deposit)| open(&deposit.status)).count())
    }

    /// How many deposits were found.
    pub(crate) fn found_deposits(&self) -> Result<usize, Trouble> {
        let Some(driver) = &self.driver else { return Ok(0) };
        let Some(module) = driver.module::<WalletClient>(WALLET) else { return Ok(0) };
        Ok(module.deposits(&driver.module_view(WALLET))?.len())
    }

    /// Transactions whose fate is open, and machines.
    pub(crate) fn pending(&self) -> (usize, usize) {
        self.driver.as_ref().map_or((0, 0), Driver::pending)
    }
}

/// Where a withdrawal goes, and how much.
pub(crate) fn withdrawal_of(
    operation: &history::Operation,
) -> Result<(ScriptBuf, Amount), Trouble> {
    let details = &operation.details;
    let address = details["address"].as_str().and_then(|text| text.parse::<Address<_>>().ok());
    let address = address.ok_or(Trouble::Broken("a withdrawal has no address".to_owned()))?;
    let value = Amount::from_sat(details["value"].as_u64().unwrap_or(0));
    Ok((address.assume_checked().script_pubkey(), value))
}

fn from_stop(stop: moneta_module::client::Stop) -> Trouble {
    match stop {
        moneta_module::client::Stop::Store(error) => error.into(),
        stop => Trouble::Broken(stop.to_string()),
    }
}

fn from_act(error: ActError<StoreError>) -> Trouble {
    match error {
        ActError::Store(error) | ActError::Action(error) => error.into(),
        error => Trouble::Broken(error.to_string()),
    }
}
