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

mod dealing;
mod finish;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Keypair, Message, Secp256k1, SecretKey};
use moneta_core::{Decode, Encode, PeerId};
use moneta_crypto::dkg::{Dealer, Shape};
use moneta_module::setup::{Contribution as ModulePart, ServerKind, SetupParams};
use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::ceremony::Agreement;
use super::config::GuardianConfig;
use super::message::{Answers, Complaints, Contribution, Echo, Finished, Hello};
use stage::malformed;
pub use stage::{KeygenError, Progress, Stage};

/// The stages whose messages must be equal for all and are compared before secrets flow.
const PUBLIC_PARTS: [Stage; 2] = [Stage::Contribution, Stage::Dealing];

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
}

fn number(peer: PeerId) -> u64 {
    peer.index() as u64
}

fn differing<T>(all: Vec<(PeerId, T)>, same: impl Fn(&T) -> bool) -> Vec<PeerId> {
    all.into_iter().filter(|(_, value)| !same(value)).map(|(peer, _)| peer).collect()
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
