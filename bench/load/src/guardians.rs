//! What federations of different sizes say about how cost grows with the number of guardians.

use std::collections::BTreeSet;

use crate::report::{Mode, Point, SubjectReport, digits};

/// A figure at a smaller and a larger federation.
struct Growth {
    from: f64,
    to: f64,
    /// How many times as many guardians.
    size_ratio: f64,
}

impl Growth {
    /// `from -> to ms (x 3.9, n^0.98)`: the power of the number of guardians that leads from one to the other.
    fn words(&self, unit: &str) -> String {
        let ratio = self.to / self.from;
        let power = ratio.ln() / self.size_ratio.ln();
        let (from, to) = (digits(self.from), digits(self.to));
        format!("{from} -> {to}{unit} (x {}, as n^{power:.2})", digits(ratio))
    }
}

/// A sentence per implementation and setting that was measured at two sizes or more: from the smallest
/// federation to the largest.
pub fn sentences(subjects: &[SubjectReport]) -> Vec<String> {
    let names: BTreeSet<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let mut sentences = Vec::new();
    for name in names {
        let of_name = || subjects.iter().filter(|subject| subject.name == name);
        let first = of_name().min_by_key(|subject| subject.guardians);
        let last = of_name().max_by_key(|subject| subject.guardians);
        let (Some(first), Some(last)) = (first, last) else { continue };
        if first.guardians == last.guardians {
            continue;
        }
        for point in &first.points {
            let same = |other: &&Point| other.setting.words() == point.setting.words();
            if let Some(other) = last.points.iter().find(same) {
                sentences.extend(sentence((first, point), (last, other)));
            }
        }
    }
    sentences
}

fn sentence(
    (small, before): (&SubjectReport, &Point),
    (large, after): (&SubjectReport, &Point),
) -> Option<String> {
    let size_ratio = large.guardians as f64 / small.guardians as f64;
    let grows = |from: f64, to: f64| Growth { from, to, size_ratio };
    let mut parts = Vec::new();
    if let (Some(before), Some(after)) = (before.paid, after.paid) {
        parts.push(format!("median {}", grows(before.p50_ms, after.p50_ms).words(" ms")));
    }
    if before.setting.mode == Mode::Throughput {
        let rates = grows(before.achieved_per_second, after.achieved_per_second);
        parts.push(format!("payments per second {}", rates.words("")));
    }
    if let (Some(used), Some(used_after)) = (before.guardians, after.guardians) {
        let each = grows(
            used.cpu_ms_per_payment / small.guardians as f64,
            used_after.cpu_ms_per_payment / large.guardians as f64,
        );
        parts.push(format!("processor per payment and guardian {}", each.words(" ms")));
        let busy = |point: &Point, cpu_ms: f64| cpu_ms * point.achieved_per_second / 1e3;
        parts.push(format!(
            "all guardians together kept {} -> {} cores busy",
            digits(busy(before, used.cpu_ms_per_payment)),
            digits(busy(after, used_after.cpu_ms_per_payment)),
        ));
    }
    (!parts.is_empty()).then(|| {
        format!(
            "{}, {} -> {} guardians on one machine, {}: {}.",
            small.name,
            small.guardians,
            large.guardians,
            before.setting.words(),
            parts.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Used;
    use crate::report::tests::subject;

    fn with(guardians: usize, paid_ms: f64, cpu_ms_per_payment: f64) -> SubjectReport {
        let mut subject = subject("moneta", paid_ms);
        subject.guardians = guardians;
        let used = Used { cpu_ms_per_payment, disk_bytes_per_payment: 0.0, resident_bytes_max: 0 };
        for point in &mut subject.points {
            point.guardians = Some(used);
        }
        subject
    }

    #[test]
    fn growth_is_told_from_the_smallest_to_the_largest() {
        let subjects = [with(8, 60.0, 40.0), with(4, 50.0, 20.0), with(16, 100.0, 320.0)];
        let sentences = sentences(&subjects);
        assert_eq!(
            sentences,
            [
                "moneta, 4 -> 16 guardians on one machine, payment, 5 in 5 out, 5 per s: median 50.0 -> 100 ms \
              (x 2.00, as n^0.50); processor per payment and guardian 5.00 -> 20.0 ms (x 4.00, as n^1.00); \
              all guardians together kept 0.10 -> 1.60 cores busy."
            ]
        );
    }

    #[test]
    fn one_size_tells_nothing_about_growth() {
        assert!(sentences(&[with(4, 1.0, 1.0), with(4, 2.0, 1.0)]).is_empty());
    }
}
