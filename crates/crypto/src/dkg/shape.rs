//! How many guardians, how many of them sign, how many keys.

/// Most guardians a ceremony takes. Each pair exchanges shares and each checks every dealing.
const GUARDIANS_MAX: usize = 100;

/// Most keys a ceremony makes. E-cash needs 42.
const KEYS_MAX: usize = 256;

/// The fixed numbers of a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    guardians: usize,
    threshold: usize,
    keys: usize,
}

/// Refused: the numbers of a ceremony make no sense or are above the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key generation of {keys} keys for {threshold} of {guardians} guardians")]
pub struct ShapeError {
    /// Guardians asked for.
    pub guardians: usize,
    /// Threshold asked for.
    pub threshold: usize,
    /// Keys asked for.
    pub keys: usize,
}

impl Shape {
    /// Guardians are numbered from 0 to `guardians - 1`; any `threshold` of them can sign.
    ///
    /// Errors: unless 1 <= threshold <= guardians <= 100 and 1 <= keys <= 256.
    pub fn new(guardians: usize, threshold: usize, keys: usize) -> Result<Self, ShapeError> {
        let valid = (1..=GUARDIANS_MAX).contains(&guardians)
            && (1..=guardians).contains(&threshold)
            && (1..=KEYS_MAX).contains(&keys);
        if valid {
            Ok(Self { guardians, threshold, keys })
        } else {
            Err(ShapeError { guardians, threshold, keys })
        }
    }

    /// Number of guardians.
    pub fn guardians(&self) -> usize {
        self.guardians
    }

    /// Guardians needed to sign; also the coefficients of a polynomial.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Keys made in one ceremony; also the polynomials of a dealer.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Whether a guardian with this index exists.
    pub fn contains(&self, peer: u64) -> bool {
        peer < self.guardians as u64
    }

    pub(super) fn peers(&self) -> std::ops::Range<u64> {
        0..self.guardians as u64
    }

    /// The numbers as bytes, for hashing.
    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (slot, number) in
            bytes.chunks_exact_mut(8).zip([self.guardians, self.threshold, self.keys])
        {
            slot.copy_from_slice(&(number as u64).to_be_bytes());
        }
        bytes
    }
}
