//! Amounts as people type and read them.

use std::str::FromStr;

use bitcoin::Amount;
use moneta_core::amount::Msat;

/// Most digits of a typed amount: far above all bitcoin there will ever be.
const MAX_DIGITS: usize = 19;

/// An amount of money on the command line: `2500`, `2500sat` or `2500000msat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedAmount(pub Msat);

/// What to withdraw: an amount in sat, or `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithdrawAmount {
    /// As much as the wallet can pay for.
    All,
    /// So much.
    Exactly(Amount),
}

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Something else than digits and a unit.
    #[error("write a whole number of sat, such as 2500, or of msat, such as 2500000msat")]
    Malformed,
    /// Nothing.
    #[error("the amount must be more than nothing")]
    Zero,
    /// More than there is.
    #[error("the amount is larger than all bitcoin there is")]
    TooLarge,
    /// A fraction of a satoshi where the chain takes none.
    #[error("bitcoin transactions take whole satoshis; write a whole number of sat, or all")]
    Fraction,
}

impl FromStr for TypedAmount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let text = text.trim();
        let (number, msat_each) = match (text.strip_suffix("msat"), text.strip_suffix("sat")) {
            (Some(number), _) => (number, 1),
            (None, Some(number)) => (number, 1000),
            (None, None) => (text, 1000),
        };
        let digits: String = number.chars().filter(|c| !matches!(c, ' ' | '_')).collect();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::Malformed);
        }
        if digits.len() > MAX_DIGITS {
            return Err(AmountError::TooLarge);
        }
        let number: u64 = digits.parse().map_err(|_| AmountError::TooLarge)?;
        let amount = Msat(number).checked_mul(msat_each).ok_or(AmountError::TooLarge)?;
        if amount == Msat::ZERO {
            return Err(AmountError::Zero);
        }
        if amount.floor_to_sat() > Amount::MAX_MONEY {
            return Err(AmountError::TooLarge);
        }
        Ok(Self(amount))
    }
}

impl FromStr for WithdrawAmount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(Self::All);
        }
        let TypedAmount(amount) = text.parse()?;
        amount.exact_sat().map(Self::Exactly).ok_or(AmountError::Fraction)
    }
}

/// `12 345 sat`, or `12 345.678 sat` if it is no whole number of satoshis.
pub fn readable(amount: Msat) -> String {
    let (sat, msat) = (amount.0 / 1000, amount.0 % 1000);
    match msat {
        0 => format!("{} sat", grouped(sat)),
        _ => format!("{}.{msat:03} sat", grouped(sat)),
    }
}

/// [`readable`] for an amount on the chain.
pub fn readable_sat(amount: Amount) -> String {
    format!("{} sat", grouped(amount.to_sat()))
}

/// [`readable`] with a sign, for balance sheets.
pub fn readable_signed(amount_msat: i64) -> String {
    let sign = if amount_msat < 0 { "-" } else { "" };
    format!("{sign}{}", readable(Msat(amount_msat.unsigned_abs())))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn typed_amounts_are_sat_unless_they_say_msat() {
        let typed = |text: &str| text.parse::<TypedAmount>().map(|amount| amount.0);
        assert_eq!(typed("2500"), Ok(Msat(2_500_000)));
        assert_eq!(typed("2500sat"), Ok(Msat(2_500_000)));
        assert_eq!(typed("12 345 sat"), Ok(Msat(12_345_000)));
        assert_eq!(typed("1_000"), Ok(Msat(1_000_000)));
        assert_eq!(typed("7msat"), Ok(Msat(7)));
    }

    #[test]
    fn texts_that_are_no_amounts_are_refused() {
        let typed = |text: &str| text.parse::<TypedAmount>().unwrap_err();
        for text in ["", "sat", "-1", "+1", "1.5", "0.1btc", "1e3", "\u{0661}"] {
            assert_eq!(typed(text), AmountError::Malformed, "{text}");
        }
        assert_eq!(typed("0"), AmountError::Zero);
        assert_eq!(typed("0msat"), AmountError::Zero);
        for text in ["2100000000000001", "99999999999999999999", "18446744073709551615"] {
            assert_eq!(typed(text), AmountError::TooLarge, "{text}");
        }
    }

    #[test]
    fn withdrawals_are_whole_satoshis_or_all() {
        let typed = |text: &str| text.parse::<WithdrawAmount>();
        assert_eq!(typed("ALL"), Ok(WithdrawAmount::All));
        assert_eq!(typed("1000"), Ok(WithdrawAmount::Exactly(Amount::from_sat(1000))));
        assert_eq!(typed("2000msat"), Ok(WithdrawAmount::Exactly(Amount::from_sat(2))));
        assert_eq!(typed("1500msat"), Err(AmountError::Fraction));
    }

    #[test]
    fn readable_amounts_are_grouped_and_show_msat_only_when_not_whole() {
        assert_eq!(readable(Msat(0)), "0 sat");
        assert_eq!(readable(Msat(999_000)), "999 sat");
        assert_eq!(readable(Msat(1_234_567_000)), "1 234 567 sat");
        assert_eq!(readable(Msat(12_345_006)), "12 345.006 sat");
        assert_eq!(readable_signed(-900_500), "-900.500 sat");
        assert_eq!(readable_sat(Amount::from_sat(21_000)), "21 000 sat");
    }
}
