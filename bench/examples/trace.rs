//! Where the time of payments goes (scratch).
#![allow(missing_docs, clippy::unwrap_used)]
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use anyhow::{Context, Result, bail};
use bitcoin::Amount;
use moneta::world::{Narrator, World, WorldOptions};
use moneta_client::driver::ActError;
use moneta_client::online::{Client, Wallet};
use moneta_core::{InviteCode, ModuleInstanceId, Msat};
use moneta_meta::client::MetaClientKind;
use moneta_mint::client::{MintClient, MintClientKind, SendProgress};
use moneta_mint::words::ECash;
use moneta_module::client::ClientKind;
use moneta_wallet::client::{AddressError, WalletClient, WalletClientKind};

fn kinds() -> Vec<Box<dyn ClientKind>> {
    vec![Box::new(MetaClientKind), Box::new(MintClientKind), Box::new(WalletClientKind)]
}
struct Member { _wallet: Wallet, client: Client, mint: ModuleInstanceId, wm: ModuleInstanceId }
async fn join(folder: &std::path::Path, invite: &InviteCode) -> Result<Member> {
    let wallet = Wallet::create(folder, kinds())?;
    let client = wallet.join(invite).await?;
    let find = |kind: &str| client.info().modules.iter().find(|(_, k)| k.as_str() == kind).map(|(i, _)| *i).unwrap();
    let (mint, wm) = (find("mintv2"), find("walletv2"));
    Ok(Member { _wallet: wallet, client, mint, wm })
}
fn ms(d: Duration) -> f64 { d.as_secs_f64() * 1e3 }
fn epoch() -> f64 { ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap()) }
fn pct(v: &mut [f64], p: f64) -> f64 { v.sort_by(f64::total_cmp); if v.is_empty() { return 0.0 } v[((v.len() as f64 * p).ceil() as usize).clamp(1, v.len()) - 1] }

fn cpu(pid: u32) -> f64 {
    let mut sum = 0.0;
    for t in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = std::fs::read_to_string(t.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0) / 1e6;
    }
    sum
}

#[tokio::main]
async fn main() -> Result<()> {
    let count: usize = std::env::args().nth(1).map_or(100, |a| a.parse().unwrap());
    let pause: u64 = std::env::args().nth(2).map_or(0, |a| a.parse().unwrap());
    let idle: u64 = std::env::args().nth(3).map_or(0, |a| a.parse().unwrap());
    let verbose = std::env::var("V").is_ok();
    let folder = tempfile::tempdir_in("/tmp/perf")?;
    let mut options = WorldOptions::in_dir(folder.path().join("world"))?;
    options.guardians = 4;
    if std::env::var("PROD").is_ok() { options.pace = moneta::world::Pace::Production; }
    let world = World::start(options, &mut Narrator::silent()).await?;
    let invite: InviteCode = world.invite.parse()?;
    let s = join(&folder.path().join("s"), &invite).await?;
    let r = join(&folder.path().join("r"), &invite).await?;
    let address = loop {
        match s.client.act::<WalletClient, _, _, _>(s.wm, |m, t| m.address(t)).await {
            Ok(a) => break a,
            Err(ActError::Action(AddressError::Searching { .. })) => {}
            Err(e) => bail!("{e}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    world.bitcoind.send(&address.to_string(), Amount::from_sat(1_000_000)).await?;
    world.bitcoind.mine(8).await?;
    while s.client.balance().await? == Msat::ZERO { tokio::time::sleep(Duration::from_millis(20)).await; }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut total, mut sends, mut receives, mut acts, mut acc, mut fin, mut tail, mut send_tx, mut ready) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    let pids: Vec<u32> = world.guardians.iter().filter_map(|g| g.pid()).collect();
    let mut cpu0 = (0.0, vec![]);
    for i in 0..count + 5 {
        if i == 5 { cpu0 = (cpu(std::process::id()), pids.iter().map(|p| cpu(*p)).collect()); }
        if pause > 0 { tokio::time::sleep(Duration::from_millis(pause)).await; }
        let t0 = Instant::now();
        let p = s.client.act::<MintClient, _, _, _>(s.mint, |m, t| m.send(t, Msat(1_234_000), None)).await.map_err(|e| anyhow::anyhow!("{e}"))?;
        let t_act = t0.elapsed();
        let mut pending = false;
        let ecash = match p {
            SendProgress::Ready { ecash, .. } => ecash.to_string(),
            SendProgress::Pending { operation } => {
                pending = true;
                let e = s.client.wait_operation(operation).await?;
                e.events.iter().find(|e| e.kind == "payment-send").and_then(|e| e.payload.get("ecash")?.as_str().map(str::to_owned)).context("no ecash")?
            }
        };
        let t_send = t0.elapsed();
        let ecash: ECash = ecash.parse()?;
        let n_notes = ecash.notes().count();
        let at = epoch();
        let t1 = Instant::now();
        let op = r.client.act::<MintClient, _, _, _>(r.mint, move |m, t| m.receive(t, &ecash)).await.map_err(|e| anyhow::anyhow!("{e}"))?;
        let t_ract = t1.elapsed();
        let ended = r.client.wait_operation(op).await?;
        let t_recv = t1.elapsed();
        let find = |k: &str| ended.events.iter().find(|e| e.kind == k).map_or(0.0, |e| e.at.0 as f64 - at);
        let (a, f) = (find("tx-accepted"), find("payment-receive-update"));
        if verbose { println!("{i:3} {} notes {n_notes:2} send-act {:6.1} send {:6.1} | recv-act {:6.1} accepted-at {a:6.1} settled-at {f:6.1} done {:6.1} | total {:6.1}", if pending {"TX"} else {"  "}, ms(t_act), ms(t_send), ms(t_ract), ms(t_recv), ms(t0.elapsed())); }
        if i < 5 { continue }
        total.push(ms(t0.elapsed())); sends.push(ms(t_send)); receives.push(ms(t_recv)); acts.push(ms(t_ract));
        acc.push(a - ms(t_ract)); fin.push(f - a); tail.push(ms(t_recv) - f);
        if pending { send_tx.push(ms(t_send)) } else { ready.push(ms(t_send)) }
    }
    println!("cpu per payment: wallets {:.1} ms, guardians {:?}", (cpu(std::process::id()) - cpu0.0) / count as f64, pids.iter().zip(&cpu0.1).map(|(p, c)| ((cpu(*p) - c) / count as f64 * 10.0).round() / 10.0).collect::<Vec<_>>());
    for (name, v) in [("total", &mut total), ("send", &mut sends), ("  send by tx", &mut send_tx), ("  send from stock", &mut ready), ("receive", &mut receives), ("  act", &mut acts), ("  act..accepted", &mut acc), ("  accepted..settling turn", &mut fin), ("  turn..returned", &mut tail)] {
        println!("{name:28} n {:4} median {:7.1} p90 {:7.1} p99 {:7.1} max {:7.1}", v.len(), pct(v, 0.5), pct(v, 0.9), pct(v, 0.99), pct(v, 1.0));
    }
    s.client.shutdown().await; r.client.shutdown().await;
    for g in &world.guardians { if let Some(p) = g.pid() { println!("pid {} {p}", g.peer_id()); } }
    if idle > 0 { tokio::time::sleep(Duration::from_secs(idle)).await; }
    world.stop().await
}
