//! Key generation between the guardians, as a state machine without I/O.
//!
//! Lockstep over stages. In each stage every guardian sends one message to every other (equal for
//! all but in `Shares`), and a stage begins here once everybody's message of the stage before has
//! come. Messages may be sent and received any number of times.
//!
//! ```text
//! Hello        hash of all setup codes            differs: who has entered other codes
//! Contribution broadcast key, module parts, hash of the dealing
//! Dealing      commitments to the polynomials     does not match its hash: the dealer
//! Echo         hashes of what everybody said      differs: who told two stories
//! Shares       one secret share each, in private
//! Complaints   whose share does not verify
//! Answers      the disputed shares, in public     judged by all alike: dealer or accuser
//! Finished     hash of the configuration          differs: whose
//! ```
//!
//! Point of no return. Who has sent `Finished` may be counted on by guardians that are done
//! already, so from then on nothing that a single guardian says makes this one give up: as many as
//! may be faulty can have another configuration, and one that keeps its last message to itself is
//! not waited for once enough others are done.
//!
//! Crash contract. Everything this guardian draws follows from `seed`, and the host stores each
//! received message before it hands it over again after a restart. So a restarted guardian sends
//! the same bytes, and a peer's second, different message for a stage is recognised as a lie.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Keypair, Message, PublicKey, Secp256k1, SecretKey};
use moneta_core::config::PeerUrl;
use moneta_core::setup_code::PeerEndpoints;
use moneta_core::version::CORE_CONSENSUS_2_1;
use moneta_core::{Decode, Encode, ModuleInstanceId, ModuleKind, PeerId};
use moneta_crypto::dkg::{
    self, Dealer, Dealing, DealingHash, DealtShares, Shape, ThresholdKey, Verdict,
};
use moneta_module::setup::{
    Contribution as ModulePart, GenesisError, ServerKind, SetupParams, TbsKeys,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::ceremony::Agreement;
use super::config::{
    ConsensusConfig, GuardianConfig, LinkEndpoint, LocalConfig, ModuleConfig, PrivateConfig,
    PrivateModule,
};
use super::message::{Answers, Complaints, Contribution, Echo, Finished, Hello};

/// A step of key generation, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Stage {
    /// Comparing setup codes.
    Hello,
    /// Public keys and commitments to dealings.
    Contribution,
    /// Dealings.
    Dealing,
    /// Comparing what was heard.
    Echo,
    /// Secret shares.
    Shares,
    /// Naming bad shares.
    Complaints,
    /// Answering complaints.
    Answers,
    /// Comparing configurations.
    Finished,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 8] = [
        Self::Hello,
        Self::Contribution,
        Self::Dealing,
        Self::Echo,
        Self::Shares,
        Self::Complaints,
        Self::Answers,
        Self::Finished,
    ];

    /// Position in the order, from 0.
    pub fn number(self) -> usize {
        self as usize
    }
}

/// The stages whose messages must be equal for all and are compared before secrets flow.
const PUBLIC_PARTS: [Stage; 2] = [Stage::Contribution, Stage::Dealing];

/// Where key generation stands.
#[derive(Debug)]
pub enum Progress {
    /// Messages of this stage are missing from these guardians.
    Waiting {
        /// The stage.
        stage: Stage,
        /// Who is awaited.
        missing: Vec<PeerId>,
    },
    /// Everybody has the same configuration.
    Done(Box<GuardianConfig>),
}

