//! The scanner: reads the federation's log of outputs and starts a claim for each of ours.
//!
//! Source: docs/protocol/wallet.md, section 1.10.

use moneta_core::{Decode, Encode};
use moneta_module::client::{NewOperation, Outcome, Stop, SubmitError, Timestamp, Turn, Wait};
use moneta_store::{Read, StoreError};
use serde::Deserialize;
use serde_json::json;

use super::calls::output_slice_call;
use super::tables::{
    BY_SCRIPT, DEPOSITS, Deposit, DepositStatus, END_SEEN, SEARCH, VALID, WATCHED_UNTIL,
};
use super::{Claim, Machine, WalletClient, stop};
use crate::words::OutputInfo;

/// How many positions are read at once. Guardians serve this many.
const SLICE: u64 = 1000;
/// How many positions are read when that shows nothing. Entries that are no P2WSH are hidden, so a run of a
/// thousand of them looks like the end of the log; anybody can make one for some dust. Our
/// guardians serve this many, those of the reference any number.
const LONG_SLICE: u64 = 10_000;
/// Of how many answers in a row that show nothing one is to the long slice: the second, then every
/// so many, since it costs the guardians more.
const LONG_SLICE_EVERY: u64 = 8;

/// Pause between empty answers while the user waits for a deposit.
const WATCHED_PAUSE_MS: u64 = 1000;
/// Pause between empty answers otherwise. A deposit takes an hour on the chain.
const PAUSE_MS: u64 = 10_000;
/// Pause between two parts of a search, so that the driver gets to do other things.
const SEARCH_PAUSE_MS: u64 = 1;

/// The states of the scanner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Scanner {
    /// Searches the next valid address, part by part.
    Search {
        /// Where reading goes on.
        next_output: u64,
        /// When the next part begins.
        until_ms: u64,
    },
    /// Reads the log.
    Read {
        /// From this position.
        next_output: u64,
        /// How many answers in a row showed nothing. One that is no answer counts for the long slice
        /// only, so that nothing depends on guardians that do not serve it.
        empty: u64,
    },
    /// Pauses.
    Idle {
        /// Where reading goes on.
        next_output: u64,
        /// How many answers in a row showed nothing.
        empty: u64,
        /// When reading goes on.
        until_ms: u64,
    },
}

impl Scanner {
    pub(super) fn wait(&self) -> Wait {
        match self {
            Self::Search { until_ms, .. } | Self::Idle { until_ms, .. } => {
                Wait::until(Timestamp(*until_ms))
            }
            Self::Read { next_output, empty } => {
                Wait::call(output_slice_call(*next_output, end_of_slice(*next_output, *empty)))
            }
        }
    }
}

fn is_long(empty: u64) -> bool {
    empty % LONG_SLICE_EVERY == 1
}

fn end_of_slice(start: u64, empty: u64) -> u64 {
    start.saturating_add(if is_long(empty) { LONG_SLICE } else { SLICE })
}

impl WalletClient {
    pub(super) fn advance_scanner(
        &self,
        turn: &mut Turn<'_, Machine>,
        scanner: Scanner,
        outcome: Outcome,
    ) -> Result<Scanner, Stop> {
        match scanner {
            Scanner::Search { next_output, .. } => {
                if self.search(&mut *turn.state())? {
                    return Ok(Scanner::Read { next_output, empty: 0 });
                }
                let until_ms = turn.now().after_ms(SEARCH_PAUSE_MS).0;
                Ok(Scanner::Search { next_output, until_ms })
            }
            Scanner::Idle { next_output, empty, .. } => Ok(Scanner::Read { next_output, empty }),
            Scanner::Read { next_output, empty } => {
                let slice = match &outcome {
                    Outcome::Answer(answer) => Vec::<OutputInfo>::deserialize(answer).ok(),
                    _ => None,
                };
                let is_refused = matches!(outcome, Outcome::CallRefused { .. });
                match slice {
                    Some(slice) if !slice.is_empty() => {
                        self.take_slice(turn, next_output, empty, slice)
                    }
                    // It looks like the end; the long slice tells more, at once the first time.
                    Some(_) if empty == 0 => Ok(Scanner::Read { next_output, empty: 1 }),
                    Some(_) => self.end_seen(turn, next_output, empty),
                    // Guardians that do not serve it leave the answer to the short one.
                    None if is_refused && is_long(empty) => self.end_seen(turn, next_output, empty),
                    None => self.idle(turn, next_output, empty + u64::from(is_long(empty))),
                }
            }
        }
    }

