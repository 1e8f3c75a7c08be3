//! Where the figures are from, and the whole of what each part found.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::parts::{Facts, Parts};

/// Parts whose text is made anew, ours and the reference's in one table.
const SIDE_BY_SIDE: [(&str, &str); 3] = [
    ("load", "Prepared payments: one down, throughput, load, waiting wallets"),
    ("links", "Slow links"),
    ("idle", "Idle"),
];

/// Parts whose own text is shown, with the file that holds it.
const AS_WRITTEN: [(&str, &str, &str); 16] = [
    ("wallet", "Payments between wallets", "report.md"),
    ("wallet-reference", "Payments between wallets, the reference", "report.md"),
    ("recovery", "Recovery", "report.md"),
    ("recovery-reference", "Recovery, the reference", "report.md"),
    ("sync", "Replay of sessions", "report.md"),
    ("sync-reference", "Replay of sessions, the reference", "report.md"),
    ("sync-20", "Replay of full sessions", "report.md"),
    ("growth", "Growth with spent notes", "growth.md"),
    ("guardians", "Guardians", "report.md"),
    ("guardians-reference", "Guardians, the reference", "report.md"),
    ("long", "Long load", "report.md"),
    ("long-reference", "Long load, the reference", "report.md"),
    ("long-10", "Long load that the reference does not reach", "report.md"),
    ("shapes", "Other payments", "report.md"),
    ("micro", "Hot paths, times", "out.txt"),
    ("gate", "Hot paths, instructions", "out.txt"),
];

/// Parts that only a thorough run has, beside the long ones.
const OPTIONAL: [&str; 5] =
    ["micro", "shapes", "sync-20", "guardians-reference", "recovery-reference"];

/// Machine, versions and how each part was measured.
pub(crate) fn origin(parts: &Parts) -> String {
    let all = |pick: fn(&Facts) -> &str| {
        let values: BTreeSet<&str> = parts.iter().map(|(_, part)| pick(&part.facts)).collect();
        let values: Vec<&str> = values.into_iter().filter(|value| *value != "none").collect();
        if values.is_empty() { "-".to_owned() } else { values.join("; ") }
    };
    let mut text = format!(
        "| | |\n|---|---|\n| Machine | {}, {} cores, {}, {} |\n| Commit | {} |\n| Profile of our programs | {} |\n\
         | Compiler | {} |\n| Reference | {} |\n| Size of the run | {} |\n",
        all(|facts| &facts.processor),
        all(|facts| &facts.cores),
        all(|facts| &facts.memory),
        all(|facts| &facts.kernel),
        all(|facts| &facts.commit),
        all(|facts| &facts.profile),
        all(|facts| &facts.rustc),
        all(|facts| &facts.reference),
        all(|facts| &facts.size),
    );
    if all(|facts| &facts.commit).contains(';') {
        text.push_str(
            "\nNot all parts were measured on the same commit; the list at the end says which.\n",
        );
    }
    if parts.iter().any(|(_, part)| part.facts.size == "try") {
        text.push_str("\n**A try of seconds per part: these figures say nothing.**\n");
    }
    text
}

/// A section per part, and the list of parts.
pub(crate) fn sections(parts: &Parts) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (name, title) in SIDE_BY_SIDE {
        let found = parts.side_by_side(name).map(|report| report.to_text());
        let _ = writeln!(text, "\n## {title}\n\n{}", shown(found));
    }
    for (name, title, file) in AS_WRITTEN {
        let found = parts.text(name, file);
        // Parts that only a thorough run has are left out elsewhere.
        if found.is_none() && (OPTIONAL.contains(&name) || name.starts_with("long")) {
            continue;
        }
        let found = found.map(|found| match file {
            "out.txt" => format!("```\n{}\n```", found.trim_end()),
            _ => found,
        });
        let _ = writeln!(text, "\n## {title}\n\n{}", shown(found));
    }
    text.push_str("\n## Parts\n\n");
    text.push_str(
        "Load average is that of the minute before the part, which the part before it has a share in.\n\n\
         | Part | began | took | size | commit | profile | load average before |\n|---|---|---|---|---|---|---|\n",
    );
    for (name, part) in parts.iter() {
        let Facts { began, size, commit, profile, load_average, .. } = &part.facts;
        let minutes = part.seconds.div_ceil(60);
        let _ = writeln!(
            text,
            "| {name} | {began} | {minutes} min | {size} | {commit} | {profile} | {load_average} |"
        );
    }
    text
}

fn shown(found: Option<String>) -> String {
    found.map_or("Not measured.".to_owned(), |text| text.trim().to_owned())
}