/// Why key generation failed. Setup has to be started anew, without whoever is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// Guardians entered different sets of setup codes.
    #[error("guardians {peers:?} have entered other setup codes than this one; compare them")]
    OtherCodes {
        /// Who.
        peers: Vec<PeerId>,
    },
    /// A guardian sent something malformed.
    #[error("guardian {peer} sent a malformed {stage:?} message: {reason}")]
    Malformed {
        /// Who.
        peer: PeerId,
        /// When.
        stage: Stage,
        /// What.
        reason: String,
    },
    /// A guardian sent two different messages for one stage.
    #[error("guardian {peer} sent two different {stage:?} messages")]
    TwoMessages {
        /// Who.
        peer: PeerId,
        /// When.
        stage: Stage,
    },
    /// A guardian revealed other commitments than it had fixed.
    #[error("guardian {peer} revealed another dealing than it had committed to")]
    BrokenCommitment {
        /// Who.
        peer: PeerId,
    },
    /// A guardian told different guardians different things.
    #[error("guardian {peer} told guardian {witness} something else than this guardian")]
    TwoStories {
        /// Who.
        peer: PeerId,
        /// Who heard the other story.
        witness: PeerId,
    },
    /// A guardian dealt a bad share and did not mend it.
    #[error("guardian {peer} dealt guardian {accuser} a share that does not verify")]
    BadShares {
        /// Who.
        peer: PeerId,
        /// Who received it.
        accuser: PeerId,
    },
    /// A guardian gave up, for its own reason.
    #[error("guardian {peer} gave up: {reason:?}")]
    GaveUp {
        /// Who.
        peer: PeerId,
        /// What it said; not to be trusted.
        reason: String,
    },
    /// Guardians arrived at different configurations.
    #[error("guardians {peers:?} arrived at another configuration than this one")]
    OtherConfig {
        /// Who.
        peers: Vec<PeerId>,
    },
    /// A module could not be set up.
    #[error("module {kind}: {reason}")]
    Module {
        /// Which.
        kind: ModuleKind,
        /// Why.
        reason: String,
    },
    /// Broken: the dealings do not give keys.
    #[error("key generation does not add up: {0}")]
    Keys(String),
}

/// Key generation of one guardian.
pub struct Keygen<'a> {
    agreement: Agreement,
    tls_key: Zeroizing<Vec<u8>>,
    kinds: Vec<&'a dyn ServerKind>,
    params: SetupParams,
    broadcast: Keypair,
    parts: Vec<ModulePart>,
    codes_hash: [u8; 32],
    shape: Option<Shape>,
    dealer: Option<Dealer>,
    /// Messages of others, and this guardian's own once their stage has come.
    board: BTreeMap<(Stage, PeerId), Vec<u8>>,
    /// How many stages are complete and checked; what they rest on cannot change any more.
    passed: usize,
    /// Who says that it has its configuration.
    done: BTreeSet<PeerId>,
    finished: Option<GuardianConfig>,
}

impl<'a> Keygen<'a> {
    /// Begins, or begins again after a restart with the same `seed` (32 secret random bytes).
    ///
    /// Errors: `Module` if a module asks for more keys than can be generated.
    pub fn new(
        agreement: Agreement,
        seed: &Zeroizing<[u8; 32]>,
        tls_key: Zeroizing<Vec<u8>>,
        kinds: &'a [Box<dyn ServerKind>],
    ) -> Result<Self, KeygenError> {
        let kinds: Vec<&dyn ServerKind> = agreement
            .modules
            .iter()
            .filter_map(|wanted| kinds.iter().find(|kind| kind.kind() == *wanted))
            .map(AsRef::as_ref)
            .collect();
        let params = SetupParams {
            size: agreement.size,
            me: agreement.me,
            network: agreement.network,
            disable_base_fees: agreement.disable_base_fees,
        };
        let codes: Vec<_> = agreement.codes.values().cloned().collect();
        let codes_hash = codes.consensus_hash().to_byte_array();
        let mut rng = StdRng::from_seed(*branch(seed, b"modules"));
        let parts: Vec<_> = kinds.iter().map(|kind| kind.contribute(&params, &mut rng)).collect();
        let broadcast = keypair(seed);
        let keys: usize = parts.iter().map(|part| part.tbs_keys).sum();
        let mut shape = None;
        let mut dealer = None;
        if keys > 0 {
            let size = agreement.size;
            let new = Shape::new(size.total(), size.threshold(), keys)
                .map_err(|error| KeygenError::Keys(error.to_string()))?;
            let me = number(agreement.me);
            dealer = Some(Dealer::from_seed(new, me, &codes_hash, &branch(seed, b"dealing")));
            shape = Some(new);
        }
        Ok(Self {
            agreement,
            tls_key,
            kinds,
            params,
            broadcast,
            parts,
            codes_hash,
            shape,
            dealer,
            board: BTreeMap::new(),
            passed: 0,
            done: BTreeSet::new(),
            finished: None,
        })
    }

    /// Takes a message of another guardian. The host stores it first.
    ///
    /// Errors: `TwoMessages`, before the point of no return; messages that repeat an earlier one
    /// are fine.
    pub fn receive(
        &mut self,
        from: PeerId,
        stage: Stage,
        bytes: Vec<u8>,
    ) -> Result<(), KeygenError> {
        if from == self.agreement.me || !self.agreement.size.contains(from) {
            return Ok(());
        }
        let known = self.board.entry((stage, from)).or_insert_with(|| bytes.clone());
        if *known == bytes || self.is_committed() {
            return Ok(());
        }
        Err(KeygenError::TwoMessages { peer: from, stage })
    }

