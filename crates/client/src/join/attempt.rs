//! One attempt to obtain a federation's config.

use std::collections::BTreeMap;

use moneta_core::config::ClientConfig;
use moneta_core::id::PeerId;
use moneta_core::invite::InviteCode;
use moneta_core::url::ApiUrl;
use serde::Deserialize;
use serde_json::Value;

use super::{JoinError, RollCall, Trouble, Witness};
use crate::query::{CallFailure, harmless};

/// A guardian to ask for `client_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Whom.
    pub peer: PeerId,
    /// Where.
    pub url: ApiUrl,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Invite,
    All,
}

/// How an attempt goes on.
#[derive(Debug)]
pub enum Step {
    /// Wait for more answers.
    Wait,
    /// Ask these as well.
    Ask(Vec<Ask>),
    /// This is the config.
    Joined(Box<ClientConfig>),
    /// The attempt failed.
    Failed(JoinError),
}

/// One attempt. See the module text.
#[derive(Debug)]
pub struct Attempt {
    invite: InviteCode,
    /// The config of the first guardian, once there is one.
    first: Option<First>,
    answers: BTreeMap<PeerId, ClientConfig>,
    witnesses: Vec<Witness>,
    roll: RollCall,
}

#[derive(Debug)]
struct First {
    config: ClientConfig,
    total: usize,
    threshold: usize,
}

impl Attempt {
    /// Begins an attempt: returns it and the guardians of the invite, to be asked all at once.
    pub fn new(invite: InviteCode) -> (Self, Vec<Ask>) {
        Self::watched(invite, RollCall::default())
    }

    /// The same, and keeps `roll` informed on who has not answered yet.
    pub fn watched(invite: InviteCode, roll: RollCall) -> (Self, Vec<Ask>) {
        let peers = invite.peers().into_iter();
        let asks: Vec<_> =
            peers.map(|(peer, url)| Ask { peer, url, stage: Stage::Invite }).collect();
        for Ask { peer, url, .. } in &asks {
            roll.asked(*peer, None, url.clone());
        }
        let (first, answers) = (None, BTreeMap::new());
        (Self { invite, first, answers, witnesses: Vec::new(), roll }, asks)
    }

    /// Takes a guardian's answer.
    pub fn answer(&mut self, ask: &Ask, result: Result<Value, CallFailure>) -> Step {
        let stage = if self.first.is_some() { Stage::All } else { Stage::Invite };
        if ask.stage != stage {
            // A guardian of the invite that was not needed any more.
            return Step::Wait;
        }
        match (self.check(result), &self.first) {
            (Ok(config), None) => {
                self.roll.answered(ask.peer);
                self.go_on_with(config)
            }
            (Ok(config), Some(_)) => {
                self.roll.answered(ask.peer);
                self.answers.insert(ask.peer, config);
                self.count()
            }
            (Err(trouble), first) => {
                let endpoints = first.as_ref().map(|first| &first.config.global.api_endpoints);
                let endpoint = endpoints.and_then(|endpoints| endpoints.get(&ask.peer));
                let name = endpoint.map(|endpoint| endpoint.name.clone());
                let (peer, url) = (ask.peer, ask.url.clone());
                let witness = Witness { peer, name, url, trouble };
                self.roll.failed(&witness);
                self.witnesses.push(witness);
                self.count()
            }
        }
    }

    /// A config counts only if it has the invited id.
    fn check(&self, result: Result<Value, CallFailure>) -> Result<ClientConfig, Trouble> {
        let config = ClientConfig::deserialize(result?)
            .map_err(|error| Trouble::Malformed(harmless(&error.to_string())))?;
        let federation = config.federation_id();
        if federation != self.invite.federation_id() {
            return Err(Trouble::OtherFederation(federation));
        }
        Ok(config)
    }

    fn go_on_with(&mut self, config: ClientConfig) -> Step {
        let size = match config.size() {
            Ok(size) => size,
            Err(error) => return Step::Failed(JoinError::Peers(error)),
        };
        let invited = self.invite.peers();
        let mut unproven = 0;
        let roll = &self.roll;
        let ask = |(peer, endpoint): (&PeerId, &moneta_core::config::PeerUrl)| {
            // The id vouches for the addresses in the config, not for those in the invite.
            let moved = invited.get(peer).filter(|url| **url != endpoint.url);
            let moved = moved.filter(|_| unproven < size.max_faulty());
            unproven += usize::from(moved.is_some());
            let url = moved.unwrap_or(&endpoint.url).clone();
            roll.asked(*peer, Some(endpoint.name.clone()), url.clone());
            Ask { peer: *peer, url, stage: Stage::All }
        };
        let asks = config.global.api_endpoints.iter().map(ask).collect();
        self.witnesses.clear();
        self.first = Some(First { config, total: size.total(), threshold: size.threshold() });
        Step::Ask(asks)
    }

    fn count(&self) -> Step {
        let witnesses = self.witnesses.clone();
        let Some(First { total, threshold, .. }) = self.first else {
            return match witnesses.len() == self.invite.peers().len() {
                true => Step::Failed(JoinError::Invite { witnesses }),
                false => Step::Wait,
            };
        };
        let configs = || self.answers.values();
        let equal = |config| configs().filter(|other| *other == config).count();
        let best = configs().map(|config| (config, equal(config))).max_by_key(|(_, count)| *count);
        let agreeing = best.map_or(0, |(_, count)| count);
        let open = total.saturating_sub(self.answers.len() + witnesses.len());
        match best {
            Some((config, _)) if agreeing >= threshold => Step::Joined(Box::new(config.clone())),
            _ if agreeing + open < threshold => {
                Step::Failed(JoinError::Threshold { needed: threshold, agreeing, witnesses })
            }
            _ => Step::Wait,
        }
    }
}
