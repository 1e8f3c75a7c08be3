//! What was dealt: shares for others, shares from others, and disputes about them.

use std::collections::{BTreeMap, BTreeSet};

use moneta_core::PeerId;
use moneta_crypto::dkg::{Dealing, DealingHash, DealtShares, Verdict};

use super::stage::malformed;
use super::{Keygen, KeygenError, Stage, number};
use crate::setup::message::{Answers, Complaints, Contribution};

impl Keygen<'_> {
    pub(super) fn shares_for(&self, peer: PeerId) -> Vec<u8> {
        let shares = self.dealer.as_ref().and_then(|dealer| dealer.shares_for(number(peer)));
        shares.map(|shares| shares.to_bytes().to_vec()).unwrap_or_default()
    }

    /// All dealings, checked against the hashes that were published before.
    pub(super) fn dealings(&self) -> Result<BTreeMap<PeerId, Dealing>, KeygenError> {
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
    pub(super) fn bad_dealers(&self) -> Result<BTreeSet<PeerId>, KeygenError> {
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
    pub(super) fn settled_shares(
        &self,
    ) -> Result<BTreeMap<u64, (Dealing, DealtShares)>, KeygenError> {
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
}
