//! The double of the bitcoin network: a chain that grows, takes any transaction whose inputs exist, and
//! now and then replaces its last blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, absolute, transaction,
};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _};

/// The deepest reorganisation: below the finality delay of six.
const REORG_BLOCKS_MAX: usize = 5;

/// The chain and what waits to get into it.
pub struct Chain {
    blocks: Vec<Arc<Block>>,
    /// Parents before children.
    mempool: Vec<Transaction>,
    /// Transactions of strangers, whose inputs come from nowhere.
    foreign: BTreeSet<Txid>,
    /// Everything that was ever relayed or mined.
    known: BTreeMap<Txid, Transaction>,
    made: u64,
}

impl Chain {
    /// A chain of a few empty blocks.
    pub fn new() -> Self {
        let mut chain = Self {
            blocks: Vec::new(),
            mempool: Vec::new(),
            foreign: BTreeSet::new(),
            known: BTreeMap::new(),
            made: 0,
        };
        for _ in 0..10 {
            chain.push_block(Vec::new());
        }
        chain
    }

    /// Tip height plus one.
    pub fn block_count(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The block at a height.
    pub fn block(&self, height: u64) -> Option<Arc<Block>> {
        self.blocks.get(height as usize).cloned()
    }

    /// Whether anything waits for a block.
    pub fn is_idle(&self) -> bool {
        self.mempool.is_empty()
    }

    /// A stranger pays `value` to `script`.
    pub fn pay(&mut self, script: ScriptBuf, value: Amount, rng: &mut StdRng) -> OutPoint {
        let mut from = [0; 32];
        rng.fill_bytes(&mut from);
        let previous_output = OutPoint { txid: Txid::from_byte_array(from), vout: 0 };
        let input = TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        // In front of the payment, an output that nobody looks at.
        let other =
            TxOut { value: Amount::from_sat(1), script_pubkey: ScriptBuf::from(vec![0x6a]) };
        let payment = TxOut { value, script_pubkey: script };
        let transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![input],
            output: vec![other, payment],
        };
        let txid = transaction.compute_txid();
        self.foreign.insert(txid);
        self.known.insert(txid, transaction.clone());
        self.mempool.push(transaction);
        OutPoint { txid, vout: 1 }
    }

    /// Takes a transaction of the federation. One that is known is ignored, and so is one whose parent is
    /// not: signatures of the parent may still be on their way, and guardians broadcast again. If the
    /// parent never comes, the federation's pending transactions never end, and neither does the simulation.
    ///
    /// Errors: what is wrong with it.
    pub fn broadcast(&mut self, transaction: &Transaction) -> Result<(), String> {
        let txid = transaction.compute_txid();
        if self.known.contains_key(&txid) {
            return Ok(());
        }
        let mut spent = Amount::ZERO;
        for input in &transaction.input {
            let OutPoint { txid: parent, vout } = input.previous_output;
            let Some(parent) = self.known.get(&parent) else { return Ok(()) };
            let output = parent.output.get(vout as usize);
            spent += output.ok_or(format!("{txid} spends a missing output"))?.value;
            let spender = self.spender(input.previous_output);
            if let Some(other) = spender {
                return Err(format!("{txid} spends what {other} has spent"));
            }
            if input.witness.len() < 4 {
                return Err(format!("{txid} lacks signatures"));
            }
        }
        let created: Amount = transaction.output.iter().map(|output| output.value).sum();
        if created > spent {
            return Err(format!("{txid} creates money"));
        }
        self.known.insert(txid, transaction.clone());
        self.mempool.push(transaction.clone());
        Ok(())
    }

    fn spender(&self, coin: OutPoint) -> Option<Txid> {
        let spends = |tx: &&Transaction| tx.input.iter().any(|input| input.previous_output == coin);
        self.known.values().find(spends).map(Transaction::compute_txid)
    }

    /// Mines a block with some of what waits.
    pub fn mine(&mut self, rng: &mut StdRng) {
        let mut left = Vec::new();
        let mut taken = Vec::new();
        for transaction in std::mem::take(&mut self.mempool) {
            let waits_for = |parent: &Transaction| {
                let parent = parent.compute_txid();
                transaction.input.iter().any(|input| input.previous_output.txid == parent)
            };
            if left.iter().any(waits_for) || rng.gen_bool(0.2) {
                left.push(transaction);
            } else {
                taken.push(transaction);
            }
        }
        self.mempool = left;
        self.push_block(taken);
    }

    /// Replaces the last blocks by one block more.
    pub fn reorganise(&mut self, rng: &mut StdRng) {
        let depth = rng.gen_range(1..=REORG_BLOCKS_MAX);
        let gone = self.blocks.split_off(self.blocks.len() - depth);
        let mut again: Vec<Transaction> =
            gone.iter().flat_map(|block| block.txdata[1..].iter().cloned()).collect();
        again.append(&mut self.mempool);
        self.mempool = again;
        for _ in 0..=depth {
            self.mine(rng);
        }
    }

    /// The sum of what mined transactions pay to a script.
    pub fn received(&self, script: &ScriptBuf) -> Amount {
        let transactions = self.blocks.iter().flat_map(|block| &block.txdata);
        let outputs = transactions.flat_map(|transaction| &transaction.output);
        outputs.filter(|output| output.script_pubkey == *script).map(|output| output.value).sum()
    }

    /// The value of a mined coin that nothing spends.
    pub fn unspent(&self, coin: OutPoint) -> Option<Amount> {
        let mut transactions = self.blocks.iter().flat_map(|block| &block.txdata);
        let parent = transactions.find(|transaction| transaction.compute_txid() == coin.txid)?;
        let value = parent.output.get(coin.vout as usize)?.value;
        self.spender(coin).is_none().then_some(value)
    }

    fn push_block(&mut self, transactions: Vec<Transaction>) {
        self.made += 1;
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: ScriptBuf::from(self.made.to_le_bytes().to_vec()),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from(vec![0x51]) }],
        };
        let previous =
            self.blocks.last().map_or(BlockHash::all_zeros(), |block| block.block_hash());
        let header = Header {
            version: Version::TWO,
            prev_blockhash: previous,
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.made as u32,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let txdata = [coinbase].into_iter().chain(transactions).collect();
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().expect("a block has a coinbase");
        self.blocks.push(Arc::new(block));
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}
