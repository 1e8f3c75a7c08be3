//! Misfortune, and the calm behind it.

use moneta_store::testing::Fault;
use rand::Rng as _;

use super::{Event, World};

impl World {
    /// Has the store of a guardian or a wallet fail at one of its next commits.
    pub(crate) fn strike(&mut self) {
        const FAULTS: [Fault; 5] = [
            Fault::Refuse,
            Fault::FailBefore,
            Fault::FailAfter,
            Fault::CrashBefore,
            Fault::CrashAfter,
        ];
        let fault = FAULTS[self.rng.gen_range(0..FAULTS.len())];
        let nth = self.rng.gen_range(1..10);
        let machines = self.guardians.len() + self.wallets.len();
        let machine = self.rng.gen_range(0..machines);
        match machine.checked_sub(self.guardians.len()) {
            Some(wallet) => self.wallets[wallet].disk.strike(nth, fault),
            None => self.guardians[machine].disk.strike(nth, fault),
        }
        self.count("planned store faults");
    }

    /// A guardian loses its disk, and its operator puts in a new one with the copy that was made
    /// last, or none.
    pub(crate) fn lose_disk(&mut self, guardian: usize) -> Result<(), String> {
        self.count("disks lost");
        match self.guardians[guardian].lose_disk() {
            Ok(calls) => {
                self.bury(guardian, calls);
                Ok(())
            }
            Err(trouble) => Err(format!("a copy of a disk does not read: {trouble:?}")),
        }
    }

    /// Takes all planned misfortune back.
    pub(crate) fn calm_down(&mut self) {
        self.is_calm = true;
        self.vice = None;
        // A fault that far away never strikes.
        let disks = self.guardians.iter().map(|guardian| &guardian.disk);
        for disk in disks.chain(self.wallets.iter().map(|wallet| &wallet.disk)) {
            disk.strike(u64::MAX / 2, Fault::Refuse);
        }
        for guardian in 0..self.guardians.len() {
            self.plan(10, Event::StartGuardian(guardian));
        }
        for wallet in 0..self.wallets.len() {
            self.plan(10, Event::StartWallet(wallet));
        }
    }
}
