//! Times of the hot paths. `./dev bench micro [FILTER]` runs them.

use divan::Bencher;
use moneta_hot::{PATHS, batch_of, commit_to_disk, find, verify_items};

fn main() {
    divan::main();
}

#[divan::bench(args = PATHS.iter().map(|path| path.name))]
fn path(bencher: Bencher<'_, '_>, name: &str) {
    let Some(path) = find(name) else { return };
    let call = (path.prepare)();
    bencher.bench_local(call);
}

#[divan::bench(args = [1, 10, 100, 1000], sample_count = 20)]
fn verify_batch(bencher: Bencher<'_, '_>, size: usize) {
    let items = batch_of(size);
    bencher.counter(divan::counter::ItemsCount::new(size)).bench_local(|| verify_items(&items));
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn commit_disk(bencher: Bencher<'_, '_>) {
    let call = commit_to_disk();
    bencher.bench_local(call);
}
