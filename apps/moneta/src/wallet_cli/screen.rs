//! What the program says, and where: results on standard output, everything else on standard error.

use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::failure::Failure;

/// Waiting that takes longer than this is worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// Between two words on a terminal.
const TICK: Duration = Duration::from_secs(1);
/// Between two words in a log file.
const LOG_TICK: Duration = Duration::from_secs(30);
/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// A result of a command. JSON by its `Serialize`, one line; text for people.
pub trait Report: Serialize {
    /// The text for people, without the last line break.
    fn text(&self, style: Style) -> String;

    /// Whether the command failed if nobody reads the text to its end, as `| head` does.
    fn must_arrive(&self) -> bool {
        false
    }
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Colour is understood and wished for.
    pub colour: bool,
}

impl Style {
    /// Without any colour.
    pub const PLAIN: Self = Self { colour: false };

    /// What matters most.
    pub fn strong(self, text: impl ToString) -> String {
        self.wrap("1", text)
    }

    /// What matters least.
    pub fn faint(self, text: impl ToString) -> String {
        self.wrap("2", text)
    }

    /// Good news.
    pub fn good(self, text: impl ToString) -> String {
        self.wrap("32", text)
    }

    /// Bad news.
    pub fn bad(self, text: impl ToString) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: impl ToString) -> String {
        let text = text.to_string();
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

/// Lines of `name  value`, aligned.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Adds a line.
    pub fn add(&mut self, name: impl ToString, value: impl ToString) -> &mut Self {
        self.0.push((name.to_string(), value.to_string()));
        self
    }

    /// The lines.
    pub fn text(&self, style: Style) -> String {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (index, (name, value)) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            let pad = " ".repeat(width - name.chars().count());
            // Writing to a String cannot fail.
            let _ = write!(text, "{gap}{}{pad}  {value}", style.faint(name));
        }
        text
    }
}

/// The terminal or whatever is in its place.
#[derive(Debug, Clone)]
pub struct Screen {
    json: bool,
    out: Style,
    err: Style,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Screen {
    /// Looks at where the streams lead.
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let out_is_terminal = io::stdout().is_terminal();
        let err_is_terminal = io::stderr().is_terminal();
        Self {
            json,
            out: Style { colour: out_is_terminal && !plain && !json },
            err: Style { colour: err_is_terminal && !plain },
            out_is_terminal,
            err_is_terminal,
        }
    }

    /// Whether a person looks at the results.
    pub fn shows_people(&self) -> bool {
        self.out_is_terminal && !self.json
    }

    /// Prints a result.
    ///
    /// Errors: standard output is closed or full.
    pub fn report(&self, report: &impl Report) -> Result<(), Failure> {
        let line = match self.json {
            true => serde_json::to_string(report).map_err(Failure::broken)?,
            false => report.text(self.out),
        };
        match self.print(&line) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !report.must_arrive() => {
                Ok(())
            }
            printed => printed.map_err(|error| {
                Failure::broken(format!("cannot write the result: {error}"))
                    .hint("`moneta history` and `moneta show` have everything that was done")
            }),
        }
    }

    /// Prints a failure: as JSON on standard output, else on standard error.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            // Nowhere is left to complain.
            let _ = self.print(&json!({ "error": failure }).to_string());
            return;
        }
        eprintln!("{} {}", self.err.bad("moneta:"), failure.message);
        if let Some(hint) = &failure.hint {
            eprintln!("{hint}");
        }
    }

    /// Tells a person something beside the result.
    pub fn note(&self, text: &str) {
        if !self.json {
            self.clear_progress();
            eprintln!("{text}");
        }
    }

    /// Leaves the line in which progress was shown.
    pub fn end_line(&self) {
        if self.err_is_terminal {
            eprintln!();
        }
    }

    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && self.err_is_terminal
    }

    fn clear_progress(&self) {
        if self.err_is_terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// Shows progress in one line, which the next progress replaces.
    fn show_progress(&self, what: &str, seconds: u64) {
        if self.err_is_terminal {
            let columns = rustix::termios::tcgetwinsize(io::stderr()).map(|size| size.ws_col);
            let columns = columns.map_or(COLUMNS, usize::from);
            self.clear_progress();
            eprint!("{}", self.err.faint(progress(what, seconds, columns)));
            // Progress that cannot be shown is no reason to stop.
            let _ = io::stderr().flush();
        } else if !self.json {
            eprintln!("{what} ... {seconds} s");
        }
    }

    /// Waits, and says for what if it takes longer than a second.
    pub async fn wait<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let mut work = std::pin::pin!(work);
        let mut pause = QUIET;
        let mut said = false;
        loop {
            match tokio::time::timeout(pause, &mut work).await {
                Ok(value) => {
                    if said {
                        self.clear_progress();
                    }
                    return value;
                }
                Err(_) => {
                    self.show_progress(what, start.elapsed().as_secs());
                    pause = if self.err_is_terminal { TICK } else { LOG_TICK };
                    said = true;
                }
            }
        }
    }

    fn print(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush())
    }
}

/// What is waited for and since when, cut so that it stays in one line: a second line would stay on
/// the screen for ever.
fn progress(what: &str, seconds: u64, columns: usize) -> String {
    let time = format!(" ... {seconds} s");
    let room = columns.saturating_sub(time.len() + 1);
    let what: String = what.chars().take(room).collect();
    format!("{what}{time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_added_only_where_it_is_wished_for() {
        assert_eq!(Style::PLAIN.strong("a"), "a");
        assert_eq!(Style { colour: true }.good("a"), "\x1b[32ma\x1b[0m");
    }

    #[test]
    fn fields_are_aligned() {
        let mut fields = Fields::default();
        fields.add("id", 7).add("federation", "F");
        assert_eq!(fields.text(Style::PLAIN), "id          7\nfederation  F");
    }

    #[test]
    fn progress_stays_in_one_line_of_a_narrow_terminal() {
        assert_eq!(progress("waiting for coins", 7, 80), "waiting for coins ... 7 s");
        assert_eq!(progress("waiting for coins", 12, 20), "waiting fo ... 12 s");
        for columns in [0, 1, 10, 20, 26] {
            assert!(progress("waiting for coins", 12, columns).len() <= columns.max(9));
        }
    }

    #[tokio::test]
    async fn waiting_returns_what_was_waited_for() {
        let screen = Screen::new(true);
        assert_eq!(screen.wait("thinking", async { 42 }).await, 42);
    }
}
