//! Tells a person what happens and how long it took.

use std::time::{Duration, Instant};

/// Prints steps with their times to standard error, or stays silent, and remembers the times.
#[derive(Debug)]
pub struct Narrator {
    speaks: bool,
    current: Option<(String, Instant)>,
    steps: Vec<(String, Duration)>,
}

impl Narrator {
    /// Says nothing: for tests.
    pub fn silent() -> Self {
        Self { speaks: false, current: None, steps: Vec::new() }
    }

    /// Speaks on standard error, which leaves standard output to results.
    pub fn aloud() -> Self {
        Self { speaks: true, ..Self::silent() }
    }

    /// Begins a step.
    pub fn begin(&mut self, title: &str) {
        self.say(&format!("\n{}. {title} ...", self.steps.len() + 1));
        self.current = Some((title.to_owned(), Instant::now()));
    }

    /// Says something that belongs to the running step.
    pub fn note(&self, text: &str) {
        self.say(&format!("   {text}"));
    }

    /// Ends the running step with what came out of it.
    pub fn done(&mut self, outcome: &str) {
        let Some((title, start)) = self.current.take() else { return };
        let time = start.elapsed();
        self.say(&format!("   done in {:.2} s: {outcome}", time.as_secs_f64()));
        self.steps.push((title, time));
    }

    /// Prints all steps and the whole.
    pub fn summary(&self) {
        self.say("\nTime each step took:");
        for (title, time) in &self.steps {
            self.say(&format!("{:>8.2} s  {title}", time.as_secs_f64()));
        }
        let whole: Duration = self.steps.iter().map(|(_, time)| *time).sum();
        self.say(&format!("{:>8.2} s  in all", whole.as_secs_f64()));
    }

    fn say(&self, text: &str) {
        if self.speaks {
            eprintln!("{text}");
        }
    }
}
