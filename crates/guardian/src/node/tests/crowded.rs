//! More is submitted than one session may hold.

use std::time::Duration;

use futures::future::join_all;

use super::restored::short_sessions;
use super::world::{Place, World};
use crate::engine::SESSION_LIMIT_BYTES;
use crate::node::Pace;
use crate::testing::{Coin, coin, transaction};
use moneta_core::{Encode, Transaction};

/// Transactions of some 45 kB.
fn large(number: u64) -> Transaction {
    let coins = |count: u64| -> Vec<Coin> {
        (0..count).map(|index| coin(((number + 1) << 32) + index, 0)).collect()
    };
    let size = |count| transaction(&[], &coins(count)).to_bytes().len() as u64;
    let transaction = transaction(&[], &coins(45_000 / (size(2) - size(1))));
    assert!((40_000..50_000).contains(&transaction.to_bytes().len()));
    transaction
}

/// Submits more than one session holds, a dozen at a time; all of it is accepted.
async fn crowd(world: &World) {
    let transactions: Vec<_> = (0..=SESSION_LIMIT_BYTES / 40_000).map(large).collect();
    for dozen in transactions.chunks(12) {
        let verdicts = join_all(dozen.iter().map(|it| world.submit(0, it))).await;
        for (transaction, verdict) in dozen.iter().zip(verdicts) {
            assert_eq!(verdict.unwrap().0, Ok(transaction.txid()));
        }
    }
}

async fn size(world: &World, session: u64) -> u64 {
    world.outcome(0, session).await.to_bytes().len() as u64
}

/// Everybody keeps a transaction for ever, and nothing limits those that cost nothing.
#[tokio::test(flavor = "multi_thread")]
async fn empty_transaction_is_not_taken() {
    let story = async {
        let world = World::alone(Place(9), short_sessions()).await;
        let refused = world.submit(0, &transaction(&[], &[])).await.unwrap_err();
        assert!(refused.to_string().contains("The transaction is empty"), "{refused}");
        let paid = transaction(&[coin(1, 500)], &[]);
        assert_eq!(world.submit(0, &paid).await.unwrap().0, Ok(paid.txid()));
        world.end().await;
    };
    tokio::time::timeout(Duration::from_secs(60), story).await.unwrap();
}

/// The engine has to postpone, since nothing ends the session before it is full. Nobody's transaction
/// is lost or refused for that.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_beyond_a_full_session_are_accepted_in_the_next() {
    let mut pace = Pace::test();
    pace.session_bytes = u64::MAX;
    pace.consensus.solo_max_age = Duration::from_secs(1000);
    pace.consensus.byte_budget = SESSION_LIMIT_BYTES as usize + 200_000;
    let story = async {
        let world = World::alone(Place(7), pace).await;
        crowd(&world).await;
        assert_eq!(world.sessions(0).await, 1);
        let size = size(&world, 0).await;
        assert!(
            (SESSION_LIMIT_BYTES - 50_000..=SESSION_LIMIT_BYTES + 10).contains(&size),
            "{size}"
        );
        world.end().await;
    };
    tokio::time::timeout(Duration::from_secs(120), story).await.unwrap();
}

/// A session is over well before the engine would have to postpone.
#[tokio::test(flavor = "multi_thread")]
async fn session_with_enough_in_it_ends_before_its_time() {
    let mut pace = Pace::test();
    pace.session_bytes = 1_000_000;
    pace.consensus.byte_budget = 64 << 20;
    pace.consensus.solo_max_age = Duration::from_secs(1000);
    let story = async {
        let world = World::alone(Place(8), pace).await;
        crowd(&world).await;
        world.await_sessions(0, 3).await;
        for session in 0..3 {
            let size = size(&world, session).await;
            assert!((1_000_000..2_000_000).contains(&size), "{session}: {size}");
        }
        world.end().await;
    };
    tokio::time::timeout(Duration::from_secs(120), story).await.unwrap();
}
