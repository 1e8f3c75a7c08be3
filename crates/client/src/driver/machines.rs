//! The driver's steps with machines: wait, advance, pause, park.

use moneta_module::client::{Outcome, Stop, Timestamp};
use moneta_store::StoreError;
use serde_json::json;

use super::Driver;
use super::agenda::Owner;
use super::machine::Machine;
use super::submission::Submission;
use super::tables::{MACHINES, MachineId, StoredMachine};
use super::turn::{Place, TurnHost};

/// How long a payment goes first. One that takes longer waits for guardians, whatever this machine does.
const FIRST_FOR_MS: u64 = 3_000;

impl Driver {
    pub(super) fn step_machine(&mut self, id: MachineId, now: Timestamp) -> Result<(), StoreError> {
        let owner = Owner::Machine(id);
        let is_fresh = |submission: &Submission| submission.elapsed_ms(now) < FIRST_FOR_MS;
        let busy = self.submissions.values().any(is_fresh)
            || self.machines.values().any(Machine::reads_history);
        let Some(machine) = self.machines.get_mut(&id) else { return Ok(()) };
        let Some(module) = self.modules.get(&machine.stored.instance) else { return Ok(()) };
        if !machine.look(now) {
            self.agenda.set_timer(owner, machine.next_wakeup());
            return Ok(());
        }
        let snapshot = self.store.snapshot();
        let view = self.stage.over(&snapshot);
        match machine.outcome(&**module, &view, now) {
            Ok(Some(Outcome::Due)) if busy && machine.yields_until(now).is_some() => {
                self.agenda.set_timer(owner, machine.yields_until(now));
                Ok(())
            }
            Ok(Some(outcome)) => {
                if let (Some(asking), Outcome::Answers(answers)) = (&machine.asking, &outcome) {
                    self.servers.note(answers.keys().copied(), asking.query.let_down());
                }
                self.advance(id, outcome, now)
            }
            Ok(None) => {
                let draw = || self.servers.draw(&mut *self.rng);
                if let Some(asking) = machine.ask(self.size, draw) {
                    self.calls.send(owner, asking, now);
                }
                self.agenda.set_timer(owner, machine.next_wakeup());
                Ok(())
            }
            Err(Stop::Store(failure)) => Err(failure),
            Err(stop) => self.park(id, &stop, now),
        }
    }

    /// One turn of a machine.
    fn advance(
        &mut self,
        id: MachineId,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(machine) = self.machines.get_mut(&id) else { return Ok(()) };
        let proved = match outcome {
            Outcome::Answers(_) => machine.proves(),
            _ => None,
        };
        let stored = &machine.stored;
        let Some(module) = self.modules.get(&stored.instance) else { return Ok(()) };
        let snapshot = self.store.snapshot();
        let view = self.stage.over(&snapshot);
        let (instance, operation, origin) = (stored.instance, stored.operation, stored.origin);
        let place = Place { now, instance, operation, origin };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        match module.advance(&mut host, &stored.state, outcome) {
            Ok(Some(state)) => {
                let next = StoredMachine { state, parked: None, saved_ms: now.0, ..stored.clone() };
                MACHINES.insert(host.wallet(), &id, &next);
                let (batch, effects) = host.finish()?;
                self.keep(batch, effects, now)?;
                self.dismiss(id);
                self.arm(id, next)?;
                self.settle_proved(proved, now)
            }
            Ok(None) => {
                MACHINES.remove(host.wallet(), &id);
                let (batch, effects) = host.finish()?;
                self.keep(batch, effects, now)?;
                self.dismiss(id);
                self.settle_proved(proved, now)
            }
            Err(Stop::Store(failure)) => Err(failure),
            Err(Stop::Later(reason)) => {
                tracing::debug!(machine = id.0, reason, "machine goes on later");
                if let Some(asking) = machine.pause(now) {
                    self.calls.close(asking);
                }
                self.agenda.set_timer(Owner::Machine(id), machine.next_wakeup());
                Ok(())
            }
            Err(stop) => self.park(id, &stop, now),
        }
    }

    /// Has a machine wait. One whose module is not in use stays in the store.
    pub(super) fn arm(&mut self, id: MachineId, stored: StoredMachine) -> Result<(), StoreError> {
        let Some(module) = self.modules.get(&stored.instance) else { return Ok(()) };
        let saved = Timestamp(stored.saved_ms);
        match Machine::arm(stored.clone(), &**module) {
            Ok(machine) => {
                self.machines.insert(id, machine);
                self.agenda.touch(Owner::Machine(id));
                Ok(())
            }
            Err(Stop::Store(failure)) => Err(failure),
            Err(stop) => self.park_stored(id, stored, &stop, saved),
        }
    }

    /// Has a machine wait that was found in the store.
    pub(super) fn restore(
        &mut self,
        id: MachineId,
        stored: StoredMachine,
    ) -> Result<(), StoreError> {
        self.arm(id, stored)?;
        if let Some(machine) = self.machines.remove(&id) {
            self.machines.insert(id, machine.restored());
        }
        Ok(())
    }

    /// Takes a machine out of memory, with its calls and timers.
    fn dismiss(&mut self, id: MachineId) -> Option<StoredMachine> {
        let Machine { stored, asking, .. } = self.machines.remove(&id)?;
        asking.into_iter().for_each(|asking| self.calls.close(asking));
        self.agenda.set_timer(Owner::Machine(id), None);
        Some(stored)
    }

    fn park(&mut self, id: MachineId, stop: &Stop, now: Timestamp) -> Result<(), StoreError> {
        match self.dismiss(id) {
            Some(stored) => self.park_stored(id, stored, stop, now),
            None => Ok(()),
        }
    }

    fn park_stored(
        &mut self,
        id: MachineId,
        stored: StoredMachine,
        stop: &Stop,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let reason = stop.to_string();
        let StoredMachine { instance, operation, origin, ref parked, .. } = stored;
        if parked.as_ref() == Some(&reason) {
            return Ok(());
        }
        tracing::error!(machine = id.0, %instance, reason, "machine parked");
        let snapshot = self.store.snapshot();
        let view = self.stage.over(&snapshot);
        let place = Place { now, instance, operation, origin };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        host.note_of_driver("machine-parked", json!({ "module_id": instance, "reason": &reason }));
        let stored = StoredMachine { parked: Some(reason), ..stored };
        MACHINES.insert(host.wallet(), &id, &stored);
        let (batch, effects) = host.finish()?;
        self.keep(batch, effects, now)
    }
}
