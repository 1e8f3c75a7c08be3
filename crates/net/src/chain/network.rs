//! Which network a chain belongs to.

use bitcoin::{BlockHash, Network, constants::genesis_block};
use moneta_core::ChainId;

/// Block 1 of the chains everybody knows.
///
/// Source: docs/protocol/wallet.md, section 3.1.
const KNOWN: [(Network, &str); 4] = [
    (Network::Bitcoin, "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048"),
    (Network::Testnet, "00000000b873e79784647a6c82962c70d228557d24a747ea4d1b8bbe878e1206"),
    (Network::Signet, "00000086d6b2636cb2a392d45edc4ec544a10024d30141c9adf4bfd9de533b53"),
    // Mutinynet, a signet with blocks every 30 s.
    (Network::Signet, "000002855893a0a9b24eaffc5efc770558a326fee4fc10c9da22fc19cd2954f9"),
];

/// Tells the network by its genesis block. Every signet has the same one.
pub fn network_of_genesis(genesis: &BlockHash) -> Option<Network> {
    let networks =
        [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];
    networks.into_iter().find(|network| genesis_block(*network).block_hash() == *genesis)
}

/// Tells the network by the chain id, for the chains in the table of the protocol page; `None` for
/// testnet4, custom signets, regtest and strangers.
pub fn network_of_chain(chain: &ChainId) -> Option<Network> {
    let name = chain.0.to_string();
    KNOWN.iter().find(|(_, known)| *known == name).map(|(network, _)| *network)
}

/// Whether a chain can be the one of `network`, as far as the chain id alone can tell.
///
/// A chain in the table belongs to its network only. Any other can be a testnet4, a custom signet or a
/// regtest, but never mainnet or testnet3.
pub fn is_chain_of(chain: &ChainId, network: Network) -> bool {
    match network_of_chain(chain) {
        Some(known) => known == network,
        None => !matches!(network, Network::Bitcoin | Network::Testnet),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn known_chains_belong_to_their_network_only() {
        for (network, hash) in KNOWN {
            let chain = ChainId(hash.parse().unwrap());
            assert_eq!(network_of_chain(&chain), Some(network));
            assert!(is_chain_of(&chain, network));
            assert!(!is_chain_of(&chain, Network::Regtest));
        }
    }

    #[test]
    fn unknown_chain_is_never_mainnet() {
        let chain = ChainId(BlockHash::from_byte_array([7; 32]));
        assert_eq!(network_of_chain(&chain), None);
        assert!(is_chain_of(&chain, Network::Regtest));
        assert!(is_chain_of(&chain, Network::Testnet4));
        assert!(!is_chain_of(&chain, Network::Bitcoin));
        assert!(!is_chain_of(&chain, Network::Testnet));
    }

    #[test]
    fn testnet4_is_told_by_its_genesis() {
        let genesis = "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043";
        assert_eq!(network_of_genesis(&genesis.parse().unwrap()), Some(Network::Testnet4));
        assert_eq!(network_of_genesis(&BlockHash::from_byte_array([7; 32])), None);
    }
}