    /// When the scanner last read the federation's log to its end. All deposits that the log showed
    /// then are among [`WalletClient::deposits`], those to addresses found by the search included.
    ///
    /// `None` until the first time. A wallet restored from its words has found everything once there is
    /// a time.
    pub fn end_seen_at(&self, state: &dyn Read) -> Result<Option<Timestamp>, StoreError> {
        Ok(END_SEEN.get(state, &())?.map(Timestamp))
    }

    /// Nothing is behind `next_output` for now.
    fn end_seen(
        &self,
        turn: &mut Turn<'_, Machine>,
        next_output: u64,
        empty: u64,
    ) -> Result<Scanner, Stop> {
        let now = turn.now().0;
        END_SEEN.insert(&mut *turn.state(), &(), &now);
        self.idle(turn, next_output, empty + 1)
    }

    /// Goes through the entries in order. The search for a new address comes before the entries
    /// behind the one that used up the last: they may pay it already. Those among them that pay addresses
    /// known by now are noted first, so that several deposits to one address are seen together; the
    /// reading after the search sees them again, which changes nothing.
    fn take_slice(
        &self,
        turn: &mut Turn<'_, Machine>,
        next_output: u64,
        empty: u64,
        slice: Vec<OutputInfo>,
    ) -> Result<Scanner, Stop> {
        let end = end_of_slice(next_output, empty);
        let mut next = next_output;
        let mut outputs = slice.into_iter();
        while let Some(output) = outputs.next() {
            // What was not asked for is not looked at.
            if output.index < next || output.index >= end {
                continue;
            }
            next = output.index + 1;
            let Some(address_index) = self.take_output(turn, &output)? else { continue };
            let newest = VALID.last_key(&*turn.state(), &())?;
            if newest == Some(address_index) {
                SEARCH.insert(&mut *turn.state(), &(), &address_index.saturating_add(1));
                let mut ahead = next;
                for output in outputs {
                    if output.index >= ahead && output.index < end {
                        ahead = output.index + 1;
                        self.take_output(turn, &output)?;
                    }
                }
                return Ok(Scanner::Search { next_output: next, until_ms: turn.now().0 });
            }
        }
        if next == next_output {
            // Nothing of it was asked for, so nothing is known.
            return self.idle(turn, next, empty + u64::from(is_long(empty)));
        }
        Ok(Scanner::Read { next_output: next, empty: 0 })
    }

    /// Notes the output if it is an unclaimed deposit. Returns the index of its address if it is ours.
    fn take_output(
        &self,
        turn: &mut Turn<'_, Machine>,
        output: &OutputInfo,
    ) -> Result<Option<u64>, Stop> {
        let address_index = BY_SCRIPT.get(&*turn.state(), &output.script)?;
        if let Some(address_index) = address_index
            && !output.spent
        {
            self.found(turn, address_index, output)?;
        }
        Ok(address_index)
    }

    /// Notes an unclaimed deposit and starts its claim, unless it is known.
    fn found(
        &self,
        turn: &mut Turn<'_, Machine>,
        address_index: u64,
        output: &OutputInfo,
    ) -> Result<(), Stop> {
        if DEPOSITS.contains(&*turn.state(), &output.index)? {
            return Ok(());
        }
        let address = self.address_of(&output.script).to_string();
        let OutputInfo { index, value, outpoint, .. } = *output;
        let operation = NewOperation {
            id: Some(self.deposit_operation(index)),
            kind: "deposit",
            details: json!({ "address": address, "value": value.to_sat(), "outpoint": outpoint }),
        };
        match turn.begin_operation(operation) {
            Ok(_) => {}
            Err(SubmitError::OperationExists(_)) => return Ok(()),
            Err(error) => return Err(stop(error)),
        }
        let deposit = Deposit { address_index, value, outpoint, status: DepositStatus::Waiting };
        DEPOSITS.insert(&mut *turn.state(), &index, &deposit);
        turn.spawn(&Machine::Claim(Claim::new(index)));
        Ok(())
    }

    fn idle(
        &self,
        turn: &mut Turn<'_, Machine>,
        next_output: u64,
        empty: u64,
    ) -> Result<Scanner, Stop> {
        let pause = if self.is_watched(turn)? { WATCHED_PAUSE_MS } else { PAUSE_MS };
        let until_ms = turn.now().after_ms(pause).0;
        Ok(Scanner::Idle { next_output, empty, until_ms })
    }

    /// Whether the user waits for a deposit.
    pub(super) fn is_watched(&self, turn: &mut Turn<'_, Machine>) -> Result<bool, StoreError> {
        let now = turn.now().0;
        Ok(WATCHED_UNTIL.get(&*turn.state(), &())?.is_some_and(|until| now < until))
    }
}