    /// A guardian says that it has its configuration.
    pub fn receive_done(&mut self, from: PeerId) {
        if from != self.agreement.me && self.agreement.size.contains(from) {
            self.done.insert(from);
        }
    }

    /// Who says so.
    pub fn done_peers(&self) -> impl Iterator<Item = PeerId> {
        self.done.iter().copied()
    }

    /// A guardian says that it has given up.
    ///
    /// Errors: `GaveUp`, before the point of no return.
    pub fn receive_giving_up(&mut self, from: PeerId, reason: String) -> Result<(), KeygenError> {
        if self.is_committed() {
            return Ok(());
        }
        Err(KeygenError::GaveUp { peer: from, reason })
    }

    /// Whether others may count on this guardian: the point of no return, see the module text.
    pub fn is_committed(&self) -> bool {
        self.board.contains_key(&(Stage::Finished, self.agreement.me))
    }

    /// The guardians that arrived at another configuration, when there are few enough to go on.
    pub fn dissenters(&self) -> Vec<PeerId> {
        let own = self.message(Stage::Finished, self.agreement.me);
        let differs = |peer: &PeerId| {
            self.board.get(&(Stage::Finished, *peer)).is_some_and(|theirs| theirs != own)
        };
        self.agreement.size.peer_ids().filter(differs).collect()
    }

    /// Goes as far as the received messages allow.
    ///
    /// Errors: [`KeygenError`]; final.
    pub fn advance(&mut self) -> Result<Progress, KeygenError> {
        let me = self.agreement.me;
        for stage in Stage::ALL.into_iter().skip(self.passed) {
            if !self.board.contains_key(&(stage, me)) {
                let own = self.own_message(stage)?;
                self.board.insert((stage, me), own);
            }
            let missing: Vec<PeerId> = self
                .agreement
                .size
                .peer_ids()
                .filter(|peer| !self.board.contains_key(&(stage, *peer)))
                .collect();
            let may_go_on = stage == Stage::Finished && self.others_are_done();
            if !missing.is_empty() && !may_go_on {
                return Ok(Progress::Waiting { stage, missing });
            }
            self.check(stage)?;
            self.passed += 1;
        }
        let config = self.finished.clone();
        config
            .map(|config| Progress::Done(Box::new(config)))
            .ok_or_else(|| KeygenError::Keys("finished without a configuration".to_owned()))
    }

    /// What to send to `peer`, all stages so far; may be sent again and again.
    pub fn outgoing(&self, peer: PeerId) -> Vec<(Stage, Vec<u8>)> {
        let me = self.agreement.me;
        let mine = Stage::ALL.into_iter().filter_map(|stage| {
            let message = self.board.get(&(stage, me))?;
            let message = match stage {
                Stage::Shares => self.shares_for(peer),
                _ => message.clone(),
            };
            Some((stage, message))
        });
        mine.collect()
    }

    fn shares_for(&self, peer: PeerId) -> Vec<u8> {
        let shares = self.dealer.as_ref().and_then(|dealer| dealer.shares_for(number(peer)));
        shares.map(|shares| shares.to_bytes().to_vec()).unwrap_or_default()
    }

    fn own_message(&mut self, stage: Stage) -> Result<Vec<u8>, KeygenError> {
        let me = self.agreement.me;
        Ok(match stage {
            Stage::Hello => Hello { codes: self.codes_hash }.to_bytes(),
            Stage::Contribution => Contribution {
                broadcast_key: self.broadcast.public_key(),
                proof: Secp256k1::signing_only()
                    .sign_schnorr_no_aux_rand(&self.proof_message(me), &self.broadcast),
                modules: self.parts.iter().map(|part| part.public.clone()).collect(),
                dealing: self
                    .dealer
                    .as_ref()
                    .map(|dealer| dealer.dealing().hash(number(me), &self.codes_hash).0)
                    .unwrap_or_default(),
            }
            .to_bytes(),
            Stage::Dealing => {
                self.dealer.as_ref().map(|dealer| dealer.dealing().to_bytes()).unwrap_or_default()
            }
            Stage::Echo => Echo { heard: self.heard(&PUBLIC_PARTS) }.to_bytes(),
            Stage::Shares => self.shares_for(me),
            Stage::Complaints => Complaints { dealers: self.bad_dealers()? }.to_bytes(),
            Stage::Answers => {
                let accusers: Vec<PeerId> = self
                    .all::<Complaints>(Stage::Complaints)?
                    .into_iter()
                    .filter(|(_, complaints)| complaints.dealers.contains(&me))
                    .map(|(accuser, _)| accuser)
                    .collect();
                let answer = |accuser| (accuser, self.shares_for(accuser));
                let shares = accusers.into_iter().map(answer).collect();
                Answers { heard: self.heard(&[Stage::Complaints]), shares }.to_bytes()
            }
            Stage::Finished => {
                let config = self.finish()?;
                let hash = config.consensus.hash().to_byte_array();
                self.finished = Some(config);
                Finished { config: hash }.to_bytes()
            }
        })
    }

