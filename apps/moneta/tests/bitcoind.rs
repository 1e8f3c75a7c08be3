//! The Bitcoin node of the local world, with a real bitcoind.

#![allow(clippy::unwrap_used, missing_docs)]

use bitcoin::Amount;
use moneta::world::{Bitcoind, find_bitcoind};

#[tokio::test]
async fn coins_and_chain_survive_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let program = find_bitcoind().unwrap();
    let mut bitcoind = Bitcoind::start(&program, &folder.path().join("node")).await.unwrap();
    assert_eq!(bitcoind.mine(101).await.unwrap().len(), 101);

    let address = bitcoind.new_address().await.unwrap();
    let amount = Amount::from_sat(12_345);
    bitcoind.send(&address.to_string(), amount).await.unwrap();
    bitcoind.mine(1).await.unwrap();
    assert_eq!(bitcoind.received(&address).await.unwrap(), amount);

    let report = bitcoind.report();
    bitcoind.stop().await.unwrap();
    bitcoind.restart().await.unwrap();
    assert_eq!(bitcoind.height().await.unwrap(), 102);
    bitcoind.kill();
    bitcoind.restart().await.unwrap();
    assert_eq!(bitcoind.report(), report);
    bitcoind.mine(1).await.unwrap();
}

#[tokio::test]
async fn refused_call_says_what_bitcoind_said() {
    let folder = tempfile::tempdir().unwrap();
    let program = find_bitcoind().unwrap();
    let bitcoind = Bitcoind::start(&program, folder.path()).await.unwrap();
    let error = bitcoind.send("not an address", Amount::ONE_SAT).await.unwrap_err();
    assert!(format!("{error:#}").contains("Invalid"), "{error:#}");
}

#[tokio::test]
async fn password_is_not_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let bitcoind = Bitcoind::start(&find_bitcoind().unwrap(), folder.path()).await.unwrap();
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    let command_line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command_line.contains("-datadir="), "{command_line}");
    assert!(!command_line.contains(&bitcoind.report().password));
}
