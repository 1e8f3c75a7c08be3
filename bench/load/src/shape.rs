//! How many notes a payment spends and makes.

use std::fmt;
use std::str::FromStr;

use moneta_mint::words::{Denomination, Fees};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Notes in and out of one payment. Text: `5x5`. JSON: the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Notes spent.
    pub inputs: usize,
    /// Notes made.
    pub outputs: usize,
}

/// The text is no shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a shape is two numbers of notes from 1 to {MAX_NOTES}, as in 5x5, not {0:?}")]
pub struct ShapeError(String);

/// More notes on one side do not fit a transaction.
pub const MAX_NOTES: usize = 300;

/// What every measured output is worth: the smallest that wallets ask for.
pub const OUTPUT: Denomination = Denomination::MIN_MINTED;

impl Shape {
    /// The smallest denomination whose notes pay for the outputs and all fees. What is left over
    /// stays with the federation, which keeps transactions independent of each other.
    ///
    /// `None` if no denomination does.
    pub fn input_denomination(self, fees: Fees) -> Option<Denomination> {
        let output = OUTPUT.value()?;
        let cost = (output.0 + fees.fee(output).0) * self.outputs as u64;
        Denomination::minted().find(|denomination| {
            denomination.value().is_some_and(|value| {
                let worth = value.0.saturating_sub(fees.fee(value).0);
                worth.saturating_mul(self.inputs as u64) >= cost
            })
        })
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let error = || ShapeError(text.to_owned());
        let (inputs, outputs) = text.split_once('x').ok_or_else(error)?;
        let read = |part: &str| -> Result<usize, ShapeError> {
            let count = part.parse().map_err(|_| error())?;
            if (1..=MAX_NOTES).contains(&count) { Ok(count) } else { Err(error()) }
        };
        Ok(Self { inputs: read(inputs)?, outputs: read(outputs)? })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.inputs, self.outputs)
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Most outputs of one transaction that splits a note.
pub const FAN: usize = 250;

/// How many notes of `child` one note of `from` pays for, at most [`FAN`].
pub fn fan(from: Denomination, child: Denomination, fees: Fees) -> usize {
    let (Some(from), Some(child)) = (from.value(), child.value()) else { return 0 };
    let count = from.0.saturating_sub(fees.fee(from).0) / (child.0 + fees.fee(child).0);
    usize::try_from(count).unwrap_or(FAN).min(FAN)
}

/// The smallest denomination of which one note pays for [`FAN`] notes of `child`; `None` if none does.
pub fn parent(child: Denomination, fees: Fees) -> Option<Denomination> {
    Denomination::minted().find(|from| fan(*from, child, fees) == FAN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn shapes_are_read_as_written() {
        let shape: Shape = "20x5".parse().unwrap();
        assert_eq!(shape, Shape { inputs: 20, outputs: 5 });
        assert_eq!(shape.to_string(), "20x5");
        for wrong in ["", "5", "0x5", "5x0", "5x301", "x", "5x5x5", "-1x2"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn inputs_pay_for_outputs_and_all_fees_and_the_next_smaller_would_not() {
        for text in ["1x1", "5x5", "20x20", "1x20", "20x1"] {
            let shape: Shape = text.parse().unwrap();
            let denomination = shape.input_denomination(Fees::DEFAULT).unwrap();
            let cost = 612 * shape.outputs as u64;
            let paid = |exponent: u8| ((1_u64 << exponent) - 100) * shape.inputs as u64;
            assert!(paid(denomination.0) >= cost, "{text}");
            assert!(denomination == OUTPUT || paid(denomination.0 - 1) < cost, "{text}");
        }
    }

    #[test]
    fn a_parent_pays_for_a_whole_fan() {
        assert_eq!(parent(Denomination(10), Fees::DEFAULT), Some(Denomination(19)));
        assert_eq!(parent(Denomination(41), Fees::DEFAULT), None);
        assert_eq!(fan(Denomination(18), Denomination(10), Fees::DEFAULT), 233);
        assert_eq!(fan(Denomination(10), Denomination(10), Fees::DEFAULT), 0);
    }
}