    /// Checks a complete stage.
    fn check(&self, stage: Stage) -> Result<(), KeygenError> {
        match stage {
            Stage::Hello => {
                let all = self.all::<Hello>(stage)?;
                let peers = differing(all, |hello| hello.codes == self.codes_hash);
                if peers.is_empty() { Ok(()) } else { Err(KeygenError::OtherCodes { peers }) }
            }
            Stage::Contribution => {
                let secp = Secp256k1::verification_only();
                for (peer, part) in self.all::<Contribution>(stage)? {
                    let key = part.broadcast_key.x_only_public_key().0;
                    if secp.verify_schnorr(&part.proof, &self.proof_message(peer), &key).is_err() {
                        return Err(malformed(peer, stage, "the broadcast key is not its own"));
                    }
                    if part.modules.len() != self.kinds.len() {
                        return Err(malformed(peer, stage, "wrong number of modules"));
                    }
                }
                Ok(())
            }
            Stage::Dealing => self.dealings().map(|_| ()),
            Stage::Echo => {
                let echoes = self.all::<Echo>(stage)?.into_iter();
                self.compare(&PUBLIC_PARTS, echoes.map(|(peer, echo)| (peer, echo.heard)))
            }
            Stage::Complaints => self.all::<Complaints>(stage).map(|_| ()),
            Stage::Shares => Ok(()),
            Stage::Answers => {
                let answers = self.all::<Answers>(stage)?.into_iter();
                let heard = answers.map(|(peer, answers)| (peer, answers.heard));
                self.compare(&[Stage::Complaints], heard)?;
                self.settled_shares().map(|_| ())
            }
            Stage::Finished => {
                let peers = self.dissenters();
                let few = peers.len() <= self.agreement.size.max_faulty();
                if few { Ok(()) } else { Err(KeygenError::OtherConfig { peers }) }
            }
        }
    }

    /// Everybody's message of a complete stage.
    fn all<T: Decode>(&self, stage: Stage) -> Result<Vec<(PeerId, T)>, KeygenError> {
        let decode = |peer: PeerId| {
            let bytes = self.message(stage, peer);
            let value = T::from_bytes(bytes);
            value.map(|value| (peer, value)).map_err(|error| malformed(peer, stage, error))
        };
        self.agreement.size.peer_ids().map(decode).collect()
    }

