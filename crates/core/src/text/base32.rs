//! Base32 with the least significant bit first. This is not the order of RFC 4648.
//!
//! Source: docs/protocol/core.md, section 1.8.

use super::TextError;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Returns `bytes` as digits, without padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0_u16, 0);
    for byte in bytes {
        buffer |= u16::from(*byte) << bits;
        bits += 8;
        while bits >= 5 {
            text.push(digit(buffer));
            buffer >>= 5;
            bits -= 5;
        }
    }
    if bits > 0 {
        text.push(digit(buffer));
    }
    text
}

fn digit(buffer: u16) -> char {
    char::from(ALPHABET[usize::from(buffer & 31)])
}

/// Returns the bytes of `text`.
///
/// Bits left over at the end are dropped unchecked, so several texts give the same bytes.
/// Errors: `Base32` for a character outside the alphabet, upper case included.
pub fn decode(text: &str) -> Result<Vec<u8>, TextError> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0_u16, 0);
    for character in text.bytes() {
        buffer |= value(character).ok_or(TextError::Base32)? << bits;
        bits += 5;
        if bits >= 8 {
            bytes.push(buffer.to_le_bytes()[0]);
            buffer >>= 8;
            bits -= 8;
        }
    }
    Ok(bytes)
}

fn value(character: u8) -> Option<u16> {
    match character {
        b'0'..=b'9' => Some(u16::from(character - b'0')),
        b'a'..=b'v' => Some(u16::from(character - b'a') + 10),
        _ => None,
    }
}
