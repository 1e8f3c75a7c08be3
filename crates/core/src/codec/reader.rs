//! The bounded reader that all decoding goes through.

use super::MAX_DECODE_SIZE_BYTES;

/// How deep values may nest. The deepest honest value (a signed session holding transactions
/// holding module values) stays below ten.
const MAX_DEPTH: u8 = 32;

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("the input ends {missing} bytes too early")]
    Truncated {
        /// How many bytes were still needed.
        missing: u64,
    },
    /// Bytes are left over behind the value.
    #[error("{count} bytes are left over")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// The input is larger than anything that is decoded as one piece.
    #[error("the input is too large")]
    TooLarge,
    /// Values nest too deep.
    #[error("values are nested too deep")]
    TooDeep,
    /// An integer is not in its shortest form.
    #[error("an integer is not in its shortest form")]
    NotMinimal,
    /// An integer does not fit its type.
    #[error("an integer is out of range")]
    OutOfRange,
    /// A flag byte has a value without meaning.
    #[error("the flag byte {0:#04x} has no meaning here")]
    BadFlag(u8),
    /// An enum index is unknown and the enum is closed.
    #[error("variant {0} is unknown")]
    UnknownVariant(u64),
    /// Map or set keys are repeated or not ascending.
    #[error("map keys are not strictly ascending")]
    KeyOrder,
    /// Any other malformed value, named.
    #[error("not a valid {0}")]
    Invalid(&'static str),
}

/// A cursor over bytes in memory.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Reader<'a> {
    /// Starts reading `bytes`.
    ///
    /// Errors: `TooLarge` above [`MAX_DECODE_SIZE_BYTES`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_DECODE_SIZE_BYTES {
            return Err(DecodeError::TooLarge);
        }
        Ok(Self { rest: bytes, depth: 0 })
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(DecodeError::Truncated { missing: (count - self.rest.len()) as u64 }),
        }
    }

    /// Takes the next `N` bytes.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Takes the next byte.
    pub fn take_u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take_array::<1>()?[0])
    }

    /// The bytes that are left, without taking them.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes all bytes that are left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Reads a declared length, which may not exceed the bytes that remain, and takes that many
    /// as a reader of their own, one level deeper.
    pub fn take_nested(&mut self) -> Result<Reader<'a>, DecodeError> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let rest = self.take_prefixed()?;
        Ok(Reader { rest, depth })
    }

    /// Reads a declared length and takes that many bytes.
    pub fn take_prefixed(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.take_bigsize()?;
        let length =
            usize::try_from(length).map_err(|_| DecodeError::Truncated { missing: length })?;
        self.take(length)
    }

    /// Errors with `Trailing` unless all bytes were read.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }
}
