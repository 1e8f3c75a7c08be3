//! BigSize: the integer form of Lightning's BOLT 1, big endian, shortest form only.
//!
//! Source: docs/protocol/core.md, section 1.1.

use super::{DecodeError, Reader};

/// Appends `value`.
pub fn write_bigsize(value: u64, out: &mut Vec<u8>) {
    match value {
        0..=0xfc => out.push(value as u8),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// How many bytes `value` takes.
pub const fn bigsize_len(value: u64) -> usize {
    match value {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

impl Reader<'_> {
    /// Reads one BigSize integer.
    ///
    /// Errors: `NotMinimal` if a shorter form exists, `Truncated`.
    pub fn take_bigsize(&mut self) -> Result<u64, DecodeError> {
        let (value, least) = match self.take_u8()? {
            0xfd => (u64::from(u16::from_be_bytes(self.take_array()?)), 0xfd),
            0xfe => (u64::from(u32::from_be_bytes(self.take_array()?)), 0x1_0000),
            0xff => (u64::from_be_bytes(self.take_array()?), 0x1_0000_0000),
            small => return Ok(u64::from(small)),
        };
        if value < least {
            return Err(DecodeError::NotMinimal);
        }
        Ok(value)
    }
}
