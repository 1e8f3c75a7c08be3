//! Recovery from words over a synthetic history, through the real driver: what is found, and how fast.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::time::Instant;

use moneta_client::driver::{Driver, Modules, Request};
use moneta_client::query::CallFailure;
use moneta_core::id::{FederationId, ModuleInstanceId, PeerId};
use moneta_core::peers::FederationSize;
use moneta_core::{Decode, Encode};
use moneta_crypto::derive::FederationSecrets;
use moneta_crypto::dkg::{Shape, deal_trusted};
use moneta_mint::MintKind;
use moneta_mint::client::{MintClient, NoteRequest, NoteSecrets};
use moneta_mint::words::{
    Denomination, MAX_SLICE_ITEMS, MintConfig, RecoveryItem, SliceRange, Tweak, hash160, slice_hash,
};
use moneta_module::client::{Env, Timestamp};
use moneta_module::erased::erase_client;
use moneta_module::setup::{ServerKind, SetupParams, TbsKeys};
use moneta_store::{Memory, Store};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const MINT: ModuleInstanceId = ModuleInstanceId::new(0);
const FEDERATION: FederationId = FederationId([7; 32]);
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn size() -> FederationSize {
    FederationSize::new(4).unwrap()
}

fn secrets() -> FederationSecrets {
    FederationSecrets::from_seed(&[9; 64], &FEDERATION.0)
}

fn config() -> MintConfig {
    let shape = Shape::new(4, size().threshold(), Denomination::COUNT).unwrap();
    let (peer, keys) = (PeerId::new(0), deal_trusted(shape, &[7; 32]).swap_remove(0));
    let network = bitcoin::Network::Regtest;
    let params = SetupParams { size: size(), me: peer, network, disable_base_fees: true };
    let own = MintKind.contribute(&params, &mut StdRng::seed_from_u64(1));
    let number = |peer: &u64| PeerId::new(u16::try_from(*peer).unwrap());
    let keys = keys.into_iter().map(|key| TbsKeys {
        secret_share: key.secret_share,
        public_shares: key
            .public_shares
            .iter()
            .map(|(peer, share)| (number(peer), *share))
            .collect(),
        aggregate: key.aggregate,
    });
    let publics = size().peer_ids().map(|peer| (peer, Vec::new())).collect();
    let genesis = MintKind.genesis(&params, &own, &publics, keys.collect()).unwrap();
    MintConfig::from_bytes(&genesis.config).unwrap()
}

/// A history of strangers' notes, half of them spent, among which the wallet's stand.
struct History {
    /// By slice: what guardians answer, as text, and its hash.
    slices: Vec<(String, String)>,
    total: u64,
}

