//! The JSON text of a slice, read in one pass.
//!
//! Guardians write it without spaces and with the fields in their order, millions of items for one
//! recovery. Just that is read here; whatever else JSON allows is left to the general reader.
//!
//! Source: docs/protocol/mint.md, section 3.6.

use bitcoin::hashes::{Hash as _, hash160};

use crate::words::{Denomination, RecoveryItem, Tweak};

/// The shortest item with its comma, which bounds how many a text can hold.
const ITEM_BYTES_MIN: usize = br#"{"Input":{"nonce_hash":""}},"#.len() + 40;

/// The items that `text` lists; `None` if it is no such list.
pub(super) fn read(text: &str) -> Option<Vec<RecoveryItem>> {
    read_plain(text.as_bytes()).or_else(|| serde_json::from_str(text).ok())
}

/// `None` also for a list that is written in another way.
fn read_plain(text: &[u8]) -> Option<Vec<RecoveryItem>> {
    let mut rest = Text(text);
    rest.skip(b"[")?;
    if rest.skip(b"]").is_some() {
        return rest.0.is_empty().then(Vec::new);
    }
    let mut items = Vec::with_capacity(text.len() / ITEM_BYTES_MIN + 1);
    loop {
        items.push(rest.item()?);
        if rest.skip(b",").is_none() {
            rest.skip(b"]")?;
            return rest.0.is_empty().then_some(items);
        }
    }
}

/// What is left to read. After a `None` it may stand anywhere.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn skip(&mut self, literal: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    fn item(&mut self) -> Option<RecoveryItem> {
        if self.skip(br#"{"Input":{"nonce_hash":"#).is_some() {
            let nonce_hash = self.hash()?;
            self.skip(b"}}")?;
            return Some(RecoveryItem::Input { nonce_hash });
        }
        self.skip(br#"{"Output":{"denomination":"#)?;
        let denomination = Denomination(self.number()?);
        self.skip(br#","nonce_hash":"#)?;
        let nonce_hash = self.hash()?;
        self.skip(br#","tweak":["#)?;
        let mut tweak: Tweak = [0; 16];
        for (index, byte) in tweak.iter_mut().enumerate() {
            if index > 0 {
                self.skip(b",")?;
            }
            *byte = self.number()?;
        }
        self.skip(b"]}}")?;
        Some(RecoveryItem::Output { denomination, nonce_hash, tweak })
    }

    /// A byte in decimal, without leading zeros.
    fn number(&mut self) -> Option<u8> {
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
        let first = digit(self.0.first()?)?;
        let (value, length) = match (self.0.get(1).and_then(digit), self.0.get(2).and_then(digit)) {
            (None, _) => (first, 1),
            (Some(second), None) => (first * 10 + second, 2),
            (Some(second), Some(third)) => (first * 100 + second * 10 + third, 3),
        };
        if first == 0 && length > 1 {
            return None;
        }
        self.0 = &self.0[length..];
        u8::try_from(value).ok()
    }

    fn hash(&mut self) -> Option<hash160::Hash> {
        let (text, rest) = self.0.split_at_checked(42)?;
        let digits = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        self.0 = rest;
        Some(hash160::Hash::from_byte_array(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::words::hash160;

    fn items() -> Vec<RecoveryItem> {
        let output = |number: u8| RecoveryItem::Output {
            denomination: Denomination(number),
            nonce_hash: hash160(&[number]),
            tweak: std::array::from_fn(|index| number.wrapping_mul(index as u8 + 1)),
        };
        let inputs = (0..3).map(|number| RecoveryItem::Input { nonce_hash: hash160(&[number]) });
        (0..=255).map(output).chain(inputs).collect()
    }

    #[test]
    fn what_guardians_write_is_read_in_one_pass() {
        for count in [0, 1, 2, 255, 259] {
            let items = &items()[..count];
            let text = serde_json::to_string(items).unwrap();
            assert_eq!(read_plain(text.as_bytes()).unwrap(), items);
        }
    }

    #[test]
    fn same_list_in_other_words_is_read_as_well() {
        let items = &items()[250..];
        let text = serde_json::to_string_pretty(items).unwrap().to_uppercase();
        let names = ["Output", "Input", "denomination", "nonce_hash", "tweak"];
        let text = names.iter().fold(text, |text, name| text.replace(&name.to_uppercase(), name));
        assert_eq!(read_plain(text.as_bytes()), None);
        assert_eq!(read(&text).unwrap(), items);
    }

    /// Both readers take the same: a change of one character is read alike, or refused by both.
    #[test]
    fn damaged_text_is_read_as_by_the_general_reader() {
        let items = items();
        let text = serde_json::to_string(&[&items[7], &items[110], &items[257]]).unwrap();
        for position in 0..text.len() {
            for other in ["", "0", "9", "a", "g", "\"", ",", "]", "}", " ", "-", "."] {
                let changed = format!("{}{other}{}", &text[..position], &text[position + 1..]);
                let general = serde_json::from_str::<Vec<RecoveryItem>>(&changed).ok();
                if let Some(items) = read_plain(changed.as_bytes()) {
                    assert_eq!(Some(items), general, "{changed}");
                }
                assert_eq!(read(&changed), general, "{changed}");
            }
        }
    }
}
