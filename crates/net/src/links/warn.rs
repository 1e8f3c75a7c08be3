//! Warnings that strangers can trigger, at most one every ten seconds.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Lets one warning through per interval and counts the rest.
#[derive(Default)]
pub(super) struct WarnLimit {
    state: Mutex<(Option<Instant>, u64)>,
}

impl WarnLimit {
    /// Returns how many were held back since the last one, if this one may be printed.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_prints_one_line_per_interval() {
        let limit = WarnLimit::default();
        let start = Instant::now();
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start + EVERY / 2), None);
        assert_eq!(limit.admit(start + EVERY / 2), None);
        assert_eq!(limit.admit(start + EVERY), Some(2));
    }
}
