//! Points in time as they travel in client backups.
//!
//! Source: docs/protocol/core.md, sections 1.2 and 2.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::{Decode, DecodeError, Encode};

/// Time since the Unix epoch.
///
/// Shape: as a duration; in JSON `{"secs_since_epoch": .., "nanos_since_epoch": ..}`. At most
/// `i64::MAX` seconds, the limit of system clocks.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "JsonForm", into = "JsonForm")]
pub struct Timestamp(Duration);

/// The time is beyond what system clocks can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the timestamp is out of range")]
pub struct TimestampRangeError;

impl Timestamp {
    /// Takes the time since the Unix epoch.
    ///
    /// Errors: more than `i64::MAX` seconds.
    pub fn from_unix(since_epoch: Duration) -> Result<Self, TimestampRangeError> {
        match i64::try_from(since_epoch.as_secs()) {
            Ok(_) => Ok(Self(since_epoch)),
            Err(_) => Err(TimestampRangeError),
        }
    }

    /// Returns the time since the Unix epoch.
    #[must_use]
    pub const fn since_epoch(self) -> Duration {
        self.0
    }

    /// Returns whole seconds since the Unix epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl Encode for Timestamp {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for Timestamp {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_unix(Duration::decode(input)?).map_err(|_| DecodeError::OutOfRange)
    }
}

#[derive(Serialize, Deserialize)]
struct JsonForm {
    secs_since_epoch: u64,
    nanos_since_epoch: u32,
}

impl From<Timestamp> for JsonForm {
    fn from(time: Timestamp) -> Self {
        Self { secs_since_epoch: time.0.as_secs(), nanos_since_epoch: time.0.subsec_nanos() }
    }
}

impl TryFrom<JsonForm> for Timestamp {
    type Error = TimestampRangeError;

    /// A full second of nanoseconds and more is carried over.
    fn try_from(json: JsonForm) -> Result<Self, TimestampRangeError> {
        let nanos = Duration::from_nanos(json.nanos_since_epoch.into());
        let time = Duration::from_secs(json.secs_since_epoch).checked_add(nanos);
        Self::from_unix(time.ok_or(TimestampRangeError)?)
    }
}
