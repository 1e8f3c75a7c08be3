//! Writes the golden vectors into the corpora, so that fuzzing begins at real values.
//!
//! Every string of `docs/protocol/vectors` goes to every target as text, and as bytes where it is hex; the
//! fuzzing engine keeps what reaches new code. Prints how many files it wrote.

use std::{collections::BTreeSet, fs, io, path::Path};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Longer ones teach nothing that shorter ones do not, and slow every run down.
const MAX_SEED_BYTES: usize = 16_384;

fn main() -> io::Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = BTreeSet::new();
    for entry in fs::read_dir(fuzz.join("../docs/protocol/vectors"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            collect(&serde_json::from_slice(&fs::read(path)?)?, &mut seeds);
        }
    }
    for entry in fs::read_dir(fuzz.join("fuzz_targets"))? {
        let path = entry?.path();
        let Some(target) = path.file_stem() else { continue };
        let corpus = fuzz.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        for seed in &seeds {
            fs::write(corpus.join(hex::encode(&Sha256::digest(seed)[..10])), seed)?;
        }
    }
    println!("{} seeds for each target", seeds.len());
    Ok(())
}

fn collect(value: &Value, seeds: &mut BTreeSet<Vec<u8>>) {
    let mut keep = |bytes: Vec<u8>| {
        if (2..=MAX_SEED_BYTES).contains(&bytes.len()) {
            seeds.insert(bytes);
        }
    };
    match value {
        Value::String(text) => {
            if let Ok(bytes) = hex::decode(text) {
                keep(bytes);
            }
            keep(text.clone().into_bytes());
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, seeds)),
        Value::Object(fields) => {
            keep(value.to_string().into_bytes());
            fields.values().for_each(|value| collect(value, seeds));
        }
        _ => {}
    }
}
