//! Puts the results of `./dev bench full` into tables: `figures.md` and a picture.
//!
//! It measures nothing and needs nothing but the folders of the parts, so it can be run again at any time,
//! also over a run that is not complete: what is missing is said to be missing.

mod details;
mod goals;
mod parts;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use moneta_load::plot::latency_against_load;
use moneta_load::shape::Shape;

use parts::Parts;

/// Writes figures.md and latency.svg from the results of `./dev bench full`
#[derive(Parser)]
struct Flags {
    /// Where the parts lie, a folder each
    #[arg(long, value_name = "FOLDER", default_value = "target/bench/full")]
    parts: PathBuf,
    /// Where the page and the picture go
    #[arg(long, value_name = "FOLDER", default_value = "docs/performance")]
    out: PathBuf,
}

/// The picture, and the payments in it.
const PICTURE: &str = "latency.svg";
const PICTURE_SHAPE: Shape = Shape { inputs: 5, outputs: 5 };

fn main() -> Result<()> {
    let flags = Flags::parse();
    let parts = Parts::read(&flags.parts)?;
    fs::create_dir_all(&flags.out).with_context(|| format!("make {}", flags.out.display()))?;
    let picture = picture(&parts);
    write(&flags.out.join("figures.md"), &page(&parts, picture.is_some()))?;
    // A picture of an earlier run beside figures of this one would be believed.
    let path = flags.out.join(PICTURE);
    match picture {
        Some(picture) => write(&path, &picture),
        None if path.exists() => fs::remove_file(&path).context("remove the old picture"),
        None => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Latency against offered load, ours and the reference's in one.
fn picture(parts: &Parts) -> Option<String> {
    latency_against_load(&parts.side_by_side("load")?, PICTURE_SHAPE)
}

fn page(parts: &Parts, with_picture: bool) -> String {
    let mut text = String::from(
        "# Figures\n\nWritten by `./dev bench full`; what its words mean and where the time goes stands in \
         [performance.md](../performance.md). Do not edit: the next run replaces it.\n\n",
    );
    text.push_str(&details::origin(parts));
    text.push_str("\n## Goals\n\n");
    text.push_str(&goals::table(&goals::rows(parts)));
    if with_picture {
        text.push_str(&format!("\n## Latency against offered load\n\n![latency]({PICTURE})\n"));
    }
    text.push_str(&details::sections(parts));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_run_without_parts_says_that_nothing_was_measured() {
        let folder = tempfile::tempdir().unwrap();
        let page = page(&Parts::read(folder.path()).unwrap(), false);
        assert!(page.contains("| not measured |"), "{page}");
        assert!(!page.contains("| met |") && !page.contains(PICTURE), "{page}");
    }
}
