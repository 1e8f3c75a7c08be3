//! What a wallet does with e-cash.
//!
//! [`MintClient::send`], [`MintClient::receive`] and [`MintClient::cancel`] are the user's
//! actions. Any other module's transaction is paid for and gets its change here
//! ([`ClientModule::balance`]). Every group of notes on its way is a [`Bundle`], which ends in notes
//! in stock, notes handed out, or notes set aside, and never in nothing.
//!
//! ```text
//! stock --balance/send--> Bundle --accepted, shares--> stock, or e-cash handed out
//!                           |
//!                           +-----rejected--> reissued whole, in halves, .., one by one
//! ```
//! What a rejected transaction asked for is looked at again for a day (`void.rs`). A wallet that pays
//! often has notes made before they are wanted (`restock.rs`).
//!
//! Source: docs/protocol/mint.md, sections 3.7 to 3.11, and 6 for what is done better.

mod bundle;
mod issue;
mod keys;
mod log;
mod receive;
mod recovery;
mod restock;
mod search;
mod selection;
mod send;
mod slice_text;
mod stock;
#[cfg(all(test, feature = "server"))]
mod tests;
mod void;

pub use bundle::{Bundle, Purpose};
pub use keys::{NoteKeys, NoteRequest, NoteSecrets};
pub use receive::{CancelError, ReceiveError};
pub use recovery::Recovery;
pub use restock::Restock;
pub use search::Search;
pub use send::{SendError, SendProgress};
pub use void::VoidCheck;

use std::collections::BTreeMap;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::envelope::{InputEnvelope, OutputEnvelope};
use moneta_core::id::{OperationId, PeerId};
use moneta_core::transaction::ModuleFailure;
use moneta_core::version::ApiVersion;
use moneta_core::{Decode, Encode, ModuleKind};
use moneta_module::client::{
    ClientKind, ClientModule, Draft, DraftInput, DraftOutput, Env, Imbalance, Judgement, Origin,
    Outcome, Stop, SubmitError, Timestamp, Turn, Wait, text_of_failure,
};
use moneta_module::erased::{AnyClient, erase_client};
use moneta_module::setup::OpenError;
use moneta_store::{Read, StoreError, Write};
use rand::RngCore;
use serde_json::Value;

use crate::words::{
    Denomination, ECash, KIND, MintConfig, MintInput, MintInputError, MintOutput, MintOutputError,
    REQUIRED_API_VERSION, SpendableNote,
};
use selection::{Counts, Terms};

/// How many tweaks are kept ground: for a hundred transactions in a row, as each takes as many as it asks
/// for notes of one denomination, mostly one or two. With 50, every second of the payments behind the fortieth
/// ground its own while somebody waited, some milliseconds each.
const TWEAK_STOCK: usize = 200;
/// Hashes per turn of the grinder: a tweak is found in 65,536 on average, so two in a turn, and in one of
/// seven none. A turn takes some milliseconds, and as many again to commit, during which the wallet does
/// nothing else; so few turns with something to show are better than many.
const GRIND_ATTEMPTS: u32 = 1 << 17;
/// The pause between two turns of the grinder, for others to get theirs.
const GRIND_PAUSE_MS: u64 = 100;
/// How often the grinder looks at a full stock.
const GRIND_IDLE_MS: u64 = 60_000;

/// The client half. Holds the secrets of all notes; `Debug` is redacted.
#[derive(Debug)]
pub struct MintClient {
    env: PublicEnv,
    config: MintConfig,
    secrets: NoteSecrets,
    terms: Terms,
    examined: issue::Examined,
    judged: log::Judged,
}

/// [`Env`] without its secret.
#[derive(Debug)]
struct PublicEnv {
    instance: moneta_core::id::ModuleInstanceId,
    federation: moneta_core::id::FederationId,
    size: moneta_core::peers::FederationSize,
}

/// The machines of this module.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Machine {
    /// Grinds tweaks and starts checks of rejected transactions; the number is when next, in
    /// milliseconds since the Unix epoch. Lives as long as the wallet. A crash loses at most one
    /// turn's hashes.
    Grinder(u64),
    /// Follows notes that are spent and asked for in one transaction.
    Bundle(Bundle),
    /// Finds the notes of a wallet that was restored.
    Recovery(Recovery),
    /// Finds outputs in history whose signature shares are not to be had otherwise.
    Search(Search),
    /// Looks whether a rejected transaction was accepted after all.
    Void(VoidCheck),
    /// Fills the stock up for payments to come.
    Restock(Restock),
}

/// A turn of this module.
pub type MintTurn<'a> = Turn<'a, Machine>;

