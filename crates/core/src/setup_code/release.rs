//! Release versions as setup codes carry them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::{Decode, DecodeError, Encode};

/// A release: `major.minor.patch`, and `+vendor` for a vendor's build.
///
/// Encoding and JSON: the string. A pre-release part is dropped when reading, so bytes that were
/// decoded may encode differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseVersion {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Patch level. Does not matter for compatibility.
    pub patch: u64,
    /// Build metadata without the plus sign.
    pub vendor: Option<String>,
}

/// The text is no semantic version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a semantic version")]
pub struct ReleaseVersionError;

impl ReleaseVersion {
    /// Returns what two guardians must have in common: major, minor and vendor, as text.
    pub fn compatibility(&self) -> String {
        let Self { major, minor, vendor, .. } = self;
        match vendor {
            Some(vendor) => format!("{major}.{minor}+{vendor}"),
            None => format!("{major}.{minor}"),
        }
    }
}

impl fmt::Display for ReleaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        self.vendor.as_ref().map_or(Ok(()), |vendor| write!(f, "+{vendor}"))
    }
}

impl FromStr for ReleaseVersion {
    type Err = ReleaseVersionError;

    fn from_str(text: &str) -> Result<Self, ReleaseVersionError> {
        let (rest, vendor) = split_part(text, '+')?;
        let (numbers, _pre_release) = split_part(rest, '-')?;
        let mut numbers = numbers.split('.').map(parse_number);
        let mut next = || numbers.next().unwrap_or(Err(ReleaseVersionError));
        let version = Self { major: next()?, minor: next()?, patch: next()?, vendor };
        match numbers.next() {
            None => Ok(version),
            Some(_) => Err(ReleaseVersionError),
        }
    }
}

/// Splits at the first `mark`; what follows are identifiers of letters, digits and hyphens,
/// separated by dots.
fn split_part(text: &str, mark: char) -> Result<(&str, Option<String>), ReleaseVersionError> {
    let Some((before, part)) = text.split_once(mark) else { return Ok((text, None)) };
    let is_identifier = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match part.split('.').all(is_identifier) {
        true => Ok((before, Some(part.to_owned()))),
        false => Err(ReleaseVersionError),
    }
}

fn parse_number(digits: &str) -> Result<u64, ReleaseVersionError> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if !plain || leading_zero {
        return Err(ReleaseVersionError);
    }
    digits.parse().map_err(|_| ReleaseVersionError)
}

impl TryFrom<String> for ReleaseVersion {
    type Error = ReleaseVersionError;

    fn try_from(text: String) -> Result<Self, ReleaseVersionError> {
        text.parse()
    }
}

impl From<ReleaseVersion> for String {
    fn from(version: ReleaseVersion) -> Self {
        version.to_string()
    }
}

impl Encode for ReleaseVersion {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_string().encode(out);
    }
}

impl Decode for ReleaseVersion {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        String::decode(input)?.parse().map_err(|_| DecodeError::Invalid("release version"))
    }
}
