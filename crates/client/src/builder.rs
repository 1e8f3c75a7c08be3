//! Building transactions: the items somebody asked for, then those that pay for them.
//!
//! ```text
//! inputs:   own .. | balance ..        outputs:  own .. | balance ..
//! ```
//!
//! Pure: the nonce is given. Amounts are msat of bitcoin and checked throughout; what inputs bring
//! beyond outputs and fees goes to the federation and is shown as fee.
//!
//! Source: docs/protocol/core.md, section 3.

use bitcoin::secp256k1::Keypair;
use moneta_core::amount::Msat;
use moneta_core::codec::Encode;
use moneta_core::envelope::{InputEnvelope, OutputEnvelope};
use moneta_core::id::IdxRange;
use moneta_core::transaction::{MAX_TX_SIZE_BYTES, Transaction};
use moneta_module::client::{DraftInput, DraftOutput, Imbalance, Origin, SubmitError};

/// What a transaction takes besides items and signatures: the counts of inputs, of outputs and of
/// signatures (at most 3 bytes each below the size limit), the nonce, and index and length of the
/// signatures' enum.
const FRAME_BYTES: usize = 3 + 3 + 3 + 8 + 1 + 3;

/// One BIP340 signature per input.
const SIGNATURE_BYTES: usize = 64;

/// A transaction in the making: somebody's items, to be balanced.
#[derive(Clone)]
pub struct Builder {
    inputs: Vec<DraftInput>,
    outputs: Vec<DraftOutput>,
}

/// A finished transaction.
#[derive(Debug, Clone)]
pub struct Built {
    /// Signed for every input.
    pub transaction: Transaction,
    /// Where the items are that the builder began with.
    pub own: Origin,
    /// Where the items are that balance it.
    pub balance: Origin,
    /// What it costs: inputs minus outputs.
    pub fees: Msat,
}

/// Sums of items.
struct Sums {
    inputs: Msat,
    outputs: Msat,
    fees: Msat,
}

impl Sums {
    fn required(&self) -> Result<Msat, SubmitError> {
        self.outputs.checked_add(self.fees).ok_or(SubmitError::Overflow)
    }
}

impl Builder {
    /// Begins with somebody's items.
    pub fn new(inputs: Vec<DraftInput>, outputs: Vec<DraftOutput>) -> Self {
        Self { inputs, outputs }
    }

    /// Returns what is to be balanced and how much room there is for it.
    ///
    /// Errors: `Overflow`; `TooLarge` if the items alone exceed the limit.
    pub fn imbalance(&self) -> Result<Imbalance, SubmitError> {
        let sums = self.sums()?;
        let size_bytes = self.size_bytes();
        let space_bytes = MAX_TX_SIZE_BYTES.checked_sub(size_bytes);
        let limit_bytes = MAX_TX_SIZE_BYTES;
        Ok(Imbalance {
            inputs: sums.inputs,
            outputs_and_fees: sums.required()?,
            space_bytes: space_bytes.ok_or(SubmitError::TooLarge { size_bytes, limit_bytes })?,
        })
    }

    /// Adds the balancing items and signs.
    ///
    /// Errors: `Insufficient` if inputs still do not cover outputs and fees; `TooLarge`;
    /// `Overflow`.
    pub fn complete(
        mut self,
        inputs: Vec<DraftInput>,
        outputs: Vec<DraftOutput>,
        nonce: [u8; 8],
    ) -> Result<Built, SubmitError> {
        let (own_inputs, own_outputs) = (self.inputs.len() as u64, self.outputs.len() as u64);
        self.inputs.extend(inputs);
        self.outputs.extend(outputs);
        let (all_inputs, all_outputs) = (self.inputs.len() as u64, self.outputs.len() as u64);

        let sums = self.sums()?;
        let (needed, available) = (sums.required()?, sums.inputs);
        if available < needed {
            return Err(SubmitError::Insufficient { needed, available });
        }
        let fees = sums.inputs.checked_sub(sums.outputs).ok_or(SubmitError::Overflow)?;
        let transaction = self.sign(nonce);
        let size_bytes = transaction.to_bytes().len();
        if size_bytes > MAX_TX_SIZE_BYTES {
            return Err(SubmitError::TooLarge { size_bytes, limit_bytes: MAX_TX_SIZE_BYTES });
        }
        let txid = transaction.txid();
        let origin = |inputs: std::ops::Range<u64>, outputs: std::ops::Range<u64>| Origin {
            txid,
            inputs: IdxRange::from(inputs),
            outputs: IdxRange::from(outputs),
        };
        Ok(Built {
            own: origin(0..own_inputs, 0..own_outputs),
            balance: origin(own_inputs..all_inputs, own_outputs..all_outputs),
            transaction,
            fees,
        })
    }

