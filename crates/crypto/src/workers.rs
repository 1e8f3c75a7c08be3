//! Splits work over a few threads, or none.

use std::panic::resume_unwind;
use std::thread;

/// Maps contiguous chunks of `items` to results, in order, on up to `workers` threads.
///
/// With 0 or 1 workers, or fewer than `chunk_min` items per worker, everything runs on the calling
/// thread; so it does where threads cannot be started (the browser).
pub(crate) fn map_chunks<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    chunk_min: usize,
    work: impl Fn(&[T]) -> R + Sync,
) -> Vec<R> {
    let workers = workers.min(items.len() / chunk_min.max(1)).max(1);
    if workers == 1 {
        return vec![work(items)];
    }
    let work = &work;
    thread::scope(|scope| {
        let mut chunks = items.chunks(items.len().div_ceil(workers));
        let own = chunks.next().unwrap_or_default();
        let others: Vec<_> = chunks
            .map(|chunk| (chunk, thread::Builder::new().spawn_scoped(scope, move || work(chunk))))
            .collect();
        let mut results = vec![work(own)];
        for (chunk, thread) in others {
            results.push(match thread {
                Ok(handle) => handle.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => work(chunk),
            });
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_in_order_and_cover_everything() {
        let items: Vec<u32> = (0..101).collect();
        for workers in [0, 1, 2, 3, 200] {
            let parts = map_chunks(&items, workers, 1, <[u32]>::to_vec);
            assert_eq!(parts.concat(), items, "{workers} workers");
        }
        assert_eq!(map_chunks(&items, 8, 60, <[u32]>::len), [101], "too few items to split");
        assert_eq!(map_chunks(&[], 4, 1, <[u32]>::len), [0]);
    }
}
