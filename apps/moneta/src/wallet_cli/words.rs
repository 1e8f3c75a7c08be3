//! `moneta words`.

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::context::Context;
use super::failure::Failure;
use super::screen::{Report, Style};

/// The words. Printed, never logged.
#[derive(Serialize)]
struct WordsReport {
    #[serde(serialize_with = "plain")]
    words: Zeroizing<String>,
}

fn plain<S: Serializer>(words: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(words)
}

impl Report for WordsReport {
    fn text(&self, style: Style) -> String {
        let words = self.words.split_whitespace().enumerate();
        let lines =
            words.map(|(index, word)| format!("{:>2}  {}\n", index + 1, style.strong(word)));
        let lines: String = lines.collect();
        format!(
            "{lines}\nWrite them down on paper, in order. Whoever has them has the money, and they \
             are the\nonly way to get it back when this folder is lost: `moneta recover INVITE`."
        )
    }
}

/// Runs the command.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let words = context.wallet()?.words().reveal();
    context.screen.report(&WordsReport { words })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_one_text_for_scripts_and_numbered_for_people() {
        let report = WordsReport { words: Zeroizing::new("abandon ability able".to_owned()) };
        assert_eq!(json!(report), json!({"words": "abandon ability able"}));
        let text = report.text(Style::PLAIN);
        assert!(text.starts_with(" 1  abandon\n 2  ability\n 3  able\n"), "{text}");
    }
}
