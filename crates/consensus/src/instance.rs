//! One AlephBFT instance: opened from its unit file, configured explicitly, run, stopped.

use std::{collections::HashSet, io, path::Path, sync::Arc, time::Duration};

use aleph_bft::{
    Config, DelayConfig, Hasher as _, LocalIO, NodeCount, NodeIndex, Terminator, create_config,
    exponential_slowdown, run_session,
};
use futures::{channel::oneshot, io::Cursor};
use tokio::sync::mpsc;

use crate::{
    batch::Batch,
    keys::Sha256,
    local::Local,
    network::{Inbox, Wire},
    pacing::Pacing,
    roles::{Orderer, Provider, Saver},
    session::{Output, Session, Start},
    status::Participation,
    tasks::Tasks,
    unit_file::{self, Silence, UnitFile},
    unit_layout::UnitView,
};

/// A session with a running AlephBFT instance; stops when dropped.
pub(crate) struct Instance {
    pub(crate) session: Arc<Session>,
    /// What it orders. The end of the session comes once; nothing but `Stopped` follows it.
    pub(crate) outputs: mpsc::UnboundedReceiver<Output>,
    tasks: Tasks,
    /// Dropping it would ask AlephBFT to stop.
    _exit: oneshot::Sender<()>,
}

impl Instance {
    /// Opens session `index`, held, and starts its AlephBFT.
    ///
    /// `is_lost` says what to think of a file that is not there: that it ought to be.
    pub(crate) async fn open(
        local: &Arc<Local>,
        dir: &Path,
        index: u64,
        is_lost: bool,
    ) -> io::Result<Self> {
        let (path, me, total) = (dir.to_owned(), local.me(), local.keyring.0.total());
        let load = move || Loaded::load(&path, index, total, is_lost);
        let loaded = tokio::task::spawn_blocking(load).await.map_err(io::Error::other)??;
        if loaded.participation != Participation::Active {
            tracing::warn!(
                target: "moneta::consensus", session = index, reason = ?loaded.participation,
                "sitting out the session"
            );
        }
        let own = own_units(&loaded.units, me);
        local.queue().reopen(index, own.items);
        let (inbox, incoming) = Inbox::new(total);
        let start = Start {
            index,
            file: loaded.file,
            participation: loaded.participation,
            resumed_round: own.next_round,
            from_file: loaded.from_file,
        };
        let session = Arc::new(Session::new(local.clone(), inbox, start));
        let (outputs_in, outputs) = mpsc::unbounded_channel();
        let (exit, exit_signal) = oneshot::channel();
        let tasks = Tasks::default();
        let io = LocalIO::new_with_unit_finalization_handler(
            Provider(session.clone()),
            Orderer { session: session.clone(), outputs: outputs_in.clone() },
            Saver { session: session.clone(), unit: Vec::new(), syncing: None },
            Cursor::new(loaded.units.concat()),
        );
        let run = run_session(
            config(&local.pacing, me, total, index)?,
            io,
            Wire { session: session.clone(), incoming },
            local.keyring.clone(),
            tasks.clone(),
            Terminator::create_root(exit_signal, "moneta"),
        );
        tasks.add(async move {
            run.await;
            // Nobody listens if the session is being stopped, which is when this is no news.
            let _ = outputs_in.send(Output::Stopped);
        });
        Ok(Self { session, outputs, tasks, _exit: exit })
    }

    /// Stops AlephBFT and waits until it touches nothing any more. What it saved is kept.
    pub(crate) async fn stop(self) {
        self.tasks.join().await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.tasks.close();
    }
}

/// What the unit file of a session says.
struct Loaded {
    file: UnitFile,
    participation: Participation,
    /// Encoded units, parents before children.
    units: Vec<Vec<u8>>,
    /// Hashes of those that the file holds already and AlephBFT will save again.
    from_file: HashSet<[u8; 32]>,
}

impl Loaded {
    fn load(dir: &Path, session: u64, total: usize, is_lost: bool) -> io::Result<Self> {
        let Some((mut content, file)) = UnitFile::open(dir, session)? else {
            let silence = if is_lost { Silence::Missing } else { Silence::None };
            let file = UnitFile::create(dir, session, silence)?;
            return Ok(Self::fresh(file, silence, Vec::new()));
        };
        let sound = sound_units(&content.records, session, total);
        let unsound = sound < content.records.len();
        content.records.truncate(sound);
        match file {
            Some(file) if !unsound => {
                let from_file = content.records.iter().map(|unit| Sha256::hash(unit)).collect();
                let fresh = Self::fresh(file, content.silence, content.records);
                Ok(Self { from_file, ..fresh })
            }
            _ => {
                unit_file::set_aside(dir, session)?;
                let file = UnitFile::create(dir, session, Silence::Damaged)?;
                Ok(Self::fresh(file, Silence::Damaged, content.records))
            }
        }
    }

