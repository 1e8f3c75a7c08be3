//! The bitcoin chain of the scenario.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::Block;
use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use moneta_module::server::Facts;

use crate::vectors::{Case, bytes, number};

/// All that a guardian's chain source would ever answer. Blocks that the case does not spell out
/// hold nothing of interest and stay empty.
pub(crate) fn facts(case: &Case) -> Facts {
    let headers = case.input["headers"].as_array().unwrap();
    let empty = |header| {
        let header: Header = deserialize(&bytes(header)).unwrap();
        Arc::new(Block { header, txdata: Vec::new() })
    };
    let mut blocks: BTreeMap<u64, Arc<Block>> = (0..).zip(headers.iter().map(empty)).collect();
    for entry in case.input["blocks_hex_nonempty"].as_array().unwrap() {
        let block: Block = deserialize(&bytes(&entry[1])).unwrap();
        let former = blocks.insert(number(&entry[0]), Arc::new(block.clone()));
        assert_eq!(former.unwrap().header, block.header);
    }
    Facts { block_count: Some(number(&case.input["block_count_of_the_backend"])), blocks }
}
