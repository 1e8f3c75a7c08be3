//! The merkle tree over a session's items.
//!
//! Bitcoin's shape with single hashing: levels are paired, the last node of an odd level is paired
//! with itself, a node is `sha256(left || right)`. One leaf is its own root, no leaf gives 32 zero
//! bytes. Since the last node is doubled, an odd list and the same list with its last item
//! repeated share a root: a root proves no item count.
//!
//! Source: docs/protocol/core.md, section 4.2.

use bitcoin::hashes::{Hash, sha256};

/// A tree that grows leaf by leaf and knows its root at any time. It keeps one node per level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MerkleTree {
    /// `complete[level]` is the root of the last complete subtree of `2^level` leaves; it counts
    /// only where that bit of `leaf_count` is set.
    complete: Vec<[u8; 32]>,
    leaf_count: u64,
}

impl MerkleTree {
    /// Starts without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves were added.
    pub fn leaf_count(&self) -> u64 {
        self.leaf_count
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: [u8; 32]) {
        let mut node = leaf;
        let mut level = 0;
        while (self.leaf_count >> level) & 1 == 1 {
            node = parent(&self.complete[level], &node);
            level += 1;
        }
        match self.complete.get_mut(level) {
            Some(slot) => *slot = node,
            None => self.complete.push(node),
        }
        self.leaf_count += 1;
    }

    /// Returns the root over all leaves so far.
    pub fn root(&self) -> [u8; 32] {
        if self.leaf_count == 0 {
            return [0; 32];
        }
        // Walk up from the last, smallest complete subtree. Where it has no left neighbour to
        // pair with it stands last on an odd level and is paired with itself.
        let mut level = self.leaf_count.trailing_zeros() as usize;
        let mut node = self.complete[level];
        let mut width = self.leaf_count >> level;
        while width > 1 {
            node = match width & 1 {
                1 => parent(&node, &node),
                _ => parent(&self.complete[level], &node),
            };
            width = width.div_ceil(2);
            level += 1;
        }
        node
    }
}

impl Extend<[u8; 32]> for MerkleTree {
    fn extend<I: IntoIterator<Item = [u8; 32]>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

/// Returns the root over `leaves`.
pub fn merkle_root(leaves: impl IntoIterator<Item = [u8; 32]>) -> [u8; 32] {
    let mut tree = MerkleTree::new();
    tree.extend(leaves);
    tree.root()
}

fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    sha256::Hash::hash(&both).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_levels(leaves: &[[u8; 32]]) -> [u8; 32] {
        let mut level = leaves.to_vec();
        while level.len() > 1 {
            level = level.chunks(2).map(|pair| parent(&pair[0], &pair[pair.len() - 1])).collect();
        }
        level.first().copied().unwrap_or_default()
    }

    #[test]
    fn growing_tree_agrees_with_pairing_level_by_level() {
        let leaves: Vec<[u8; 32]> = (0..=200).map(|n| [n; 32]).collect();
        let mut tree = MerkleTree::new();
        for count in 0..leaves.len() {
            assert_eq!(tree.root(), by_levels(&leaves[..count]), "{count} leaves");
            tree.push(leaves[count]);
        }
    }

    #[test]
    fn odd_list_shares_its_root_with_the_last_item_repeated() {
        let three = [[1; 32], [2; 32], [3; 32]];
        let four = [[1; 32], [2; 32], [3; 32], [3; 32]];
        assert_eq!(merkle_root(three), merkle_root(four));
    }
}