    fn sign(self, nonce: [u8; 8]) -> Transaction {
        let (inputs, keys): (Vec<InputEnvelope>, Vec<Keypair>) =
            self.inputs.into_iter().map(|item| (item.input, item.key)).unzip();
        let outputs: Vec<OutputEnvelope> =
            self.outputs.into_iter().map(|item| item.output).collect();
        Transaction::new_signed(inputs, outputs, nonce, &keys)
    }

    fn sums(&self) -> Result<Sums, SubmitError> {
        let inputs = Msat::checked_sum(self.inputs.iter().map(|item| item.amount));
        let outputs = Msat::checked_sum(self.outputs.iter().map(|item| item.amount));
        let fees = self.inputs.iter().map(|item| item.fee);
        let fees = Msat::checked_sum(fees.chain(self.outputs.iter().map(|item| item.fee)));
        match (inputs, outputs, fees) {
            (Some(inputs), Some(outputs), Some(fees)) => Ok(Sums { inputs, outputs, fees }),
            _ => Err(SubmitError::Overflow),
        }
    }

    /// An upper bound of the encoded size.
    fn size_bytes(&self) -> usize {
        let inputs = self.inputs.iter().map(|item| item.input.to_bytes().len() + SIGNATURE_BYTES);
        let outputs = self.outputs.iter().map(|item| item.output.to_bytes().len());
        FRAME_BYTES + inputs.sum::<usize>() + outputs.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
    use moneta_core::id::ModuleInstanceId;

    use super::*;

    const INSTANCE: ModuleInstanceId = ModuleInstanceId::new(3);

    fn key(byte: u8) -> Keypair {
        let secret = SecretKey::from_slice(&[byte; 32]).unwrap();
        Keypair::from_secret_key(&Secp256k1::new(), &secret)
    }

    fn input(byte: u8, amount: u64, fee: u64) -> DraftInput {
        let input = InputEnvelope::from_raw(INSTANCE, vec![byte; 10]);
        DraftInput { input, amount: Msat(amount), fee: Msat(fee), key: key(byte) }
    }

    fn output(bytes: usize, amount: u64, fee: u64) -> DraftOutput {
        let output = OutputEnvelope::from_raw(INSTANCE, vec![9; bytes]);
        DraftOutput { output, amount: Msat(amount), fee: Msat(fee) }
    }

    #[test]
    fn own_items_come_first_and_every_input_is_signed() {
        let builder = Builder::new(vec![input(1, 10, 1)], vec![output(5, 100, 2)]);
        let imbalance = builder.imbalance().unwrap();
        assert_eq!((imbalance.inputs, imbalance.outputs_and_fees), (Msat(10), Msat(103)));
        let built =
            builder.complete(vec![input(2, 120, 3)], vec![output(5, 20, 4)], [7; 8]).unwrap();
        assert_eq!(built.fees, Msat(10));
        assert_eq!(built.own.inputs, IdxRange::from(0..1));
        assert_eq!(built.own.outputs, IdxRange::from(0..1));
        assert_eq!(built.balance.inputs, IdxRange::from(1..2));
        assert_eq!(built.balance.outputs, IdxRange::from(1..2));
        let keys: Vec<PublicKey> = [1, 2].map(|byte| key(byte).public_key()).to_vec();
        assert_eq!(built.transaction.verify_signatures(&keys), Ok(()));
        assert_eq!(built.own.txid, built.transaction.txid());
    }

    #[test]
    fn uncovered_fee_is_refused() {
        let builder = Builder::new(vec![input(1, 102, 1)], vec![output(5, 100, 2)]);
        let error = builder.complete(vec![], vec![], [0; 8]).unwrap_err();
        assert!(matches!(
            error,
            SubmitError::Insufficient { needed: Msat(103), available: Msat(102) }
        ));
    }

    #[test]
    fn overflow_is_refused() {
        let builder = Builder::new(vec![], vec![output(5, u64::MAX, 1)]);
        assert!(matches!(builder.imbalance(), Err(SubmitError::Overflow)));
    }

    #[test]
    fn announced_space_can_be_filled_and_not_exceeded() {
        let builder = Builder::new(vec![input(1, 0, 0)], vec![]);
        let space = builder.imbalance().unwrap().space_bytes;
        // An output of n bytes takes n + 4: instance, three bytes of length.
        let fits = builder.clone().complete(vec![], vec![output(space - 4, 0, 0)], [0; 8]);
        assert!(fits.unwrap().transaction.to_bytes().len() <= MAX_TX_SIZE_BYTES);
        let exceeds = builder.complete(vec![], vec![output(space + 16, 0, 0)], [0; 8]);
        assert!(matches!(exceeds, Err(SubmitError::TooLarge { .. })));
        let alone = Builder::new(vec![], vec![output(MAX_TX_SIZE_BYTES, 0, 0)]);
        assert!(matches!(alone.imbalance(), Err(SubmitError::TooLarge { .. })));
    }
}
