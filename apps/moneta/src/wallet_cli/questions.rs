//! Asking whoever runs the program, and reading what it is given.
//!
//! A read of standard input cannot be taken back, so it happens on a thread of its own. Whoever waits for it
//! may stop waiting, as Ctrl-C does; the terminal is then as it was before.

use std::io::{self, BufRead, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::screen::Screen;

/// No input of a person or script is longer: the longest is e-cash of thousands of notes.
const MAX_INPUT_BYTES: u64 = 4 * 1024 * 1024;

/// What was typed or piped. May be a secret.
type Text = Zeroizing<String>;

impl Screen {
    /// Asks a question that `y` answers with yes.
    ///
    /// Errors: nobody is there to answer; `otherwise` says what to do then.
    pub async fn confirm(&self, question: &str, otherwise: &str) -> Result<bool, Failure> {
        self.ask_person(question, otherwise)?;
        Ok(matches!(reading(read_line).await?.trim(), "y" | "Y" | "yes"))
    }

    /// Reads a text from standard input: one line from a person, everything from a script.
    ///
    /// Errors: it cannot be read, is no text, or is too long.
    pub async fn read_input(&self, question: &str) -> Result<Text, Failure> {
        if self.can_ask() {
            self.ask_person(question, "")?;
            return reading(read_line).await;
        }
        reading(read_all).await
    }

    /// Asks for a secret without showing what is typed.
    ///
    /// Errors: nobody is there to answer; `otherwise` says what to do then.
    pub async fn ask_secret(&self, question: &str, otherwise: &str) -> Result<Text, Failure> {
        self.ask_person(question, otherwise)?;
        let hidden = HiddenTyping::begin();
        let typed = reading(read_line).await;
        drop(hidden);
        eprintln!();
        let typed = typed?;
        Ok(Zeroizing::new(typed.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn ask_person(&self, question: &str, otherwise: &str) -> Result<(), Failure> {
        if !self.can_ask() {
            let failure = Failure::refused("nobody is there to be asked");
            return Err(failure.hint(otherwise));
        }
        eprint!("{question} ");
        io::stderr().flush().map_err(Failure::broken)
    }
}

/// Reads on another thread. If nobody waits any more, the thread ends with the program.
async fn reading(read: fn() -> Result<Text, Failure>) -> Result<Text, Failure> {
    tokio::task::spawn_blocking(read).await.map_err(Failure::broken)?
}

fn read_line() -> Result<Text, Failure> {
    let mut line = Zeroizing::new(String::new());
    let mut input = io::stdin().lock().take(MAX_INPUT_BYTES);
    input.read_line(&mut line).map_err(unreadable)?;
    Ok(line)
}

fn read_all() -> Result<Text, Failure> {
    let mut text = Zeroizing::new(String::new());
    let mut input = io::stdin().lock().take(MAX_INPUT_BYTES + 1);
    input.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(Failure::refused("the text on standard input is too long"));
    }
    Ok(text)
}

fn unreadable(error: io::Error) -> Failure {
    Failure::refused(format!("cannot read standard input: {error}"))
}

/// While this lives the terminal does not show what is typed.
struct HiddenTyping(Option<Termios>);

impl HiddenTyping {
    fn begin() -> Self {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Self(None) };
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // A terminal that cannot hide shows; the person sees that and can go on or not.
        let _ = tcsetattr(&stdin, OptionalActions::Now, &hidden);
        Self(Some(before))
    }
}

impl Drop for HiddenTyping {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
