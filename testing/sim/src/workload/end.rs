//! How a simulation ends: what is open comes to its end.

use moneta_module::client::End;
use serde_json::{Value, json};

use super::Workload;
use super::accounts::has_unspent;
use super::users::{all_handed_out, ask_wallet};
use crate::wallet::Done;
use crate::world::World;

/// Machines that run as long as a wallet lives: grinder, scanner, reader of metadata.
const STANDING_MACHINES: usize = 3;

impl Workload {
    /// Whether nothing is on its way any more.
    pub(super) fn is_settled(&self, world: &World) -> Result<bool, String> {
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
