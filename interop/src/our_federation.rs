//! Direction one: four `monetad`, the reference's client.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use moneta::world::{Guardian, Narrator, World};
use serde_json::json;

use crate::{
    fedimint_cli::FedimintCli,
    steps::{self, PAYMENT, REPAYMENT, WITHDRAWAL},
};

/// Guardians that agree: three of four.
const THRESHOLD: u16 = 3;

/// Runs the direction in `dir` with the programs in `reference`.
///
/// Errors: the first step that fails. Everything started is ended.
pub(crate) async fn run(dir: &Path, reference: &Path, narrator: &mut Narrator) -> Result<()> {
    let options = steps::options(dir, None)?;
    let operator = FedimintCli::new(reference, &dir.join("operator"))?;
    let world = World::start_with(options, narrator, async |guardians, name| {
        hold_ceremony(&operator, guardians, name).await
    })
    .await?;
    tell(&world, reference, narrator).await?;
    narrator.begin("End everything");
    world.stop().await?;
    narrator.done("all guardians left with exit status 0");
    Ok(())
}

/// The ceremony, every step of it by `fedimint-cli admin setup`.
async fn hold_ceremony(
    operator: &FedimintCli,
    guardians: &[Guardian],
    federation_name: &str,
) -> Result<()> {
    let size = guardians.len().to_string();
    let codes = try_join_all(guardians.iter().map(async |guardian| {
        let mut step = vec!["set-local-params", guardian.name()];
        if guardian.peer_id() == 0 {
            step.extend(["--federation-name", federation_name, "--federation-size", &size]);
        }
        let code = operator.setup(guardian, &step).await?;
        code.as_str().map(str::to_owned).with_context(|| format!("no setup code in {code}"))
    }))
    .await?;
    for guardian in guardians {
        for (other, code) in codes.iter().enumerate() {
            if other != usize::from(guardian.peer_id()) {
                operator.setup(guardian, &["add-peer", code]).await?;
            }
        }
    }
    try_join_all(guardians.iter().map(|guardian| operator.setup(guardian, &["start-dkg"]))).await?;
    Ok(())
}

async fn tell(world: &World, reference: &Path, narrator: &mut Narrator) -> Result<()> {
    let first = FedimintCli::new(reference, &world.dir().join("first"))?;
    let second = FedimintCli::new(reference, &world.dir().join("second"))?;
    let ours = world.wallet("ours")?;

    narrator.begin("Two of fedimint-cli and one moneta join by our invite");
    first.join(&world.invite).await?;
    second.join(&world.invite).await?;
    ours.run(&["join", &world.invite]).await?;
    narrator.done("all have the federation's config");

    narrator.begin(&format!("fedimint-cli deposits {}", steps::DEPOSIT));
    let address = first.deposit_address().await?;
    steps::pay_and_bury(world, &address, steps::DEPOSIT).await?;
    first.await_first_deposit().await?;
    let deposited = first.balance().await?;
    let least = steps::DEPOSIT.to_sat() * 1000 * 99 / 100;
    ensure!(deposited >= least, "{deposited} msat came of the deposit, not even {least}");
    narrator.done(&format!("{deposited} msat"));

    narrator.begin(&format!("fedimint-cli pays {PAYMENT} to another of its clients"));
    let ecash = first.send(PAYMENT).await?;
    second.receive(&ecash).await?;
    let gained = second.balance().await?;
    steps::ensure_about(gained, PAYMENT)?;
    narrator.done(&format!("the other has {gained} msat"));

    narrator.begin("The same e-cash a second time is refused");
    ensure!(second.receive(&ecash).await.is_err(), "spent e-cash was taken");
    ensure!(second.balance().await? == gained, "the refusal changed the balance");
    narrator.done("the balance stays");

    narrator.begin(&format!("fedimint-cli pays {PAYMENT} to moneta"));
    let ecash = first.send(PAYMENT).await?;
    ours.run(&["receive", &ecash]).await?;
    let gained = steps::balance(&ours).await?;
    steps::ensure_about(gained, PAYMENT)?;
    narrator.done(&format!("moneta has {gained} msat"));

    narrator.begin(&format!("moneta pays {REPAYMENT} to fedimint-cli"));
    let before = second.balance().await?;
    let sent = ours.run(&["send", &REPAYMENT.to_sat().to_string()]).await?;
    second.receive(steps::text(&sent, "ecash")?).await?;
    let gained = second.balance().await? - before;
    steps::ensure_about(gained, REPAYMENT)?;
    narrator.done(&format!("fedimint-cli gained {gained} msat"));

    narrator.begin(&format!("fedimint-cli withdraws {WITHDRAWAL}, twice in a row"));
    withdraw(world, &first, 2).await?;
    narrator.done("both addresses got the amount");

    narrator.begin("Guardians agree on metadata through fedimint-cli");
    let agreed = json!({"federation_name": "Ours", "welcome_message": "hello"});
    for peer in 0..THRESHOLD {
        first.submit_meta(peer, &world.admin_password, &agreed).await?;
    }
    let value = steps::await_value(async || first.meta().await).await?;
    ensure!(value["value"] == agreed, "the guardians agreed on {value}");
    narrator.done(&value.to_string());

    narrator.begin("fedimint-cli restores from its words");
    let before = first.balance().await?;
    let restored = FedimintCli::new(reference, &world.dir().join("restored"))?;
    restored.restore(&world.invite, &first.words().await?).await?;
    let found = restored.balance().await?;
    ensure!(found == before, "restoring found {found} msat of {before}");
    narrator.done(&format!("{found} msat, all there was"));

    let surplus = steps::ensure_solvent(world).await?;
    narrator.note(&format!("the federation's surplus: {surplus} msat"));
    Ok(())
}

async fn withdraw(world: &World, client: &FedimintCli, times: usize) -> Result<()> {
    let mut addresses = Vec::new();
    for _ in 0..times {
        let address = world.bitcoind.new_address().await?;
        client.withdraw(&address, WITHDRAWAL).await?;
        addresses.push(address);
    }
    for address in addresses {
        steps::confirm_withdrawal(world, &address, WITHDRAWAL).await?;
    }
    Ok(())
}
