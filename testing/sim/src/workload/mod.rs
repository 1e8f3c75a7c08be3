//! What users do and what befalls everybody, drawn from the seed; and how a simulation ends: in calm
//! weather, with everything open coming to its end and every coin counted.

mod accounts;
mod cheat;
mod end;
mod users;

use std::collections::BTreeSet;

use bitcoin::OutPoint;
use moneta_core::Msat;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::federation::GUARDIANS;
use crate::vice::Vice;
use crate::world::{Event, World};
use accounts::check_end;
use cheat::{cheat, check_cheats};
use end::is_level;
use users::{cancel, lose_wallet, receive, send, wish, withdraw};

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
    /// Whose, and where.
    deposits: Vec<(usize, OutPoint)>,
    /// Whose operators have wished for the last time.
    last_wishes: BTreeSet<usize>,
}

impl Workload {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        Self {
            stage: Stage::Busy(rng.gen_range(15..40)),
            looks: 0,
            villain: rng.gen_range(0..GUARDIANS),
            first_deposits: if rng.gen_bool(0.3) { 2 } else { 1 },
            deposits: Vec::new(),
            last_wishes: BTreeSet::new(),
        }
    }

    /// Has its turn; true when the simulation is over and everything was in order.
    pub(crate) fn act(&mut self, world: &mut World) -> Result<bool, String> {
        match self.stage {
            Stage::Busy(0) => {
                world.calm_down();
                self.looks = 0;
                self.stage = Stage::Settling;
                world.plan(LOOK_MS, Event::Act);
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
                world.plan(pause, Event::Act);
            }
            Stage::Settling => {
                self.wish_at_last(world)?;
                if self.is_settled(world)? && !self.redeem(world)? {
                    world.is_frozen = true;
                    self.stage = Stage::Levelling;
                }
                self.look_again(world)?;
            }
            Stage::Levelling => {
                if is_level(world) {
                    check_end(world)?;
                    check_cheats(world)?;
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
        world.plan(LOOK_MS, Event::Act);
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
        let made = self.deposits.len();
        match world.rng.gen_range(0..100) {
            _ if made < self.first_deposits => self.deposit(world, wallet),
            _ if self.is_patient(world) && world.rng.gen_bool(0.8) => Ok(()),
            0..=3 => self.deposit(world, wallet),
            4..=29 => send(world, wallet),
            30..=54 => receive(world, wallet),
            55..=58 => cancel(world, wallet),
            59..=65 => withdraw(world, wallet),
            66..=67 => {
                // The second finds the first one pending, and so on.
                for wallet in 0..world.wallets.len() {
                    withdraw(world, wallet)?;
                }
                Ok(())
            }
            68..=70 => lose_wallet(world, wallet),
            71..=73 => wish(world),
            74 => {
                let guardian = world.rng.gen_range(0..world.guardians.len());
                world.guardians[guardian].keep_copy();
                Ok(())
            }
            75..=76 => {
                let guardian = world.rng.gen_range(0..world.guardians.len());
                world.lose_disk(guardian)
            }
            77..=82 => {
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
            88..=90 => cheat(world),
            91..=95 => {
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
}