impl MintClient {
    /// Opens the client half.
    ///
    /// Errors: `Mismatch` if the config lacks keys.
    pub fn new(env: Env, config: MintConfig) -> Result<Self, OpenError> {
        for denomination in config.tbs_agg_pks.keys() {
            let shares = config.tbs_pks.get(denomination);
            let has = |peer: PeerId| shares.is_some_and(|shares| shares.contains_key(&peer));
            if !env.size.peer_ids().all(has) {
                return Err(OpenError::Mismatch("a guardian's public key share is missing"));
            }
        }
        let Env { instance, federation, size, secret } = env;
        // An envelope adds instance id and length; every input is signed.
        let envelope_bytes = instance.to_bytes().len() - 1;
        let terms = Terms {
            fees: config.fee_consensus,
            minted: Denomination::minted().filter(|d| config.issues(*d)).collect(),
            input_bytes: MintInput::WIRE_BYTES + envelope_bytes,
            output_bytes: MintOutput::WIRE_BYTES + envelope_bytes,
        };
        let env = PublicEnv { instance, federation, size };
        let (secrets, examined) = (NoteSecrets::new(secret), issue::Examined::default());
        let judged = log::Judged::default();
        Ok(Self { env, config, secrets, terms, examined, judged })
    }

    /// The module's configuration.
    pub fn config(&self) -> &MintConfig {
        &self.config
    }

    /// How many notes of each denomination are in stock.
    pub fn denominations(
        &self,
        state: &dyn Read,
    ) -> Result<BTreeMap<Denomination, u64>, StoreError> {
        stock::counts(state)
    }

    /// E-cash that was handed out in a `send` operation, to show it again.
    pub fn sent(&self, state: &dyn Read, id: OperationId) -> Result<Option<ECash>, StoreError> {
        stock::sent(state, id)
    }

    /// Notes that were refused when they were to be spent, or are worth less than spending them
    /// costs. Not part of the holdings; kept in case somebody wants to look into it.
    pub fn set_aside(&self, state: &dyn Read) -> Result<Vec<SpendableNote>, StoreError> {
        stock::notes_set_aside(state)
    }

    /// What recovery found and could not complete yet, because guardians hold other signature
    /// shares for the same messages. A search through history is on its way.
    pub fn unresolved(&self, state: &dyn Read) -> Result<Vec<NoteRequest>, StoreError> {
        stock::unresolved(state)
    }

    /// Takes tweaks for notes to be asked for in one transaction, largest denomination last.
    ///
    /// Notes of different denominations share a tweak: their keys follow from both, and that the
    /// outputs of one transaction belong together is plain anyway. So a transaction needs as many
    /// tweaks as it has notes of one denomination, a handful, not as many as it has notes.
    fn request(
        &self,
        turn: &mut MintTurn<'_>,
        counts: &Counts,
    ) -> Result<Vec<(NoteRequest, NoteKeys)>, StoreError> {
        let mut tweaks = Vec::new();
        let mut requests = Vec::new();
        for (denomination, count) in counts {
            for index in 0..usize::try_from(*count).unwrap_or(usize::MAX) {
                if index == tweaks.len() {
                    let start = random_number(turn.rng());
                    let state = &mut *turn.state();
                    tweaks.push(stock::take_tweak(state, &self.secrets, start)?);
                }
                let request = NoteRequest { denomination: *denomination, tweak: tweaks[index] };
                let keys = self.secrets.keys(request);
                stock::note_requested(&mut *turn.state(), &keys)?;
                requests.push((request, keys));
            }
        }
        Ok(requests)
    }

    /// The items that spend `notes` and ask for `requests`, and the bundle that follows them.
    fn draft(
        &self,
        purpose: Purpose,
        notes: Vec<SpendableNote>,
        requests: Vec<(NoteRequest, NoteKeys)>,
    ) -> Result<Draft<Machine>, SubmitError> {
        let fees = self.config.fee_consensus;
        let value = |denomination: Denomination| denomination.value().ok_or(SubmitError::Overflow);
        let mut inputs = Vec::with_capacity(notes.len());
        for note in &notes {
            let amount = value(note.denomination)?;
            inputs.push(DraftInput {
                input: InputEnvelope::new(self.env.instance, &note.input()),
                amount,
                fee: fees.fee(amount),
                key: note.key,
            });
        }
        let mut outputs = Vec::with_capacity(requests.len());
        for (request, keys) in &requests {
            let amount = value(request.denomination)?;
            outputs.push(DraftOutput {
                output: OutputEnvelope::new(self.env.instance, &keys.output()),
                amount,
                fee: fees.fee(amount),
            });
        }
        let (requests, keys): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        if !requests.is_empty() {
            self.examined.expect(&requests, keys);
        }
        let machine = Machine::Bundle(Bundle { purpose, notes, requests });
        Ok(Draft { inputs, outputs, machine: Some(machine) })
    }

    fn grind(&self, turn: &mut MintTurn<'_>) -> Result<Machine, Stop> {
        let now = turn.now();
        self.check_void(turn)?;
        if stock::tweak_count(&*turn.state())? >= TWEAK_STOCK {
            return Ok(Machine::Grinder(now.after_ms(GRIND_IDLE_MS).0));
        }
        let start = random_number(turn.rng());
        let state = &mut *turn.state();
        for tweak in self.secrets.grind(start, GRIND_ATTEMPTS) {
            stock::put_tweak(state, &tweak);
        }
        Ok(Machine::Grinder(now.after_ms(GRIND_PAUSE_MS).0))
    }
}

