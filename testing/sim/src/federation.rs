//! A federation of four with fixed keys, the same in every simulation: wallets' addresses and
//! tweaks can then be ground once and for all (see [`ADDRESS_INDICES`]).
//!
//! There are two of it, with the same keys. One has the denominations of real federations. The other
//! issues every eighth of them only, so that an amount takes a third of the notes: nearly all the
//! time of a simulation is curve arithmetic, so much for each note.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bitcoin::Network;
use bitcoin::secp256k1::{Keypair, PublicKey, Secp256k1, SecretKey};
use moneta_core::Msat;
use moneta_core::config::{ClientConfig, GlobalConfig, ModuleEntry, PeerUrl};
use moneta_core::envelope::ClientConfigEnvelope;
use moneta_core::version::CORE_CONSENSUS_2_1;
use moneta_core::{
    Decode as _, Encode as _, FederationId, FederationSize, ModuleInstanceId, PeerId,
};
use moneta_crypto::derive::FederationSecrets;
use moneta_crypto::dkg::{Shape, ThresholdKey, deal_trusted};
use moneta_guardian::engine::Engine;
use moneta_meta::MetaKind;
use moneta_meta::client::MetaClient;
use moneta_meta::server::MetaServer;
use moneta_mint::MintKind;
use moneta_mint::client::MintClient;
use moneta_mint::server::MintServer;
use moneta_mint::words::{Denomination, MintConfig, MintPrivate};
use moneta_module::client::Env;
use moneta_module::erased::{AnyClient, AnyServer, erase_client, erase_server};
use moneta_module::setup::{Contribution, Seat, ServerKind, SetupParams, TbsKeys};
use moneta_wallet::WalletKind;
use moneta_wallet::client::WalletClient;
use moneta_wallet::server::WalletServer;
use moneta_wallet::words::WalletConfig;

/// The instance of agreed metadata.
pub const META: ModuleInstanceId = ModuleInstanceId::new(2);
/// The instance of e-cash.
pub const MINT: ModuleInstanceId = ModuleInstanceId::new(4);
/// The instance of on-chain bitcoin.
pub const WALLET: ModuleInstanceId = ModuleInstanceId::new(6);

/// How many guardians there are.
pub const GUARDIANS: usize = 4;
/// How many wallets have constants below.
pub const WALLETS: usize = 3;

include!("ground.rs");

/// The exponents of the notes that a federation with few denominations issues.
const FEW: [u8; 5] = [12, 15, 18, 21, 24];

/// Which notes a federation issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notes {
    /// Each power of two, as real ones do.
    All,
    /// Few.
    Few,
}

/// Keys and configurations.
pub struct Federation {
    /// How many guardians.
    pub size: FederationSize,
    /// Its name.
    pub id: FederationId,
    /// What clients know.
    pub client_config: ClientConfig,
    /// What users' amounts are multiples of: the smallest note that wallets ask for.
    pub grain: Msat,
    /// The keys that sign sessions.
    pub broadcast_keys: BTreeMap<PeerId, PublicKey>,
    mint: MintConfig,
    wallet: WalletConfig,
    secrets: Vec<Secrets>,
    /// The name that wallets derive their secrets with, the same for both federations.
    wallets_of: FederationId,
}

/// What one guardian alone has.
#[derive(Clone)]
struct Secrets {
    broadcast: Keypair,
    mint: MintPrivate,
    wallet: SecretKey,
}

/// The federations of all simulations.
pub fn federation(notes: Notes) -> &'static Federation {
    static FEDERATIONS: OnceLock<[Federation; 2]> = OnceLock::new();
    let [all, few] = FEDERATIONS.get_or_init(Dealt::federations);
    match notes {
        Notes::All => all,
        Notes::Few => few,
    }
}

/// What the guardians dealt each other.
struct Dealt {
    size: FederationSize,
    broadcast_keys: BTreeMap<PeerId, PublicKey>,
    configs: BTreeMap<ModuleInstanceId, Vec<u8>>,
    secrets: Vec<Secrets>,
}

impl Dealt {
    fn federations() -> [Federation; 2] {
        let mut dealt = Self::deal();
        let all = dealt.found(None);
        let is_issued = |denomination: &Denomination| FEW.contains(&denomination.0);
        let mut mint = all.mint.clone();
        mint.tbs_agg_pks.retain(|denomination, _| is_issued(denomination));
        mint.tbs_pks.retain(|denomination, _| is_issued(denomination));
        dealt.configs.insert(MINT, mint.to_bytes());
        for secrets in &mut dealt.secrets {
            secrets.mint.tbs_sks.retain(|denomination, _| is_issued(denomination));
        }
        let few = dealt.found(Some(all.id));
        [all, few]
    }