impl History {
    /// The wallet's notes are issued at the given positions and spent at the second ones, if any.
    fn new(total: u64, own: &[(NoteRequest, u64, Option<u64>)]) -> Self {
        let mut rng = StdRng::seed_from_u64(5);
        let notes = NoteSecrets::new(secrets().module(MINT.0));
        let mut placed = BTreeMap::new();
        for (request, issued, spent) in own {
            let keys = notes.keys(*request);
            let NoteRequest { denomination, tweak } = *request;
            let nonce_hash = hash160(&keys.blinded().to_bytes());
            placed.insert(*issued, RecoveryItem::Output { denomination, nonce_hash, tweak });
            let nonce_hash = hash160(&keys.nonce().to_array());
            placed.extend(spent.map(|at| (at, RecoveryItem::Input { nonce_hash })));
        }
        let mut slices = Vec::new();
        for start in (0..total).step_by(usize::try_from(MAX_SLICE_ITEMS).unwrap()) {
            let end = total.min(start + MAX_SLICE_ITEMS);
            let stranger = |rng: &mut StdRng, at: u64| {
                let nonce_hash = hash160(&rng.r#gen::<[u8; 32]>());
                let (denomination, tweak): (_, Tweak) =
                    (Denomination(rng.r#gen_range(9..30)), rng.r#gen());
                match at % 2 {
                    0 => RecoveryItem::Output { denomination, nonce_hash, tweak },
                    _ => RecoveryItem::Input { nonce_hash },
                }
            };
            let item = |at| placed.remove(&at).unwrap_or_else(|| stranger(&mut rng, at));
            let items: Vec<RecoveryItem> = (start..end).map(item).collect();
            let hash = slice_hash(items.iter().map(Encode::to_bytes).collect::<Vec<_>>().iter());
            slices.push((serde_json::to_string(&items).unwrap(), hash.to_string()));
        }
        Self { slices, total }
    }

    /// Parameters of a call for a slice, made those for the one before or after it.
    fn other_slice(&self, params: &Value) -> Value {
        match serde_json::from_value(params.clone()) {
            Ok(SliceRange(start, _)) if start >= MAX_SLICE_ITEMS => {
                json!(SliceRange(start - MAX_SLICE_ITEMS, start))
            }
            Ok(_) => json!(SliceRange(MAX_SLICE_ITEMS, 2 * MAX_SLICE_ITEMS)),
            Err(_) => params.clone(),
        }
    }

    fn answer(&self, request: &Request) -> Result<Value, CallFailure> {
        let slice = || {
            let SliceRange(start, _) = serde_json::from_value(request.params.clone()).unwrap();
            &self.slices[usize::try_from(start / MAX_SLICE_ITEMS).unwrap()]
        };
        match request.method.to_string().as_str() {
            "module_0_recovery_count" => Ok(json!(self.total)),
            "module_0_recovery_slice_hash" => Ok(json!(slice().1)),
            // As it comes off the network.
            "module_0_recovery_slice" => Ok(Value::String(slice().0.clone())),
            "module_0_recovery_signature_shares" => {
                Err(CallFailure::Refused { code: 400, message: "unknown".to_owned() })
            }
            _ => Err(CallFailure::unavailable("not here")),
        }
    }
}

/// What guardian 0 does.
#[derive(Clone, Copy, PartialEq)]
enum Zero {
    Honest,
    /// Gives other slices and hashes than those asked for.
    Lies,
}

/// How a recovery goes.
#[derive(Clone, Copy)]
struct Course {
    zero: Zero,
    /// After so many answers the wallet is killed and opened again, each time.
    answers_per_life: usize,
}

const CALM: Course = Course { zero: Zero::Honest, answers_per_life: usize::MAX };

fn open(store: Store) -> Driver {
    let env = Env {
        instance: MINT,
        federation: FEDERATION,
        size: size(),
        secret: secrets().module(MINT.0),
    };
    let client = MintClient::new(env, config()).unwrap();
    let modules = Modules::from([(MINT, erase_client(client))]);
    let rng = Box::new(StdRng::seed_from_u64(3));
    let mut driver = Driver::open(store, size(), modules, rng).unwrap();
    driver.begin(true, NOW).unwrap();
    driver
}

/// Recovers and returns the notes that were found without a signature.
fn recover(
    store: Store,
    history: &History,
    course: Course,
    order: &mut StdRng,
) -> Vec<NoteRequest> {
    let mut driver = open(store.clone());
    let mut open_calls = Vec::new();
    let (mut answers, mut now) = (0, NOW);
    loop {
        open_calls.extend(driver.poll(now).unwrap());
        let events = driver.take_events();
        if events.iter().any(|event| event.kind == "module-recovery-completed") {
            let client = driver.module::<MintClient>(MINT).unwrap();
            return client.unresolved(&driver.module_view(MINT)).unwrap();
        }
        let given_up = driver.take_abandoned();
        open_calls.retain(|request: &Request| !given_up.contains(&request.id));
        open_calls.shuffle(order);
        let Some(request) = open_calls.pop() else {
            now = driver.next_wakeup().expect("recovery waits for something").max(now);
            continue;
        };
        let mut asked = request.clone();
        if course.zero == Zero::Lies && request.peer == PeerId::new(0) {
            asked.params = history.other_slice(&request.params);
        }
        driver.on_response(request.id, history.answer(&asked), now);
        answers += 1;
        if answers == course.answers_per_life {
            drop(driver);
            driver = open(store.clone());
            open_calls.clear();
            answers = 0;
        }
    }
}

fn own_notes(count: usize) -> Vec<NoteRequest> {
    let secrets = NoteSecrets::new(secrets().module(MINT.0));
    let tweak = secrets.grind(1, u32::MAX).next().unwrap();
    let denominations = (0..).map(|step| Denomination(10 + step));
    denominations.take(count).map(|denomination| NoteRequest { denomination, tweak }).collect()
}

/// Slices are fetched side by side and come in any order; a note that was spent in a later one must
/// not be found, whichever came first.
#[test]
fn notes_are_found_in_the_order_of_the_log_whichever_slice_comes_first() {
    let own = own_notes(4);
    let last = 7 * MAX_SLICE_ITEMS + 17;
    let placed = [
        (own[0], 5, Some(6 * MAX_SLICE_ITEMS + 1)),
        (own[1], 2 * MAX_SLICE_ITEMS, None),
        (own[2], 3 * MAX_SLICE_ITEMS + 9, Some(3 * MAX_SLICE_ITEMS + 10)),
        (own[3], last - 1, None),
    ];
    let history = History::new(last, &placed);
    for seed in 0..5 {
        // Killed or not, and whatever one guardian says.
        let courses = [
            CALM,
            Course { zero: Zero::Lies, ..CALM },
            Course { answers_per_life: 23, ..CALM },
            Course { zero: Zero::Lies, answers_per_life: 31 },
        ];
        for (number, course) in courses.into_iter().enumerate() {
            let order = &mut StdRng::seed_from_u64(seed);
            let mut found = recover(Memory::store(), &history, course, order);
            found.sort_by_key(|request| request.denomination);
            assert_eq!(found, [own[1], own[3]], "seed {seed}, course {number}");
        }
    }
}

/// Prints how many items of history a wallet goes through per second, network left out.
/// Run it alone: `cargo test -p moneta-client --test recovery -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let history = History::new(400_000, &[]);
    let begun = Instant::now();
    recover(Memory::store(), &history, CALM, &mut StdRng::seed_from_u64(1));
    let secs = begun.elapsed().as_secs_f64();
    println!("{} items in {secs:.2} s: {:.0} items/s", history.total, history.total as f64 / secs);
    let begun = Instant::now();
    for (text, _) in &history.slices {
        serde_json::from_str::<Value>(text).unwrap();
    }
    let secs = begun.elapsed().as_secs_f64();
    println!("of which reading JSON: {secs:.2} s");
}
