//! Ordered byte store with snapshots, one writer and durable atomic commits.
