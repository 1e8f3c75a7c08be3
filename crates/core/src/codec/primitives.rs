//! Numbers, flags, text and times.
//!
//! Source: docs/protocol/core.md, sections 1.1 and 1.2.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Decode, DecodeError, Encode, Reader, write_bigsize};

const NANOS_PER_SECOND: u32 = 1_000_000_000;

impl Encode for u8 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn encode_slice(slice: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(slice);
    }
}

impl Decode for u8 {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.take_u8()
    }

    fn decode_vec(count: u64, input: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let count =
            usize::try_from(count).map_err(|_| DecodeError::Truncated { missing: count })?;
        Ok(input.take(count)?.to_vec())
    }

    fn decode_array<const N: usize>(input: &mut Reader<'_>) -> Result<[Self; N], DecodeError> {
        input.take_array()
    }
}

macro_rules! impl_integer {
    ($($integer:ty),*) => {$(
        impl Encode for $integer {
            fn encode(&self, out: &mut Vec<u8>) {
                write_bigsize(u64::from(*self), out);
            }
        }

        impl Decode for $integer {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::try_from(input.take_bigsize()?).map_err(|_| DecodeError::OutOfRange)
            }
        }
    )*};
}

impl_integer!(u16, u32, u64);

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Decode for bool {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match input.take_u8()? {
            0 => Ok(false),
            1 => Ok(true),
            flag => Err(DecodeError::BadFlag(flag)),
        }
    }
}

impl Encode for str {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode(out);
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
}

impl Decode for String {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match std::str::from_utf8(input.take_prefixed()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError::Invalid("UTF-8 text")),
        }
    }
}

impl Encode for Cow<'_, str> {
    fn encode(&self, out: &mut Vec<u8>) {
        str::encode(self, out);
    }
}

impl Decode for Cow<'_, str> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        String::decode(input).map(Cow::Owned)
    }
}

impl Encode for Duration {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_secs().encode(out);
        self.subsec_nanos().encode(out);
    }
}

impl Decode for Duration {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let seconds = u64::decode(input)?;
        let nanos = u32::decode(input)?;
        if nanos >= NANOS_PER_SECOND {
            return Err(DecodeError::OutOfRange);
        }
        Ok(Self::new(seconds, nanos))
    }
}

/// The time since the Unix epoch. A clock set before 1970 is written as the epoch itself, because
/// encoding cannot fail.
impl Encode for SystemTime {
    fn encode(&self, out: &mut Vec<u8>) {
        self.duration_since(UNIX_EPOCH).unwrap_or_default().encode(out);
    }
}

impl Decode for SystemTime {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        UNIX_EPOCH.checked_add(Duration::decode(input)?).ok_or(DecodeError::OutOfRange)
    }
}