    fn message(&self, stage: Stage, peer: PeerId) -> &[u8] {
        self.board.get(&(stage, peer)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Hash of what every guardian said in these stages.
    fn heard(&self, stages: &[Stage]) -> BTreeMap<PeerId, [u8; 32]> {
        let hash = |peer| {
            let said: Vec<Vec<u8>> =
                stages.iter().map(|stage| self.message(*stage, peer).to_vec()).collect();
            (peer, sha256::Hash::hash(&said.to_bytes()).to_byte_array())
        };
        self.agreement.size.peer_ids().map(hash).collect()
    }

    /// Compares what others heard in these stages with what was heard here.
    fn compare(
        &self,
        stages: &[Stage],
        echoes: impl Iterator<Item = (PeerId, BTreeMap<PeerId, [u8; 32]>)>,
    ) -> Result<(), KeygenError> {
        let heard = self.heard(stages);
        for (witness, echo) in echoes {
            for (peer, hash) in &heard {
                if echo.get(peer) != Some(hash) {
                    return Err(KeygenError::TwoStories { peer: *peer, witness });
                }
            }
        }
        Ok(())
    }

    /// Whether an honest guardian is done for sure, and enough have this guardian's configuration:
    /// who has not sent its last message is not waited for then.
    fn others_are_done(&self) -> bool {
        let size = self.agreement.size;
        let own = self.board.get(&(Stage::Finished, self.agreement.me));
        let same = size.peer_ids().filter(|peer| self.board.get(&(Stage::Finished, *peer)) == own);
        self.done.len() >= size.one_honest() && same.count() >= size.threshold()
    }

    /// What a guardian signs with its broadcast key.
    fn proof_message(&self, peer: PeerId) -> Message {
        let mut bytes = b"moneta-setup/broadcast-key".to_vec();
        bytes.extend_from_slice(&self.codes_hash);
        peer.encode(&mut bytes);
        Message::from_digest(sha256::Hash::hash(&bytes).to_byte_array())
    }

    /// All dealings, checked against the hashes that were published before.
    fn dealings(&self) -> Result<BTreeMap<PeerId, Dealing>, KeygenError> {
        let Some(shape) = self.shape else { return Ok(BTreeMap::new()) };
        let mut dealings = BTreeMap::new();
        for (peer, contribution) in self.all::<Contribution>(Stage::Contribution)? {
            let dealing = Dealing::from_bytes(shape, self.message(Stage::Dealing, peer))
                .map_err(|error| malformed(peer, Stage::Dealing, error))?;
            let published = DealingHash(contribution.dealing);
            if !dealing.matches(number(peer), &self.codes_hash, &published) {
                return Err(KeygenError::BrokenCommitment { peer });
            }
            dealings.insert(peer, dealing);
        }
        Ok(dealings)
    }

    /// The dealers whose share for this guardian is malformed or does not verify.
    fn bad_dealers(&self) -> Result<BTreeSet<PeerId>, KeygenError> {
        let Some(shape) = self.shape else { return Ok(BTreeSet::new()) };
        let me = number(self.agreement.me);
        let mut bad = BTreeSet::new();
        for (peer, dealing) in self.dealings()? {
            let shares = DealtShares::from_bytes(shape, self.message(Stage::Shares, peer));
            let good = shares.is_ok_and(|shares| dealing.verify_shares(me, &shares).is_ok());
            if !good {
                bad.insert(peer);
            }
        }
        Ok(bad)
    }

    /// The shares dealt to this guardian, disputed ones replaced by what the dealer revealed.
    ///
    /// Errors: `BadShares` for the first complaint that the dealer could not answer.
    fn settled_shares(&self) -> Result<BTreeMap<u64, (Dealing, DealtShares)>, KeygenError> {
        let Some(shape) = self.shape else { return Ok(BTreeMap::new()) };
        let dealings = self.dealings()?;
        let answers: BTreeMap<PeerId, Answers> =
            self.all::<Answers>(Stage::Answers)?.into_iter().collect();
        let mut mended = BTreeMap::new();
        for (accuser, complaints) in self.all::<Complaints>(Stage::Complaints)? {
            for dealer in complaints.dealers {
                let unanswered = KeygenError::BadShares { peer: dealer, accuser };
                let Some(dealing) = dealings.get(&dealer) else {
                    return Err(malformed(accuser, Stage::Complaints, "no such guardian"));
                };
                let revealed =
                    answers.get(&dealer).and_then(|answers| answers.shares.get(&accuser));
                let revealed = revealed.map(Vec::as_slice).unwrap_or_default();
                match dealing.judge(number(accuser), revealed) {
                    Ok(Verdict::Answered(shares)) => {
                        if accuser == self.agreement.me {
                            mended.insert(dealer, shares);
                        }
                    }
                    Ok(_) => return Err(unanswered),
                    Err(error) => return Err(malformed(accuser, Stage::Complaints, error)),
                }
            }
        }
        let mut settled = BTreeMap::new();
        for (peer, dealing) in dealings {
            let shares = match mended.remove(&peer) {
                Some(shares) => shares,
                None => DealtShares::from_bytes(shape, self.message(Stage::Shares, peer))
                    .map_err(|error| malformed(peer, Stage::Shares, error))?,
            };
            settled.insert(number(peer), (dealing, shares));
        }
        Ok(settled)
    }

    fn finish(&self) -> Result<GuardianConfig, KeygenError> {
        let mut keys = match self.shape {
            Some(shape) => {
                let dealt = self.settled_shares()?;
                dkg::finish(shape, number(self.agreement.me), &dealt)
                    .map_err(|error| KeygenError::Keys(error.to_string()))?
            }
            None => Vec::new(),
        }
        .into_iter();
        let contributions: BTreeMap<PeerId, Contribution> =
            self.all::<Contribution>(Stage::Contribution)?.into_iter().collect();
        let mut modules = BTreeMap::new();
        let mut private = BTreeMap::new();
        for (index, (kind, part)) in self.kinds.iter().zip(&self.parts).enumerate() {
            let instance = ModuleInstanceId::new(index as u16);
            let of_module = keys.by_ref().take(part.tbs_keys).map(tbs_keys).collect();
            let publics = contributions
                .iter()
                .map(|(peer, part)| (*peer, part.modules.get(index).cloned().unwrap_or_default()))
                .collect();
            let genesis = kind
                .genesis(&self.params, part, &publics, of_module)
                .map_err(|error| self.module_failed(kind.kind(), error))?;
            let (config, version) = (genesis.config, kind.consensus_version());
            modules.insert(instance, ModuleConfig { kind: kind.kind(), version, config });
            let secret = genesis.private;
            private.insert(instance, PrivateModule { kind: kind.kind(), secret });
        }
        let broadcast_public_keys: BTreeMap<PeerId, PublicKey> =
            contributions.iter().map(|(peer, part)| (*peer, part.broadcast_key)).collect();
        let (api_endpoints, links) = self.agreement.endpoints()?;
        let name = self.agreement.federation_name.clone();
        Ok(GuardianConfig {
            consensus: ConsensusConfig {
                version: CORE_CONSENSUS_2_1,
                broadcast_public_keys,
                api_endpoints,
                links,
                modules,
                meta: BTreeMap::from([("federation_name".to_owned(), name)]),
                network: self.agreement.network,
            },
            private: PrivateConfig {
                broadcast_secret_key: self.broadcast.secret_key(),
                tls_key: self.tls_key.to_vec(),
                modules: private,
            },
            local: LocalConfig { identity: self.agreement.me },
        })
    }

    fn module_failed(&self, kind: ModuleKind, error: GenesisError) -> KeygenError {
        match error {
            GenesisError::BadContribution { peer } => {
                malformed(peer, Stage::Contribution, format!("its part of module {kind}"))
            }
            other => KeygenError::Module { kind, reason: other.to_string() },
        }
    }
}

/// Addresses by guardian: of the client API, and of the links.
type Endpoints = (BTreeMap<PeerId, PeerUrl>, BTreeMap<PeerId, LinkEndpoint>);

impl Agreement {
    /// Where all guardians are, from their setup codes.
    ///
    /// Errors: `Malformed` if a code is for iroh, which is not supported.
    pub fn endpoints(&self) -> Result<Endpoints, KeygenError> {
        let mut api = BTreeMap::new();
        let mut links = BTreeMap::new();
        for (peer, code) in &self.codes {
            let PeerEndpoints::Tcp { api_url, p2p_url, cert } = &code.endpoints else {
                return Err(malformed(*peer, Stage::Hello, "its setup code is for iroh"));
            };
            api.insert(*peer, PeerUrl { url: api_url.clone(), name: code.name.clone() });
            links.insert(*peer, LinkEndpoint { url: p2p_url.clone(), cert: cert.clone() });
        }
        Ok((api, links))
    }
}

fn tbs_keys(key: ThresholdKey) -> TbsKeys {
    let peer = |number: u64| PeerId::new(number as u16);
    TbsKeys {
        secret_share: key.secret_share,
        public_shares: key.public_shares.into_iter().map(|(n, share)| (peer(n), share)).collect(),
        aggregate: key.aggregate,
    }
}

fn number(peer: PeerId) -> u64 {
    peer.index() as u64
}

fn differing<T>(all: Vec<(PeerId, T)>, same: impl Fn(&T) -> bool) -> Vec<PeerId> {
    all.into_iter().filter(|(_, value)| !same(value)).map(|(peer, _)| peer).collect()
}

fn malformed(peer: PeerId, stage: Stage, reason: impl ToString) -> KeygenError {
    KeygenError::Malformed { peer, stage, reason: reason.to_string() }
}

/// One of several independent seeds from the one that is stored.
fn branch(seed: &Zeroizing<[u8; 32]>, name: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new(seed.to_vec());
    bytes.extend_from_slice(b"moneta-setup/");
    bytes.extend_from_slice(name);
    Zeroizing::new(sha256::Hash::hash(&bytes).to_byte_array())
}

/// The broadcast key: the first valid secret key in a hash chain from the seed.
fn keypair(seed: &Zeroizing<[u8; 32]>) -> Keypair {
    let mut bytes = branch(seed, b"broadcast");
    loop {
        match SecretKey::from_slice(&*bytes) {
            Ok(key) => return Keypair::from_secret_key(&Secp256k1::new(), &key),
            Err(_) => bytes = branch(&bytes, b"again"),
        }
    }
}

#[cfg(test)]
mod tests;
