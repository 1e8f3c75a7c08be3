//! How a simulation ends: what is open comes to its end.

use std::collections::BTreeSet;

use bitcoin::OutPoint;
use moneta_module::client::End;
use moneta_wallet::words::OutputInfo;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Workload;
use super::accounts::has_unspent;
use super::users::{all_handed_out, ask_wallet, wish_for};
use crate::federation::{META, WALLET};
use crate::guardian::Guardian;
use crate::wallet::Done;
use crate::world::World;

/// Machines that run as long as a wallet lives: grinder, scanner, reader of metadata.
const STANDING_MACHINES: usize = 3;
/// What all guardians wish for at last, so that they must agree on it.
const LAST_WISH: &str = "{\"motd\":\"farewell\"}";

impl Workload {
    /// Whether nothing is on its way any more.
    pub(super) fn is_settled(&self, world: &World) -> Result<bool, String> {
        for wallet in &world.wallets {
            let (transactions, machines) = wallet.pending();
            let made = self.deposits.iter().filter(|(owner, _)| *owner == wallet.number).count();
            let found = wallet.found_deposits().map_err(|trouble| format!("{trouble:?}"))?;
            let open = wallet.open_deposits().map_err(|trouble| format!("{trouble:?}"))?;
            if found > made {
                return Err(format!("wallet {} found {found} of {made} deposits", wallet.number));
            }
            let is_busy = transactions > 0 || machines > STANDING_MACHINES || open > 0;
            if wallet.driver.is_none() || is_busy {
                return Ok(false);
            }
        }
        let deposits: BTreeSet<OutPoint> = self.deposits.iter().map(|(_, coin)| *coin).collect();
        let wished = json!(hex::encode(LAST_WISH));
        let is_settled = |guardian: &Guardian| {
            let process = guardian.process.as_ref()?;
            let pending = process.ask(WALLET, "pending_transaction_chain", &Value::Null)?;
            let claimed = process.ask(WALLET, "output_info_slice", &json!([0, 1000]))?;
            let claimed = Vec::<OutputInfo>::deserialize(claimed).ok()?;
            let claimed = claimed.into_iter().filter(|output| output.spent);
            let claimed: BTreeSet<_> = claimed.filter_map(|output| output.outpoint).collect();
            let agreed = process.ask(META, "get_consensus", &json!(0))?;
            let is_agreed = agreed["value"] == wished;
            (pending == json!([]) && claimed.is_superset(&deposits) && is_agreed).then_some(())
        };
        Ok(world.chain.is_idle() && world.guardians.iter().all(|g| is_settled(g).is_some()))
    }

    /// Has every guardian's operator wish for the same at last.
    pub(super) fn wish_at_last(&mut self, world: &mut World) -> Result<(), String> {
        for guardian in 0..world.guardians.len() {
            if !self.last_wishes.contains(&guardian) && wish_for(world, guardian, LAST_WISH)? {
                self.last_wishes.insert(guardian);
            }
        }
        Ok(())
    }

    /// Has e-cash that nobody took yet taken by somebody; false if there is none.
    pub(super) fn redeem(&mut self, world: &mut World) -> Result<bool, String> {
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
}

/// Whether all guardians have processed everything.
pub(super) fn is_level(world: &World) -> bool {
    let rows = world.guardians.iter().map(|guardian| {
        let process = guardian.process.as_ref()?;
        process.has_followed(&world.log).then_some(())
    });
    rows.flatten().count() == world.guardians.len()
}
