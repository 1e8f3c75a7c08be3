//! Direction two: four released `fedimintd`, our wallet.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use moneta::world::{Narrator, World};

use crate::{
    fedimint_cli::FedimintCli,
    steps::{self, DEPOSIT, PAYMENT, REPAYMENT, WITHDRAWAL, balance},
};

/// Runs the direction in `dir` with the programs in `reference`.
///
/// Errors: the first step that fails. Everything started is ended.
pub(crate) async fn run(dir: &Path, reference: &Path, narrator: &mut Narrator) -> Result<()> {
    let options = steps::options(dir, Some(&reference.join("fedimintd")))?;
    let world = World::start(options, narrator).await?;
    // Dropping the world ends it; with which status released guardians leave is their own affair.
    tell(&world, reference, narrator).await
}

async fn tell(world: &World, reference: &Path, narrator: &mut Narrator) -> Result<()> {
    let ours = world.wallet("ours")?;
    let theirs = FedimintCli::new(reference, &world.dir().join("theirs"))?;

    narrator.begin("moneta and fedimint-cli join");
    ours.run(&["join", &world.invite]).await?;
    theirs.join(&world.invite).await?;
    narrator.done("both have the federation's config");

    narrator.begin(&format!("moneta deposits {DEPOSIT}"));
    let mut deposit = ours.start(&["deposit"])?;
    let first = deposit.next_report().await?.context("moneta deposit printed no address")?;
    steps::pay_and_bury(world, steps::text(&first, "address")?, DEPOSIT).await?;
    deposit.finish().await?;
    let deposited = balance(&ours).await?;
    narrator.done(&format!("{deposited} msat"));

    narrator.begin(&format!("moneta sends {PAYMENT}, fedimint-cli receives"));
    let sent = ours.run(&["send", &PAYMENT.to_sat().to_string()]).await?;
    let before = theirs.balance().await?;
    theirs.receive(steps::text(&sent, "ecash")?).await?;
    let gained = theirs.balance().await? - before;
    steps::ensure_about(gained, PAYMENT)?;
    narrator.done(&format!("fedimint-cli gained {gained} msat"));

    narrator.begin(&format!("fedimint-cli sends {REPAYMENT}, moneta receives"));
    let ecash = theirs.send(REPAYMENT).await?;
    let before = balance(&ours).await?;
    ours.run(&["receive", &ecash]).await?;
    let gained = balance(&ours).await? - before;
    steps::ensure_about(gained, REPAYMENT)?;
    narrator.done(&format!("moneta gained {gained} msat"));

    narrator.begin("The same e-cash a second time is refused");
    ensure!(ours.run(&["receive", &ecash]).await.is_err(), "moneta took spent e-cash");
    ensure!(balance(&ours).await? == before + gained, "the refusal changed the balance");
    narrator.done("the balance stays");

    narrator.begin(&format!("moneta withdraws {WITHDRAWAL}"));
    let address = world.bitcoind.new_address().await?;
    let amount = WITHDRAWAL.to_sat().to_string();
    ours.run(&["withdraw", &address.to_string(), &amount, "--yes"]).await?;
    steps::confirm_withdrawal(world, &address, WITHDRAWAL).await?;
    narrator.done("the address got the amount");

    narrator.begin("moneta recovers from its 12 words in a new folder");
    let before = balance(&ours).await?;
    let words = ours.run(&["words"]).await?;
    let restored = world.wallet("restored")?;
    let words = steps::text(&words, "words")?;
    restored.run_with_input(&["recover", &world.invite], words).await?;
    let found = balance(&restored).await?;
    ensure!(found == before, "recovery found {found} msat of {before}");
    narrator.done(&format!("{found} msat, every note of the first folder"));

    let surplus = steps::ensure_solvent(world).await?;
    narrator.note(&format!("the federation's surplus: {surplus} msat"));
    Ok(())
}
