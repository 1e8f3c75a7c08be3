//! How the cost of a payment grows with the notes spent before it, by replaying the engine over filled
//! stores. `./dev bench growth` runs it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use moneta_core::ModuleInstanceId;
use moneta_hot::fill::{SPENT_STEP, append_strangers, fill_payments, spent_notes};
use moneta_hot::grown::{Grown, measure};
use moneta_store::Disk;

/// Fills stores of a guardian on disk up to so many spent notes, and measures payments of five notes in
/// and five out over each
#[derive(Parser)]
struct Flags {
    /// Spent notes; each is rounded up to whole sessions of 5000
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000,5000000")]
    sizes: Vec<u64>,
    /// Payments measured at each size
    #[arg(long, default_value_t = 500)]
    payments: usize,
    /// Where filled stores are kept for the next time: 2 to 3 kB per spent note, and once more for the copy
    /// that is measured
    #[arg(long, value_name = "FOLDER", default_value = "target/bench/growth")]
    dir: PathBuf,
    /// Where growth.json and growth.md go
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Measure this store and print the figures; its payments are in it afterwards
    #[arg(long, value_name = "STORE", hide = true)]
    measure: Option<PathBuf>,
    /// Append items of strangers to the recovery log of a mint in this store of a stopped guardian
    #[arg(long, value_name = "STORE", hide = true, requires_all = ["instance", "items"])]
    append_log: Option<PathBuf>,
    /// The mint's number among the federation's modules
    #[arg(long, hide = true)]
    instance: Option<u16>,
    /// How many items
    #[arg(long, hide = true)]
    items: Option<u64>,
}

/// The same at every guardian, or no two would agree on their logs.
const LOG_SEED: u64 = 1;

fn main() -> Result<()> {
    let mut flags = Flags::parse();
    if let Some(store) = &flags.measure {
        println!("{}", serde_json::to_string(&measure(store, flags.payments)?)?);
        return Ok(());
    }
    if let (Some(path), Some(instance), Some(items)) =
        (&flags.append_log, flags.instance, flags.items)
    {
        let store = Disk::open(path).context("open the guardian's store")?.into_store();
        append_strangers(&store, ModuleInstanceId(instance), items, LOG_SEED)?;
        return Ok(());
    }
    flags.sizes.sort_unstable();
    flags.sizes.dedup();
    let mut found = Vec::new();
    let mut smaller = None;
    for size in &flags.sizes {
        let store = filled(&flags.dir, *size, smaller.as_deref())?;
        found.push(measure_copy(&store, flags.payments)?);
        smaller = Some(store);
        // After each, so that an interrupted run leaves what it has.
        write(&flags, &found)?;
    }
    print!("{}", to_table(&found));
    Ok(())
}

/// The store with so many spent notes: the one of an earlier run, or filled from the next smaller one.
fn filled(folder: &Path, size: u64, smaller: Option<&Path>) -> Result<PathBuf> {
    let size = size.div_ceil(SPENT_STEP) * SPENT_STEP;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join(format!("spent-{size}.db"));
    let filling = folder.join(format!("spent-{size}.filling"));
    if path.exists() {
        eprintln!("{size} spent notes: {} is there", path.display());
        return Ok(path);
    }
    let began = Instant::now();
    if let Some(smaller) = smaller.filter(|_| !filling.exists()) {
        // Under another name, so that half a copy is not taken for a store.
        let copying = folder.join("copying");
        copy(smaller, &copying).context("copy the smaller store")?;
        rename(&copying, &filling).context("name the copy")?;
    }
    let store = Disk::open_or_create(&filling).context("open the store")?.into_store();
    eprintln!("{size} spent notes: filling, {} are there", spent_notes(&store)?);
    fill_payments(&store, size, |spent| {
        eprintln!("   {spent} after {:.0} s", began.elapsed().as_secs_f64());
    })?;
    ensure!(spent_notes(&store)? == size, "the store in {} holds others", filling.display());
    drop(store);
    rename(&filling, &path).context("name the filled store")?;
    Ok(path)
}

/// Copies a store, and waits until the copy is on the disk: what it left to be written would be measured.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for (from, to) in Disk::files(from).iter().zip(Disk::files(to)) {
        fs::copy(from, &to)?;
        fs::File::open(&to)?.sync_all()?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    Disk::files(from).iter().zip(Disk::files(to)).try_for_each(|(from, to)| fs::rename(from, to))
}

/// Measures in a process of its own, since memory counts.
fn measure_copy(store: &Path, payments: usize) -> Result<Grown> {
    let copy = store.with_extension("measured");
    self::copy(store, &copy).context("copy the store")?;
    let program = std::env::current_exe().context("find this program")?;
    let output = Command::new(program)
        .arg("--measure")
        .arg(&copy)
        .args(["--payments", &payments.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start the measurement")?;
    Disk::files(&copy).iter().try_for_each(fs::remove_file).context("remove the measured copy")?;
    ensure!(output.status.success(), "the measurement failed: {}", output.status);
    let grown: Grown = serde_json::from_slice(&output.stdout).context("read the figures")?;
    eprintln!("   measured: {:.0} us a payment", grown.payment_us());
    Ok(grown)
}

fn write(flags: &Flags, found: &[Grown]) -> Result<()> {
    let Some(folder) = &flags.out else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(folder.join("growth.json"), serde_json::to_string_pretty(found)?)
        .and_then(|()| fs::write(folder.join("growth.md"), to_table(found)))
        .with_context(|| format!("write into {}", folder.display()))
}

/// The figures in Markdown, and what they say in a sentence.
fn to_table(found: &[Grown]) -> String {
    let mut table = String::from(
        "| Spent notes | a payment | checks and signing | rules and look-ups | commit | commit p90, ten \
         payments | written per payment | store | opening it | memory |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for grown in found {
        let _ = writeln!(
            table,
            "| {} | {:.0} us | {:.0} us | {:.0} us | {:.0} us | {:.1} ms | {:.1} kB | {:.1} MB | {:.0} ms | {:.0} MB |",
            grown.spent_notes,
            grown.payment_us(),
            grown.prepare_us,
            grown.process_us,
            grown.commit_us,
            grown.commit_p90_ms,
            grown.written_bytes / 1e3,
            grown.store_bytes as f64 / 1e6,
            grown.open_ms,
            grown.memory_bytes as f64 / 1e6,
        );
    }
    if let (Some(first), Some(last)) = (found.first(), found.last())
        && found.len() > 1
    {
        let _ = writeln!(
            table,
            "\nFrom {} to {} spent notes a payment costs {:.2} times as much; the part of it that depends on the \
             store, look-ups and commit, {:.2} times.",
            first.spent_notes,
            last.spent_notes,
            last.payment_us() / first.payment_us(),
            last.state_us() / first.state_us(),
        );
    }
    table
}
