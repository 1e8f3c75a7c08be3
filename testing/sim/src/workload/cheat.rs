//! A user with a wallet of their own making, who tries to get more than was paid in.
//!
//! Every trick here is worth nothing whatever the state of the federation, so no guardian may take
//! one, neither from the user nor, since one of them may be the user's friend, from consensus.

use std::collections::BTreeMap;

use bitcoin::secp256k1::Keypair;
use moneta_core::{InputEnvelope, Msat, OutputEnvelope, Transaction, TransactionId};
use moneta_crypto::Scalar;
use moneta_crypto::tbs::{blind, hash_to_message_v2};
use moneta_mint::words::{Denomination, MintOutput, OutputV0, SpendableNote};
use rand::Rng as _;

use super::users::all_handed_out;
use crate::federation::MINT;
use crate::world::World;

/// Most notes in one trick: each costs curve arithmetic on every guardian.
const NOTES_MAX: usize = 4;

/// What is wrong with a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trick {
    /// It asks for as much as it can without paying all of the fees.
    FeesUnpaid,
    /// It spends a note twice, and pays for it with the double.
    NoteTwice,
    /// A note has the signature of another.
    ForgedNote,
    /// A note of little worth claims to be one of the largest.
    Upgraded,
    /// It spends somebody else's note: the key that signs is another.
    Stolen,
}

impl Trick {
    const ALL: [Self; 5] =
        [Self::FeesUnpaid, Self::NoteTwice, Self::ForgedNote, Self::Upgraded, Self::Stolen];

    /// The notes that are presented and the keys that sign for them; `None` if these do not do.
    fn inputs(
        self,
        mut notes: Vec<SpendableNote>,
        largest: Denomination,
    ) -> Option<(Vec<SpendableNote>, Vec<Keypair>)> {
        let mut keys: Vec<Keypair> = notes.iter().map(|note| note.key).collect();
        match self {
            Self::FeesUnpaid => {}
            Self::NoteTwice => {
                notes.push(*notes.first()?);
                keys.push(*keys.first()?);
            }
            Self::ForgedNote => {
                let [first, second, ..] = notes.as_mut_slice() else { return None };
                first.signature = second.signature;
            }
            Self::Upgraded => {
                let first = notes.first_mut().filter(|note| note.denomination != largest)?;
                first.denomination = largest;
            }
            Self::Stolen => {
                let last = keys.len().checked_sub(1).filter(|last| *last > 0)?;
                keys[0] = keys[last];
            }
        }
        Some((notes, keys))
    }
}

/// Has somebody try every trick with e-cash that is about.
pub(super) fn cheat(world: &mut World) -> Result<(), String> {
    let all = all_handed_out(world)?;
    if all.is_empty() {
        return Ok(());
    }
    let (_, ecash) = &all[world.rng.gen_range(0..all.len())];
    let notes: Vec<SpendableNote> = ecash.notes().copied().take(NOTES_MAX).collect();
    for trick in Trick::ALL {
        let Some(transaction) = make(world, trick, notes.clone()) else { continue };
        let guardian = world.rng.gen_range(0..world.guardians.len());
        let Some(process) = world.guardians[guardian].process.as_mut() else { continue };
        process.take_cheat(&transaction).map_err(|what| format!("{trick:?}: {what}"))?;
        world.cheats.push(transaction.txid());
        world.count("tricks");
    }
    Ok(())
}

/// Checks that no trick worked.
pub(super) fn check_cheats(world: &World) -> Result<(), String> {
    let process = world.guardians[0].process.as_ref().ok_or("guardian 0 is down at the end")?;
    let view = process.view();
    let worked = |txid: &&TransactionId| process.engine.is_accepted(&view, **txid).unwrap_or(true);
    match world.cheats.iter().find(worked) {
        Some(txid) => Err(format!("a trick worked: {txid}")),
        None => Ok(()),
    }
}

fn make(world: &mut World, trick: Trick, notes: Vec<SpendableNote>) -> Option<Transaction> {
    let (fee, issued) = (world.federation.note_fee(), world.federation.issued());
    let (notes, keys) = trick.inputs(notes, *issued.last()?)?;
    let worth = |denominations: &[Denomination]| -> u64 {
        denominations.iter().filter_map(|d| d.value()).map(|value| value.0).sum()
    };
    let paid: Vec<Denomination> = notes.iter().map(|note| note.denomination).collect();
    let mut asked: Vec<Denomination> = match trick {
        Trick::FeesUnpaid => paid.clone(),
        _ => affordable(Msat(worth(&paid)), paid.len(), fee, &issued),
    };
    let price = |asked: &[Denomination]| worth(asked) + fee.0 * (asked.len() + paid.len()) as u64;
    if trick == Trick::FeesUnpaid {
        // As tight as these notes allow.
        asked.sort_by_key(|denomination| std::cmp::Reverse(denomination.value()));
        while asked.len() > 1 && price(&asked[..asked.len() - 1]) > worth(&paid) {
            asked.pop();
        }
    }
    let inputs = notes.iter().map(|note| InputEnvelope::new(MINT, &note.input())).collect();
    let outputs = asked.into_iter().map(|denomination| output(world, denomination)).collect();
    Some(Transaction::new_signed(inputs, outputs, world.rng.r#gen(), &keys))
}

/// The notes that so much pays for, fees included, largest first.
fn affordable(worth: Msat, inputs: usize, fee: Msat, issued: &[Denomination]) -> Vec<Denomination> {
    let mut left = worth.0.saturating_sub(fee.0 * inputs as u64);
    let mut asked = Vec::new();
    let values: BTreeMap<Msat, Denomination> = issued
        .iter()
        .filter_map(|denomination| Some((denomination.value()?, *denomination)))
        .collect();
    for (value, denomination) in values.into_iter().rev() {
        while asked.len() < NOTES_MAX && value.0 + fee.0 <= left {
            left -= value.0 + fee.0;
            asked.push(denomination);
        }
    }
    asked
}

fn output(world: &mut World, denomination: Denomination) -> OutputEnvelope {
    let message = hash_to_message_v2(&world.rng.r#gen::<[u8; 32]>());
    let blinded = blind(&message, &Scalar::random(&mut world.rng).into());
    let output = OutputV0 { denomination, blinded, tweak: world.rng.r#gen() };
    OutputEnvelope::new(MINT, &MintOutput::V0(output))
}