    fn deal() -> Self {
        let size = FederationSize::new(GUARDIANS).expect("four guardians");
        let threshold = size.threshold();
        let shape = Shape::new(GUARDIANS, threshold, Denomination::COUNT).expect("a usual shape");
        let dealt = deal_trusted(shape, &[7; 32]);
        let secp = Secp256k1::new();
        let key = |kind: u8, peer: PeerId| {
            let mut bytes = [kind; 32];
            bytes[31] = peer.0 as u8 + 1;
            SecretKey::from_slice(&bytes).expect("far below the group order")
        };
        let broadcast = |peer| Keypair::from_secret_key(&secp, &key(1, peer));
        let broadcast_keys: BTreeMap<_, _> =
            size.peer_ids().map(|peer| (peer, broadcast(peer).public_key())).collect();
        let coin = |peer: PeerId| Contribution {
            public: key(2, peer).public_key(&secp).serialize().to_vec(),
            secret: key(2, peer).secret_bytes().to_vec(),
            tbs_keys: 0,
        };
        let coins: BTreeMap<_, _> = size.peer_ids().map(|peer| (peer, coin(peer).public)).collect();
        let nothing: BTreeMap<_, _> = size.peer_ids().map(|peer| (peer, Vec::new())).collect();
        let mut configs = BTreeMap::new();
        let mut secrets = Vec::new();
        for (me, keys) in size.peer_ids().zip(dealt) {
            let network = Network::Regtest;
            let params = SetupParams { size, me, network, disable_base_fees: false };
            let keys = keys.into_iter().map(tbs_keys).collect();
            let none = Contribution::default();
            let meta = MetaKind.genesis(&params, &none, &nothing, Vec::new());
            let mint = MintKind.genesis(&params, &none, &nothing, keys);
            let wallet = WalletKind::default().genesis(&params, &coin(me), &coins, Vec::new());
            let [meta, mint, wallet] = [meta, mint, wallet].map(|made| made.expect("good parts"));
            let mint_private = MintPrivate::from_bytes(&mint.private).expect("just encoded");
            configs.extend([(META, meta.config), (MINT, mint.config), (WALLET, wallet.config)]);
            secrets.push(Secrets {
                broadcast: broadcast(me),
                mint: mint_private,
                wallet: key(2, me),
            });
        }
        Self { size, broadcast_keys, configs, secrets }
    }

    /// The federation with these parts, whose wallets derive their secrets with `wallets_of`, or
    /// with its own name.
    fn found(&self, wallets_of: Option<FederationId>) -> Federation {
        let Self { size, broadcast_keys, configs, secrets } = self;
        let peer_url = |peer: PeerId| PeerUrl {
            url: format!("ws://127.0.0.1:{}/", 2000 + peer.0).parse().expect("a URL"),
            name: format!("guardian-{peer}"),
        };
        let global = GlobalConfig {
            api_endpoints: size.peer_ids().map(|peer| (peer, peer_url(peer))).collect(),
            broadcast_public_keys: Some(broadcast_keys.clone()),
            consensus_version: CORE_CONSENSUS_2_1,
            meta: BTreeMap::new(),
        };
        let kinds: [(ModuleInstanceId, &dyn ServerKind); 3] =
            [(META, &MetaKind), (MINT, &MintKind), (WALLET, &WalletKind::default())];
        let modules = kinds.map(|(instance, kind)| {
            let config = kind.client_config(&configs[&instance]).expect("just encoded");
            let config = ClientConfigEnvelope::from_raw(instance, config);
            let (kind, version) = (kind.kind(), kind.consensus_version());
            (instance, ModuleEntry { kind, version, config })
        });
        let client_config = ClientConfig { global, modules: modules.into() };
        let id = client_config.federation_id();
        let mint = MintConfig::from_bytes(&configs[&MINT]).expect("just encoded");
        let mut minted = Denomination::minted().filter(|denomination| mint.issues(*denomination));
        Federation {
            size: *size,
            id,
            client_config,
            grain: minted.find_map(Denomination::value).expect("some are issued"),
            broadcast_keys: broadcast_keys.clone(),
            mint,
            wallet: WalletConfig::from_bytes(&configs[&WALLET]).expect("just encoded"),
            secrets: secrets.clone(),
            wallets_of: wallets_of.unwrap_or(id),
        }
    }
}

impl Federation {
    /// What each note costs, spent or issued: new federations take nothing in proportion.
    pub(crate) fn note_fee(&self) -> Msat {
        self.mint.fee_consensus.fee(Msat::ZERO)
    }

