//! Which guardian to ask first where they are asked one after another.

use std::collections::BTreeSet;

use moneta_core::id::PeerId;
use moneta_core::peers::FederationSize;
use rand::RngCore;

/// Draws among the guardians that have not let this wallet down, so that wallets spread over all of
/// them, and one that is silent or lies is waited for once and not again and again. In memory only:
/// it is a matter of speed, never of truth.
#[derive(Debug)]
pub(crate) struct Servers {
    size: FederationSize,
    /// Those that let the wallet down after they last served it.
    avoided: BTreeSet<PeerId>,
}

impl Servers {
    pub(crate) fn new(size: FederationSize) -> Self {
        Self { size, avoided: BTreeSet::new() }
    }

    /// Draws the guardian to begin with. With all of them avoided everybody gets another chance.
    pub(crate) fn draw(&mut self, rng: &mut dyn RngCore) -> usize {
        if self.avoided.len() >= self.size.total() {
            self.avoided.clear();
        }
        let good = self.size.peer_ids().filter(|peer| !self.avoided.contains(peer));
        let good: Vec<PeerId> = good.collect();
        let drawn = (rng.next_u32() >> 1) as usize % good.len().max(1);
        good.get(drawn).map_or(0, |peer| peer.index())
    }

    /// Notes that `served` gave a good answer, and who was asked before in vain.
    pub(crate) fn note(&mut self, served: impl IntoIterator<Item = PeerId>, let_down: Vec<PeerId>) {
        self.avoided.extend(let_down);
        for peer in served {
            self.avoided.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn guardian_that_let_down_is_not_drawn_until_all_have() {
        let mut servers = Servers::new(FederationSize::new(4).unwrap());
        let mut rng = StdRng::seed_from_u64(1);
        let [zero, one, two, three] = [0, 1, 2, 3].map(PeerId::new);
        servers.note([one], vec![zero]);
        let drawn: BTreeSet<_> = (0..100).map(|_| servers.draw(&mut rng)).collect();
        assert_eq!(drawn, BTreeSet::from([1, 2, 3]));
        servers.note([], vec![one, two, three]);
        let drawn: BTreeSet<_> = (0..100).map(|_| servers.draw(&mut rng)).collect();
        assert_eq!(drawn, BTreeSet::from([0, 1, 2, 3]));
    }
}
