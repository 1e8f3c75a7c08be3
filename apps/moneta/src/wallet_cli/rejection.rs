//! Why guardians rejected a transaction, for people and for scripts.
//!
//! The log keeps the text that all clients print (docs/protocol/core.md, section 3.5). It names a module
//! by its number alone, and has bare bytes where the module's error could not be read.

use std::collections::BTreeMap;

use moneta_client::online::ClientInfo;
use moneta_core::id::{ModuleInstanceId, ModuleKind};
use serde::Serialize;

/// What stands before the module's number and error.
const INPUT: &str = "The transaction had an invalid input: ";
const OUTPUT: &str = "The transaction had an invalid output: ";
/// What stands before bytes that say nothing to anybody: the whole transaction.
const SIGNATURE: &str = ": tx=";
/// How an error begins that the wallet that noted it could not read.
const UNREAD: [&str; 3] = ["Envelope(", "Input(Envelope(", "Output(Envelope("];

/// Why guardians rejected a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rejection {
    /// What of the transaction a module refused; null if the transaction as a whole was wrong.
    part: Option<Part>,
    module_id: Option<ModuleInstanceId>,
    /// The kind of that module, if the federation has it.
    module: Option<ModuleKind>,
    /// The module's own words; null if no release up to this one can read them.
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Input,
    Output,
}

/// The kinds of all modules of a federation.
pub(super) fn kinds(info: &ClientInfo) -> BTreeMap<ModuleInstanceId, ModuleKind> {
    let all = [&info.modules, &info.unknown, &info.unusable];
    all.into_iter().flatten().map(|(instance, kind)| (*instance, kind.clone())).collect()
}

impl Rejection {
    /// Reads the text of a `tx-rejected` event.
    pub(super) fn read(text: &str, kinds: &BTreeMap<ModuleInstanceId, ModuleKind>) -> Self {
        let refused = match (text.strip_prefix(INPUT), text.strip_prefix(OUTPUT)) {
            (Some(rest), _) => Some((Part::Input, rest)),
            (_, Some(rest)) => Some((Part::Output, rest)),
            _ => None,
        };
        let refused = refused.and_then(|(part, rest)| {
            let (instance, error) = rest.split_once('-')?;
            Some((part, ModuleInstanceId::new(instance.parse().ok()?), error))
        });
        match refused {
            Some((part, instance, error)) => Self {
                part: Some(part),
                module_id: Some(instance),
                module: kinds.get(&instance).cloned(),
                reason: readable(error),
            },
            None => {
                let (part, module_id, module) = (None, None, None);
                Self { part, module_id, module, reason: readable(text) }
            }
        }
    }

    /// A sentence for people.
    pub(super) fn sentence(&self) -> String {
        let what = match self.part {
            None => String::new(),
            Some(part) => {
                let part = match part {
                    Part::Input => "what the transaction spends",
                    Part::Output => "what the transaction pays for",
                };
                format!("{} refused {part}", self.module_name())
            }
        };
        match (&self.reason, what.as_str()) {
            (Some(reason), "") => reason.clone(),
            (Some(reason), what) => format!("{what}: {reason}"),
            (None, "") => "the guardians gave a reason that this release cannot read".to_owned(),
            (None, what) => format!(
                "{what} for a reason that this release cannot read; a newer one may be able to"
            ),
        }
    }

    fn module_name(&self) -> String {
        let number = || match self.module_id {
            Some(instance) => format!("module {instance}"),
            None => "a module".to_owned(),
        };
        let Some(kind) = &self.module else { return number() };
        match kind.as_str() {
            "mintv2" | "mint" => format!("the e-cash module ({kind})"),
            "walletv2" | "wallet" => format!("the bitcoin module ({kind})"),
            "lnv2" | "ln" => format!("the Lightning module ({kind})"),
            _ => format!("the module {kind}"),
        }
    }
}

/// The text without what only a program could read; `None` if nothing is left.
fn readable(text: &str) -> Option<String> {
    let text = text.split_once(SIGNATURE).map_or(text, |(text, _)| text);
    let is_read = !text.is_empty() && !UNREAD.iter().any(|unread| text.starts_with(unread));
    // Some of it may be a guardian's own words.
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    is_read.then(|| text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use moneta_core::envelope::InputErrorEnvelope;
    use moneta_core::transaction::TransactionError;
    use moneta_wallet::words::WalletInputError;
    use serde_json::json;

    use super::*;

    fn kinds() -> BTreeMap<ModuleInstanceId, ModuleKind> {
        let kind =
            |(instance, kind)| (ModuleInstanceId::new(instance), ModuleKind::from_static(kind));
        [(1, "mintv2"), (2, "walletv2"), (3, "tickets")].map(kind).into()
    }

    /// As the driver writes it into the log.
    fn logged(error: &TransactionError, module_text: &str) -> String {
        error.to_text(|_| module_text.to_owned())
    }

    #[test]
    fn refused_input_names_the_module_and_has_its_own_words() {
        let error = WalletInputError::OutputAlreadySpent;
        let envelope = InputErrorEnvelope::new(ModuleInstanceId::new(2), &error);
        let text = logged(&TransactionError::Input(envelope), &error.to_string());
        let rejection = Rejection::read(&text, &kinds());
        let shape = json!({
            "part": "input", "module_id": 2, "module": "walletv2",
            "reason": "The output has already been claimed",
        });
        assert_eq!(json!(rejection), shape);
        let sentence = "the bitcoin module (walletv2) refused what the transaction spends: The output \
                        has already been claimed";
        assert_eq!(rejection.sentence(), sentence);
    }

    /// People were once shown `1-Envelope(1, 3 bytes, 00010a)`.
    #[test]
    fn error_that_could_not_be_read_is_said_to_be_one() {
        let error = TransactionError::Output(moneta_core::OutputErrorEnvelope::new(
            ModuleInstanceId::new(3),
            &7_u64,
        ));
        let TransactionError::Output(envelope) = &error else { panic!("an output") };
        for unread in [format!("{envelope:?}"), format!("Output({envelope:?})")] {
            let rejection = Rejection::read(&logged(&error, &unread), &kinds());
            let shape = json!({
                "part": "output", "module_id": 3, "module": "tickets", "reason": null,
            });
            assert_eq!(json!(rejection), shape);
            let sentence = rejection.sentence();
            assert!(sentence.starts_with("the module tickets refused"), "{sentence}");
            assert!(!sentence.contains("Envelope"), "{sentence}");
        }
    }

    #[test]
    fn fault_of_the_whole_transaction_names_no_module_and_no_bytes() {
        let long = "ab".repeat(1000);
        let wrong = TransactionError::InvalidSignature {
            tx: long.clone(),
            hash: long.clone(),
            sig: long.clone(),
            key: long,
        };
        let rejection = Rejection::read(&wrong.to_string(), &kinds());
        assert_eq!(rejection.sentence(), "The transaction's signature is invalid");
        assert_eq!((rejection.part, rejection.module_id), (None, None));
        let text = TransactionError::InvalidWitnessLength.to_string();
        assert_eq!(Rejection::read(&text, &kinds()).sentence(), text);
        for odd in ["", "The transaction had an invalid input: x-y", "\u{1b}[2J"] {
            let sentence = Rejection::read(odd, &kinds()).sentence();
            assert!(!sentence.is_empty() && !sentence.contains('\u{1b}'), "{sentence:?}");
        }
    }
}