    /// The notes that exist, smallest first.
    pub(crate) fn issued(&self) -> Vec<Denomination> {
        Denomination::minted().filter(|denomination| self.mint.issues(*denomination)).collect()
    }

    /// A guardian's engine, with empty caches.
    pub fn engine(&self, me: PeerId, block_vote_step: u64) -> Engine {
        let seat = Seat { me, size: self.size };
        let Secrets { mint, wallet, .. } = &self.secrets[me.index()];
        let wallet = WalletServer::new(seat, self.wallet.clone(), *wallet, block_vote_step);
        let modules: [(ModuleInstanceId, Box<dyn AnyServer>); 3] = [
            (META, erase_server(MetaServer::new(seat))),
            (MINT, erase_server(MintServer::new(self.mint.clone(), mint.clone()))),
            (WALLET, erase_server(wallet.expect("secrets fit their config"))),
        ];
        Engine::new(modules.into(), self.size, CORE_CONSENSUS_2_1)
    }

    /// What a guardian signs sessions with.
    pub fn broadcast_key(&self, peer: PeerId) -> &Keypair {
        &self.secrets[peer.index()].broadcast
    }

    /// The client halves of wallet number `wallet`.
    pub fn client_modules(&self, wallet: usize) -> BTreeMap<ModuleInstanceId, Box<dyn AnyClient>> {
        let mint = MintClient::new(self.env(wallet, MINT), self.mint.clone());
        let coins = WalletClient::new(self.env(wallet, WALLET), self.wallet.clone());
        let modules: [(ModuleInstanceId, Box<dyn AnyClient>); 3] = [
            (META, erase_client(MetaClient)),
            (MINT, erase_client(mint.expect("a good config"))),
            (WALLET, erase_client(coins.expect("a good config"))),
        ];
        modules.into()
    }

    fn env(&self, wallet: usize, instance: ModuleInstanceId) -> Env {
        let seed = [wallet as u8 + 1; 64];
        let secrets = FederationSecrets::from_seed(&seed, &self.wallets_of.0);
        let secret = secrets.module(instance.0);
        Env { instance, federation: self.id, size: self.size, secret }
    }
}

fn tbs_keys(key: ThresholdKey) -> TbsKeys {
    let shares = key.public_shares.into_iter();
    TbsKeys {
        secret_share: key.secret_share,
        public_shares: shares.map(|(peer, share)| (PeerId::new(peer as u16), share)).collect(),
        aggregate: key.aggregate,
    }
}

#[cfg(test)]
mod tests {
    use moneta_mint::client::NoteSecrets;
    use moneta_wallet::descriptor::{Descriptor, claim_tweak};

    use super::*;

    /// How many of each are found: more than a simulation uses.
    const ADDRESSES: usize = 5;
    const TWEAKS: usize = 900;

    fn is_valid(federation: &Federation, wallet: usize, index: u64) -> bool {
        let descriptor = Descriptor::new(&federation.wallet.bitcoin_pks).expect("four keys");
        let key = federation.env(wallet, WALLET).secret.child(index).secp_keypair();
        let script = descriptor.script_pubkey(&claim_tweak(&key.public_key()));
        descriptor.is_logged(&script.expect("an ordinary tweak"))
    }

    #[test]
    fn constants_fit_the_keys() {
        let federation = federation(Notes::Few);
        for wallet in 0..WALLETS {
            let secrets = NoteSecrets::new(federation.env(wallet, MINT).secret);
            for index in ADDRESS_INDICES[wallet] {
                assert!(is_valid(federation, wallet, *index));
            }
            for tweak in TWEAK_NUMBERS[wallet] {
                assert!(secrets.recognises(&u128::from(*tweak).to_be_bytes()));
            }
        }
    }

    #[test]
    #[ignore = "prints ADDRESS_INDICES of src/ground.rs anew, after keys were changed; takes minutes"]
    fn grind_addresses() {
        let federation = federation(Notes::All);
        for wallet in 0..WALLETS {
            let valid = (0..).filter(|index| is_valid(federation, wallet, *index));
            println!("    &{:?},", valid.take(ADDRESSES).collect::<Vec<u64>>());
        }
    }

    #[test]
    #[ignore = "prints TWEAK_NUMBERS of src/ground.rs anew, after keys were changed; takes a minute"]
    fn grind_tweaks() {
        let federation = federation(Notes::All);
        for wallet in 0..WALLETS {
            let secrets = NoteSecrets::new(federation.env(wallet, MINT).secret);
            let tweaks = secrets.grind(0, u32::MAX).map(u128::from_be_bytes);
            println!("    &{:?},", tweaks.take(TWEAKS).collect::<Vec<u128>>());
        }
    }
}