fn random_number(rng: &mut dyn RngCore) -> u128 {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    u128::from_be_bytes(bytes)
}

impl ClientModule for MintClient {
    type Machine = Machine;

    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn begin(&self, turn: &mut MintTurn<'_>, recovering: bool) -> Result<(), Stop> {
        turn.spawn(&Machine::Grinder(0));
        if recovering { self.begin_recovery(turn) } else { Ok(()) }
    }

    fn wait(&self, machine: &Machine, origin: Option<&Origin>) -> Wait {
        match machine {
            Machine::Grinder(next) => Wait::until(Timestamp(*next)),
            Machine::Bundle(bundle) => bundle.wait(origin),
            Machine::Recovery(recovery) => self.wait_in_recovery(recovery),
            Machine::Search(search) => self.wait_in_search(search),
            Machine::Void(check) => check.wait(),
            Machine::Restock(_) => Wait::ready(),
        }
    }

    fn judge(
        &self,
        machine: &Machine,
        _: Option<&Origin>,
        answers: &BTreeMap<PeerId, Value>,
    ) -> Judgement {
        match machine {
            Machine::Grinder(_) | Machine::Restock(_) => Judgement::Enough,
            Machine::Bundle(bundle) => {
                self.shares(&bundle.requests, answers).judge_all(self.env.size)
            }
            Machine::Recovery(recovery) => self.judge_in_recovery(recovery, answers),
            Machine::Search(Search::Located { request, .. }) => {
                self.shares(&[*request], answers).judge_all(self.env.size)
            }
            Machine::Search(_) => Judgement::Enough,
            Machine::Void(check) => self.shares(&check.requests, answers).judge_all(self.env.size),
        }
    }

    fn advance(
        &self,
        turn: &mut MintTurn<'_>,
        machine: Machine,
        outcome: Outcome,
    ) -> Result<Option<Machine>, Stop> {
        match machine {
            Machine::Grinder(_) => self.grind(turn).map(Some),
            Machine::Bundle(bundle) => {
                self.advance_bundle(turn, bundle, outcome)?;
                Ok(None)
            }
            Machine::Recovery(recovery) => {
                let next = self.advance_recovery(turn, recovery, outcome)?;
                Ok(next.map(Machine::Recovery))
            }
            Machine::Search(search) => {
                Ok(self.advance_search(turn, search, outcome)?.map(Machine::Search))
            }
            Machine::Void(check) => self.advance_void(turn, check, outcome).map(|()| None),
            Machine::Restock(restock) => self.advance_restock(turn, restock).map(|()| None),
        }
    }

    fn can_balance(&self, unit: AmountUnit) -> bool {
        unit == self.config.amount_unit
    }

    fn balance(
        &self,
        turn: &mut MintTurn<'_>,
        imbalance: Imbalance,
    ) -> Result<Draft<Machine>, SubmitError> {
        let held = stock::counts(&*turn.state())?;
        let plan = selection::complete(&held, &self.terms, imbalance)?;
        let mut notes = Vec::new();
        for (denomination, count) in &plan.spend {
            notes.extend(stock::take(&mut *turn.state(), *denomination, *count)?);
        }
        let requests = self.request(turn, &plan.issue)?;
        if notes.is_empty() && requests.is_empty() {
            return Ok(Draft::default());
        }
        self.draft(Purpose::Change, notes, requests)
    }

    fn failure_text(&self, failure: ModuleFailure<'_>) -> Option<String> {
        text_of_failure::<MintInputError, MintOutputError>(failure)
    }

    fn holdings(&self, state: &dyn Read) -> Result<Msat, StoreError> {
        Ok(selection::total(&stock::counts(state)?).unwrap_or(Msat(u64::MAX)))
    }
}

impl MintClient {
    fn shares(&self, requests: &[NoteRequest], answers: &BTreeMap<PeerId, Value>) -> issue::Shares {
        self.examined.examine(&self.config, &self.secrets, self.env.size, requests, answers)
    }

    fn put_all(state: &mut dyn Write, notes: &[SpendableNote]) -> Result<(), StoreError> {
        notes.iter().try_for_each(|note| stock::put(state, note))
    }
}

/// Opens `mintv2` client halves.
#[derive(Debug, Clone, Copy, Default)]
pub struct MintClientKind;

impl ClientKind for MintClientKind {
    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn required_api(&self) -> Vec<ApiVersion> {
        vec![REQUIRED_API_VERSION]
    }

    fn open(&self, env: Env, config: &[u8]) -> Result<Box<dyn AnyClient>, OpenError> {
        Ok(erase_client(MintClient::new(env, MintConfig::from_bytes(config)?)?))
    }
}
