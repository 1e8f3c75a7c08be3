//! The time as the wallet uses it: the system's, but never backwards while the process runs.
//!
//! Pauses and timers are points in time. Were the clock set back by a day, everything would stand
//! still for a day; so after such a jump time goes on from where it was, at the pace of the
//! monotonic clock, until the system's clock has caught up or the process is started again. Jumps
//! forward are taken as they come: a computer that slept must see that time has passed.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use moneta_module::client::Timestamp;

/// A step back of at most this is waited out instead: clocks are kept right in such steps, and
/// following the system's clock keeps ours right too.
const SMALL_STEP_MS: u64 = 1_000;

/// The time now. A clock before 1970 counts as 1970.
pub(super) fn now() -> Timestamp {
    static CLOCK: OnceLock<(Instant, Mutex<Clock>)> = OnceLock::new();
    let (start, clock) = CLOCK.get_or_init(|| (Instant::now(), Mutex::default()));
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let [system_ms, steady_ms] = [since_epoch, start.elapsed()]
        .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    // Two numbers that are written last: a poisoned lock holds good ones.
    let mut clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
    Timestamp(clock.read(system_ms, steady_ms))
}

/// What was told last.
#[derive(Debug, Default)]
struct Clock {
    told_ms: u64,
    /// The monotonic clock then.
    steady_ms: u64,
}

impl Clock {
    /// Returns the time to tell when the system's clock and the monotonic one show these.
    fn read(&mut self, system_ms: u64, steady_ms: u64) -> u64 {
        let passed_ms = steady_ms.saturating_sub(self.steady_ms);
        let expected_ms = self.told_ms.saturating_add(passed_ms);
        self.told_ms = match system_ms.saturating_add(SMALL_STEP_MS) >= expected_ms {
            true => system_ms.max(self.told_ms),
            false => expected_ms,
        };
        self.steady_ms = steady_ms;
        self.told_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn clock_set_back_goes_on_and_is_followed_again_when_it_caught_up() {
        let mut clock = Clock::default();
        let noon = 20_000 * DAY_MS;
        assert_eq!(clock.read(noon, 5), noon);
        assert_eq!(clock.read(noon + 10, 15), noon + 10);
        // Set back by a day: time goes on all the same.
        assert_eq!(clock.read(noon - DAY_MS, 25), noon + 20);
        assert_eq!(clock.read(noon - DAY_MS + 1_000, 1_025), noon + 1_020);
        // A small step back is waited out.
        assert_eq!(clock.read(noon + 900, 1_035), noon + 1_020);
        assert_eq!(clock.read(noon + 2_000, 2_200), noon + 2_000);
        // A sleep, in which the monotonic clock stood still.
        assert_eq!(clock.read(noon + DAY_MS, 2_210), noon + DAY_MS);
    }
}
