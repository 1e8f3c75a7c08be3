//! Who has not answered yet, for whoever waits for a join and loses patience.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moneta_core::id::PeerId;
use moneta_core::url::ApiUrl;

use super::{Trouble, Witness};

/// A guardian that was asked and has given no usable answer so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// Its number.
    pub peer: PeerId,
    /// Its name, where it is known already.
    pub name: Option<String>,
    /// Where it was asked. Its display form carries no credentials.
    pub url: ApiUrl,
    /// What was wrong when it was asked last; none while nothing came at all.
    pub trouble: Option<Trouble>,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} at {}: ", self.url)?,
            None => write!(f, "guardian {} at {}: ", self.peer, self.url)?,
        }
        match &self.trouble {
            Some(trouble) => write!(f, "{trouble}"),
            None => f.write_str("no answer yet"),
        }
    }
}

/// What is known of the guardians asked in a join, over all its attempts. Clones share it: one goes to
/// the join ([`super::Attempt::watched`]), another stays with whoever waits.
///
/// In memory only, and at most one entry per guardian.
#[derive(Debug, Clone, Default)]
pub struct RollCall(Arc<Mutex<BTreeMap<PeerId, Option<Absent>>>>);

impl RollCall {
    /// Those asked that have given no usable answer so far, by number.
    pub fn absent(&self) -> Vec<Absent> {
        self.entries().values().flatten().cloned().collect()
    }

    /// An earlier answer or failure of the same guardian stands until the next one.
    pub(super) fn asked(&self, peer: PeerId, name: Option<String>, url: ApiUrl) {
        let fresh = Absent { peer, name: name.clone(), url: url.clone(), trouble: None };
        let mut entries = self.entries();
        if let Some(absent) = entries.entry(peer).or_insert(Some(fresh)) {
            (absent.name, absent.url) = (name.or(absent.name.take()), url);
        }
    }

    pub(super) fn answered(&self, peer: PeerId) {
        self.entries().insert(peer, None);
    }

    pub(super) fn failed(&self, witness: &Witness) {
        let Witness { peer, name, url, trouble } = witness.clone();
        let mut entries = self.entries();
        let known = entries.remove(&peer).flatten().and_then(|absent| absent.name);
        let trouble = Some(trouble);
        entries.insert(peer, Some(Absent { peer, name: name.or(known), url, trouble }));
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<PeerId, Option<Absent>>> {
        // Every change is one step, so a poisoned lock holds a whole map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
