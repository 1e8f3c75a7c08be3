//! One node of the derivation tree.

use std::fmt;
use std::sync::LazyLock;

use bitcoin::secp256k1::{All, Keypair, Secp256k1, SecretKey};
use hmac::{Hmac, Mac};
use sha2::Sha512;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::scalar::Scalar;

/// Level of a root.
pub const ROOT_LEVEL: u64 = 0;

/// Length of an HMAC-SHA512 output, thus of a node.
const PRK_LEN: usize = 64;

/// HKDF counts its output blocks in one byte.
const EXPAND_MAX: usize = 255 * PRK_LEN;

const TAG_CHILD: &[u8; 8] = b"childkey";
const TAG_SECP256K1: &[u8; 8] = b"secp256k";
const TAG_BLS12_381: &[u8; 8] = b"bls12381";
const TAG_CHACHA20_POLY1305: &[u8; 8] = b"c20p1305";
const TAG_RAW_BYTES: &[u8; 8] = b"rawbytes";

/// Setting up a context costs more than a derivation.
static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// A secret from which further secrets derive: 64 bytes used as HKDF-SHA-512 key.
///
/// Wiped on drop, redacted in `Debug`, compared in constant time. The level counts the steps since
/// the root; it is written next to the secret, but no derivation depends on it, and equality
/// ignores it.
/// Source: docs/protocol/core.md, section 9.4.
#[derive(Clone)]
pub struct DerivableSecret {
    level: u64,
    prk: Zeroizing<[u8; PRK_LEN]>,
}

impl DerivableSecret {
    /// A root: HKDF-extract of key material of any length.
    pub fn root(key_material: &[u8], salt: &[u8]) -> Self {
        Self { level: ROOT_LEVEL, prk: hmac_sha512(salt, &[key_material]) }
    }

    /// A node read back from its written form (level and 64 bytes).
    pub fn from_parts(level: u64, prk: [u8; PRK_LEN]) -> Self {
        Self { level, prk: Zeroizing::new(prk) }
    }

    /// Steps since the root; a federation node counts as a root.
    pub fn level(&self) -> u64 {
        self.level
    }

    /// The 64 secret bytes, for writing the node down.
    pub fn expose_prk(&self) -> &[u8; PRK_LEN] {
        &self.prk
    }

    /// The child with the given index.
    pub fn child(&self, index: u64) -> Self {
        self.step(&tag(TAG_CHILD, index))
    }

    /// The child of this node for arbitrary bytes, such as the random tweak of a note.
    pub fn tweak(&self, bytes: &[u8]) -> Self {
        self.step(bytes)
    }

    /// The node of a federation. Only the first eight bytes of the id take part; the level starts
    /// again at zero.
    pub fn federation(&self, federation_id: &[u8; 32]) -> Self {
        let mut info = [0; 16];
        info[..8].copy_from_slice(&federation_id[..8]);
        Self { level: ROOT_LEVEL, ..self.step(&info) }
    }

    /// The secp256k1 key pair of this node.
    pub fn secp_keypair(&self) -> Keypair {
        // A candidate is no valid key with probability 2^-128, so the loop ends at once.
        let mut attempt = 0;
        loop {
            let candidate = self.expand::<32>(&tag(TAG_SECP256K1, attempt));
            if let Ok(secret) = SecretKey::from_slice(candidate.as_ref()) {
                return Keypair::from_secret_key(&SECP, &secret);
            }
            attempt += 1;
        }
    }

    /// The BLS12-381 scalar of this node.
    pub fn bls_scalar(&self) -> Scalar {
        Scalar::from_wide(&self.expand::<64>(&tag(TAG_BLS12_381, 0)))
    }

    /// The ChaCha20-Poly1305 key of this node.
    pub fn chacha_key(&self) -> Zeroizing<[u8; 32]> {
        self.expand(&tag(TAG_CHACHA20_POLY1305, 0))
    }

    /// `N` random-looking bytes of this node; a shorter result is a prefix of a longer one.
    pub fn raw<const N: usize>(&self) -> Zeroizing<[u8; N]> {
        self.expand(&tag(TAG_RAW_BYTES, 0))
    }

    /// One block of HKDF-expand as a new node.
    fn step(&self, info: &[u8]) -> Self {
        Self { level: self.level.saturating_add(1), prk: hmac_sha512(&*self.prk, &[info, &[1]]) }
    }

    /// HKDF-expand.
    fn expand<const N: usize>(&self, info: &[u8]) -> Zeroizing<[u8; N]> {
        const { assert!(N <= EXPAND_MAX, "HKDF cannot expand to this length") };
        let mut out = Zeroizing::new([0; N]);
        let mut previous = Zeroizing::new([0; PRK_LEN]);
        for (number, chunk) in (1..=u8::MAX).zip(out.chunks_mut(PRK_LEN)) {
            let chained: &[u8] = if number == 1 { &[] } else { &*previous };
            let block = hmac_sha512(&*self.prk, &[chained, info, &[number]]);
            chunk.copy_from_slice(&block[..chunk.len()]);
            previous = block;
        }
        out
    }
}

impl ConstantTimeEq for DerivableSecret {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.prk.as_slice().ct_eq(other.prk.as_slice())
    }
}

impl PartialEq for DerivableSecret {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for DerivableSecret {}

impl fmt::Debug for DerivableSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DerivableSecret(level {}, redacted)", self.level)
    }
}

/// An eight-byte tag followed by a big-endian number.
fn tag(name: &[u8; 8], number: u64) -> [u8; 16] {
    let mut info = [0; 16];
    info[..8].copy_from_slice(name);
    info[8..].copy_from_slice(&number.to_be_bytes());
    info
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; PRK_LEN]> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let secret = DerivableSecret::root(b"seed", b"salt").child(3);
        assert_eq!(format!("{secret:?}"), "DerivableSecret(level 1, redacted)");
    }

    #[test]
    fn expansion_beyond_one_block_continues_the_shorter_one() {
        let secret = DerivableSecret::root(b"seed", b"salt");
        let long = secret.raw::<150>();
        assert_eq!(long[..64], *secret.raw::<64>());
        assert_ne!(long[64..128], long[..64]);
        assert_eq!(long[..8], *secret.raw::<8>());
    }

    #[test]
    fn only_the_first_eight_bytes_of_a_federation_id_count() {
        let secret = DerivableSecret::root(b"seed", b"salt");
        let mut id = [1; 32];
        let node = secret.federation(&id);
        id[8] = 9;
        assert_eq!(node, secret.federation(&id));
        id[7] = 9;
        assert_ne!(node, secret.federation(&id));
    }
}
