//! Bounded memory of finished work: verdicts, signature shares, decoded points.
//!
//! A cache changes no answer. Only positive verdicts are kept, under everything they depend on.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A map that forgets its older half when it is full.
///
/// Two generations: what is asked for moves to the younger, and once that is full it becomes the
/// older one.
pub struct Cache<K, V> {
    generations: Mutex<Generations<K, V>>,
    generation_max: usize,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Copy> Cache<K, V> {
    /// Holds at most `entries_max` entries.
    pub fn new(entries_max: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations), generation_max: (entries_max / 2).max(1) }
    }

    /// What was kept under `key`, unless it is forgotten.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut generations = self.lock();
        if let Some(value) = generations.young.get(key) {
            return Some(*value);
        }
        let (key, value) = generations.old.remove_entry(key)?;
        self.put(&mut generations, key, value);
        Some(value)
    }

    /// Keeps a value.
    pub fn insert(&self, key: K, value: V) {
        self.put(&mut self.lock(), key, value);
    }

    /// Whether something is kept under `key`.
    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    fn put(&self, generations: &mut Generations<K, V>, key: K, value: V) {
        if generations.young.len() >= self.generation_max {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K, V>> {
        // A thread that panicked here left at worst an entry out, which a cache may.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(10);
        for key in 0..1000 {
            cache.insert(key, ());
            cache.insert(5000, ());
            let generations = cache.lock();
            assert!(generations.young.len() + generations.old.len() <= 10);
        }
        assert!(cache.contains(&5000));
        assert!(!cache.contains(&0));
    }
}
