//! One wallet: the real driver and client halves over a store that crashes.

use std::collections::BTreeMap;

use bitcoin::{Address, Amount, ScriptBuf};
use moneta_client::driver::{ActError, Driver, Request, RequestId};
use moneta_client::history;
use moneta_client::query::CallFailure;
use moneta_core::{Msat, OperationId};
use moneta_mint::client::{CancelError, MintClient, ReceiveError, SendError, SendProgress};
use moneta_mint::words::{ECash, Tweak};
use moneta_module::client::{End, SubmitError, Timestamp};
use moneta_store::testing::CrashProne;
use moneta_store::{StoreError, Table, Write};
use moneta_wallet::client::{SendError as WithdrawError, WalletClient};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::federation::{ADDRESS_INDICES, MINT, TWEAK_NUMBERS, WALLET, federation};
use crate::guardian::Trouble;

/// The mint's stock of ground tweaks (`modules/mint`, client tables).
const TWEAKS: Table<Tweak, ()> = Table::new(0x02);
/// The next address index to look at while one is searched (`modules/wallet`, client tables).
const SEARCH: Table<(), u64> = Table::new(0x03);
/// How many indices before the known one the simulated search begins.
const SEARCH_LEAD: u64 = 2;

/// A wallet's machine: it outlives its processes.
pub(crate) struct Wallet {
    pub(crate) number: usize,
    pub(crate) disk: CrashProne,
    pub(crate) life: u64,
    pub(crate) driver: Option<Driver>,
    rng: StdRng,
    /// When the driver wants to be polled next, if that is arranged.
    pub(crate) poll_at: Option<u64>,
    /// How many transactions were rejected since this was looked at last.
    pub(crate) rejected: u64,
}

/// What a user's action came to.
#[derive(Debug)]
pub(crate) enum Done {
    /// It is under way, or over.
    Yes,
    /// The wallet said no, as it may.
    Refused,
}

impl Wallet {
    pub(crate) fn new(number: usize, rng: StdRng) -> Self {
        Self {
            number,
            disk: CrashProne::new(),
            life: 0,
            driver: None,
            rng,
            poll_at: None,
            rejected: 0,
        }
    }

    /// Starts a process.
    pub(crate) fn start(&mut self, now_ms: u64) -> Result<(), Trouble> {
        self.life += 1;
        self.poll_at = None;
        let federation = federation();
        let modules = federation.client_modules(self.number);
        let rng = StdRng::seed_from_u64(self.rng.r#gen());
        let driver = Driver::open(self.disk.start(), federation.size, modules, Box::new(rng));
        let mut driver = driver?;
        driver.begin(false, Timestamp(now_ms)).map_err(|error| from_stop(error.stop))?;
        self.driver = Some(driver);
        Ok(())
    }

    /// Puts in what would otherwise be ground for minutes. Once, before anything happens.
    pub(crate) fn set_up(&mut self, now_ms: u64) -> Result<(), Trouble> {
        let number = self.number;
        let now = Timestamp(now_ms);
        let driver = self.driver.as_mut().expect("just started");
        let put = |turn: &mut moneta_module::client::Turn<'_, _>| {
            for tweak in TWEAK_NUMBERS[number] {
                TWEAKS.insert(&mut *turn.state(), &u128::from(*tweak).to_be_bytes(), &());
            }
            Ok::<(), StoreError>(())
        };
        driver.act::<MintClient, _, _>(MINT, now, |_, turn| put(turn)).map_err(from_act)?;
        self.shorten_search(now_ms)
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

    /// Where to deposit, if the wallet knows an address already.
    pub(crate) fn address(&mut self, now_ms: u64) -> Result<Option<ScriptBuf>, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(None) };
        let address =
            driver.act::<WalletClient, _, _>(WALLET, Timestamp(now_ms), |wallet, turn| {
                wallet.address(turn)
            });
        match address {
            Ok(address) => Ok(Some(address.script_pubkey())),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// Hands out e-cash.
    pub(crate) fn send(&mut self, amount: Msat, now_ms: u64) -> Result<Done, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(Done::Refused) };
        let sent = driver.act::<MintClient, _, _>(MINT, Timestamp(now_ms), |mint, turn| {
            mint.send(turn, amount, None)
        });
        match sent {
            Ok(SendProgress::Ready { .. } | SendProgress::Pending { .. }) => Ok(Done::Yes),
            Err(ActError::Action(SendError::Submit(error))) => refused(error),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }

    /// Takes e-cash.
    pub(crate) fn receive(&mut self, ecash: &ECash, now_ms: u64) -> Result<Done, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(Done::Refused) };
        let received = driver.act::<MintClient, _, _>(MINT, Timestamp(now_ms), |mint, turn| {
            mint.receive(turn, ecash)
        });
        match received {
            Ok(_) => Ok(Done::Yes),
            Err(ActError::Action(error)) => refused_reception(error),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }

    /// Takes back e-cash that was handed out.
    pub(crate) fn cancel(&mut self, sent: OperationId, now_ms: u64) -> Result<Done, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(Done::Refused) };
        let cancelled = driver
            .act::<MintClient, _, _>(MINT, Timestamp(now_ms), |mint, turn| mint.cancel(turn, sent));
        match cancelled {
            Ok(_) => Ok(Done::Yes),
            Err(ActError::Action(CancelError::Receive(error))) => refused_reception(error),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }

    /// Withdraws to the chain.
    pub(crate) fn withdraw(
        &mut self,
        address: &Address,
        value: Amount,
        fee: Amount,
        now_ms: u64,
    ) -> Result<Option<OperationId>, Trouble> {
        let Some(driver) = &mut self.driver else { return Ok(None) };
        let unchecked = address.as_unchecked();
        let sent = driver.act::<WalletClient, _, _>(WALLET, Timestamp(now_ms), |wallet, turn| {
            wallet.send(turn, unchecked, value, fee)
        });
        match sent {
            Ok(operation) => Ok(Some(operation)),
            Err(ActError::Action(WithdrawError::Submit(error))) => refused(error).map(|_| None),
            Err(ActError::Store(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Broken(error.to_string())),
        }
    }

    /// E-cash that was handed out in all lives, by operation.
    pub(crate) fn handed_out(&self) -> Result<BTreeMap<OperationId, ECash>, Trouble> {
        let mut found = BTreeMap::new();
        let Some(driver) = &self.driver else { return Ok(found) };
        for event in history::events_from(&driver.view(), 0, usize::MAX)? {
            let text = event.payload["ecash"].as_str();
            if let (Some(operation), Some(text), "payment-send") =
                (event.operation, text, event.kind.as_str())
            {
                let ecash = text.parse::<ECash>();
                let ecash = ecash.map_err(|error| Trouble::Broken(error.to_string()))?;
                found.insert(operation, ecash);
            }
        }
        Ok(found)
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

fn refused(error: SubmitError) -> Result<Done, Trouble> {
    match error {
        SubmitError::Store(error) => Err(error.into()),
        SubmitError::Invariant(reason) => Err(Trouble::Broken(reason.to_owned())),
        _ => Ok(Done::Refused),
    }
}

fn refused_reception(error: ReceiveError) -> Result<Done, Trouble> {
    match error {
        ReceiveError::Submit(error) => refused(error),
        ReceiveError::AlreadyReceived(_) => Ok(Done::Refused),
        error => Err(Trouble::Broken(format!("e-cash was refused: {error}"))),
    }
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