    fn fresh(file: UnitFile, silence: Silence, units: Vec<Vec<u8>>) -> Self {
        let participation = match silence {
            Silence::None => Participation::Active,
            Silence::Missing => Participation::UnitFileMissing,
            Silence::Damaged => Participation::UnitFileDamaged,
        };
        Self { file, participation, units, from_file: HashSet::new() }
    }
}

/// How many of the first records AlephBFT will take: units of this session and federation, each
/// after its parents. It refuses to start with any other, so they must not reach it.
fn sound_units(records: &[Vec<u8>], session: u64, total: usize) -> usize {
    let mut known = HashSet::new();
    let is_sound = |record: &Vec<u8>| {
        let unit = UnitView::parse(record)?;
        let mut parents = unit.parents.iter().enumerate();
        let sound = unit.session == session
            && unit.creator < total
            && unit.parents.len() == total
            && parents.all(|(creator, round)| round.is_none_or(|r| known.contains(&(creator, r))));
        known.insert((unit.creator, unit.round));
        sound.then_some(())
    };
    records.iter().map_while(is_sound).count()
}

struct OwnUnits {
    next_round: u16,
    /// The items of each unit that has some.
    items: Vec<Vec<Vec<u8>>>,
}

fn own_units(units: &[Vec<u8>], me: usize) -> OwnUnits {
    let mut own = OwnUnits { next_round: 0, items: Vec::new() };
    for unit in units.iter().filter_map(|unit| UnitView::parse(unit)) {
        if unit.creator == me {
            own.next_round = own.next_round.max(unit.round.saturating_add(1));
            let batch = unit.data.and_then(Batch::decode).unwrap_or_default();
            own.items.extend((!batch.items.is_empty()).then_some(batch.items));
        }
    }
    own
}

/// Rounds beyond the budget at the usual pace, in which a session orders its close marks.
const GRACE_ROUNDS: u16 = 500;
/// Rounds after those, each slower than the one before by [`SLOW_DOWN`], until the last one
/// AlephBFT may create: at a pause of 1 ms they take a week, and a session that cannot end,
/// because too few guardians are there, must not run out of rounds before they are back.
const SLOW_ROUNDS: u16 = 3000;
const SLOW_DOWN: f64 = 1.005;
/// What is demanded of all rounds together.
const SHORTEST_SESSION: Duration = Duration::from_secs(3 * 24 * 3600);

/// All delays of AlephBFT, explicitly. Its pace within a round is set by [`Provider`].
fn config(pacing: &Pacing, me: usize, total: usize, index: u64) -> io::Result<Config> {
    let base_ms = pacing.round_delay.as_secs_f64() * 1000.0;
    let slow_from = usize::from(pacing.round_budget + GRACE_ROUNDS);
    let delays = DelayConfig {
        // How often AlephBFT looks whether a request or a rebroadcast is due. It looks at every
        // unit that comes, too, so this matters only while none does. Two instances run, and at
        // 50 ms their timers alone made two thirds of an idle guardian's wake-ups.
        tick_interval: Duration::from_millis(500),
        // How soon an unanswered newest unit is repeated to everybody. While idle each unit is
        // superseded before that, so this only speaks when something is stuck or someone is gone.
        unit_rebroadcast_interval_min: Duration::from_secs(4),
        unit_rebroadcast_interval_max: Duration::from_secs(6),
        unit_creation_delay: Arc::new(move |round| {
            exponential_slowdown(round, base_ms, slow_from, SLOW_DOWN)
        }),
        coord_request_delay: Arc::new(|tries| backoff(tries, 200, 3000)),
        coord_request_recipients: Arc::new(|tries| if tries <= 2 { 3 } else { 1 }),
        parent_request_delay: Arc::new(|tries| backoff(tries, 500, 3000)),
        parent_request_recipients: Arc::new(|_| 1),
        newest_request_delay: Arc::new(|tries| backoff(tries, 250, 2000)),
    };
    create_config(
        NodeCount(total),
        NodeIndex(me),
        index,
        pacing.round_budget + GRACE_ROUNDS + SLOW_ROUNDS,
        delays,
        SHORTEST_SESSION,
    )
    .map_err(|_| io::Error::other("the rounds of a session would be used up too soon"))
}

/// Doubles from `first_ms` up to `cap_ms`.
fn backoff(tries: usize, first_ms: u64, cap_ms: u64) -> Duration {
    Duration::from_millis((first_ms << tries.min(16)).min(cap_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_ends_late_enough_for_every_pacing_that_is_allowed() {
        for round_budget in [16, 1500, 60_000] {
            for round_ms in [1, 5, 1000] {
                let round_delay = Duration::from_millis(round_ms);
                let pacing = Pacing { round_budget, round_delay, ..Pacing::default() };
                assert!(config(&pacing, 0, 4, 0).is_ok(), "{round_budget} rounds, {round_ms} ms");
            }
        }
    }

    #[test]
    fn delays_double_up_to_their_cap() {
        let delays: Vec<_> = (0..5).map(|tries| backoff(tries, 200, 1000).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1000, 1000]);
        assert_eq!(backoff(usize::MAX, 200, 1000).as_millis(), 1000);
    }
}
