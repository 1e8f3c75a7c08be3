//! Wallets in the world, and the links between them and the guardians.

use moneta_client::driver::Request;
use moneta_client::query::CallFailure;
use moneta_core::ApiError;
use moneta_core::api::Method;
use rand::Rng as _;
use serde_json::Value;

use super::{Event, World};
use crate::guardian::{CallId, Trouble};
use crate::vice::{self, Vice};

impl World {
    pub(crate) fn start_wallet(&mut self, wallet: usize) -> Result<(), String> {
        if self.wallets[wallet].driver.is_some() {
            return Ok(());
        }
        match self.wallets[wallet].start(self.now) {
            Ok(()) => self.poll_soon(wallet),
            Err(trouble) => self.settle_wallet(wallet, trouble)?,
        }
        Ok(())
    }

    pub(crate) fn crash_wallet(&mut self, wallet: usize) {
        self.count("wallet crashes");
        self.wallets[wallet].crash();
        let away = if self.is_calm { 100 } else { self.rng.gen_range(10..30_000) };
        self.plan(away, Event::StartWallet(wallet));
    }

    /// Buries a wallet whose store failed.
    pub(crate) fn settle_wallet(&mut self, wallet: usize, trouble: Trouble) -> Result<(), String> {
        match trouble {
            Trouble::Died => {
                self.count("wallet deaths in a commit");
                self.crash_wallet(wallet);
                Ok(())
            }
            Trouble::Broken(what) => Err(format!("wallet {wallet}: {what}")),
        }
    }

    /// Has a wallet go on after something happened to it.
    pub(crate) fn poll_soon(&mut self, wallet: usize) {
        let life = self.wallets[wallet].life;
        self.plan(0, Event::Poll(wallet, life));
    }

    pub(super) fn poll(&mut self, wallet: usize) -> Result<(), String> {
        let requests = match self.wallets[wallet].poll(self.now) {
            Ok(requests) => requests,
            Err(trouble) => return self.settle_wallet(wallet, trouble),
        };
        let rejected = std::mem::take(&mut self.wallets[wallet].rejected);
        *self.counts.entry("rejected transactions").or_default() += rejected;
        let life = self.wallets[wallet].life;
        for request in requests {
            self.send_request(wallet, life, request);
        }
        let (now, of) = (self.now, &mut self.wallets[wallet]);
        let wakeup = of.driver.as_ref().and_then(|driver| driver.next_wakeup());
        if let Some(wakeup) = wakeup.map(|time| time.0.max(now + 1))
            && of.poll_at.is_none_or(|planned| wakeup < planned || planned < now)
        {
            of.poll_at = Some(wakeup);
            self.plan(wakeup - now, Event::Poll(wallet, life));
        }
        Ok(())
    }

    fn send_request(&mut self, wallet: usize, life: u64, request: Request) {
        let Request { id, peer, method, params } = request;
        let call = CallId { wallet, life, request: id.0 };
        let guardian = peer.index();
        if self.is_lost() {
            let delay = self.rng.gen_range(100..5000);
            self.plan(delay, Event::Answer(call, Err(CallFailure::unavailable("lost"))));
            return;
        }
        if !self.is_calm && self.rng.gen_bool(0.03) {
            self.count("doubled calls");
            let delay = self.delay();
            let copy = Event::Call(guardian, call, method.clone(), params.clone());
            self.plan(delay, copy);
        }
        let delay = self.delay();
        self.plan(delay, Event::Call(guardian, call, method, params));
    }

    pub(super) fn call(
        &mut self,
        guardian: usize,
        call: CallId,
        method: Method,
        params: Value,
    ) -> Result<(), String> {
        if self.has_vice(guardian, Vice::Silent) {
            self.plan(20_000, Event::Answer(call, Err(CallFailure::unavailable("silence"))));
            return Ok(());
        }
        if self.has_vice(guardian, Vice::Liar)
            && let Some(lie) = vice::hasty_answer(&method, &params, &mut self.rng)
        {
            self.count("lies");
            self.send_answer(call, Ok(lie));
            return Ok(());
        }
        let now = self.now;
        let Some(process) = self.guardians[guardian].process.as_mut() else {
            let delay = self.delay();
            self.plan(delay, Event::Answer(call, Err(CallFailure::unavailable("closed"))));
            return Ok(());
        };
        let called = process.call(call, method, params, now);
        let is_dead = matches!(called, Err(Trouble::Died));
        self.settle_guardian(guardian, called)?;
        if is_dead {
            self.plan(10, Event::Answer(call, Err(CallFailure::unavailable("closed"))));
        }
        let life = self.guardians[guardian].life;
        self.order_soon(guardian, life);
        Ok(())
    }

    pub(super) fn send_answer(&mut self, call: CallId, result: Result<Value, ApiError>) {
        let result = match self.is_lost() {
            true => Err(CallFailure::unavailable("lost")),
            false => result.map_err(CallFailure::from_answer),
        };
        let delay = self.delay();
        self.plan(delay, Event::Answer(call, result));
    }

    pub(super) fn answer(
        &mut self,
        call: CallId,
        result: Result<Value, CallFailure>,
    ) -> Result<(), String> {
        let CallId { wallet, life, request } = call;
        if self.wallets[wallet].life != life || self.wallets[wallet].driver.is_none() {
            return Ok(());
        }
        self.wallets[wallet].answer(request, result, self.now);
        self.poll(wallet)
    }
}
