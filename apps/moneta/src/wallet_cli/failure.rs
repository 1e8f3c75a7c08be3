//! What went wrong, sorted by what a script can do about it.
//!
//! | Exit code | Kind | Meaning |
//! |---|---|---|
//! | 0 | - | done |
//! | 1 | `broken` | something that should not happen; nothing was guessed |
//! | 2 | `usage` | the command line is wrong |
//! | 3 | `refused` | the input is bad or the money is not there: the same call fails again |
//! | 4 | `unavailable` | the world failed before anything was begun: repeating the same command is safe |
//! | 5 | `pending` | begun, not ended in time, or perhaps saved: it goes on by itself, and repeating would do it twice |
//! | 130, 143 | - | ended by Ctrl-C or SIGTERM; what was decided goes on at the next command |

use moneta_client::driver::{ActError, BeginError};
use moneta_client::join::JoinError;
use moneta_client::online::{EnterError, OpenError, WaitError, WalletError};
use moneta_module::client::{Stop, SubmitError};
use moneta_net::api::CallError;
use moneta_store::StoreError;
use serde::Serialize;

use super::amount::readable;

/// Which kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Our own state or the system does something that should not happen.
    Broken,
    /// The command line is wrong.
    Usage,
    /// The input is bad; the same call fails again.
    Refused,
    /// The world failed; the same call may succeed later and is safe to repeat.
    Unavailable,
    /// Something was begun that has no end yet. It goes on at the next command, whichever that is.
    Pending,
}

impl Kind {
    /// The exit code of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Broken => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unavailable => 4,
            Self::Pending => 5,
        }
    }
}

/// Why a command failed, for people and for scripts. JSON: `{"kind", "message", "hint"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Which kind of trouble.
    pub kind: Kind,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// Something that should not happen.
    pub fn broken(message: impl ToString) -> Self {
        Self::new(Kind::Broken, message)
    }

    /// A wrong command line.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Bad input.
    pub fn refused(message: impl ToString) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// The world failed.
    pub fn unavailable(message: impl ToString) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Something goes on.
    pub fn pending(message: impl ToString) -> Self {
        Self::new(Kind::Pending, message)
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    fn new(kind: Kind, message: impl ToString) -> Self {
        Self { kind, message: message.to_string(), hint: None }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (kind, hint) = match &error {
            StoreError::InUse { .. } => {
                (Kind::Unavailable, "wait until the other moneta command has ended")
            }
            StoreError::Missing { .. } | StoreError::Exists { .. } => {
                (Kind::Refused, "check the folder given with --wallet")
            }
            StoreError::OtherVersion { .. } => (
                Kind::Refused,
                "use the version that made it, or find the money again from the 12 words with \
                 `moneta recover` in a new folder",
            ),
            StoreError::Damaged { .. } | StoreError::Corrupt { .. } => (
                Kind::Broken,
                "keep a copy of the folder; the money can be found again from the 12 words with \
                 `moneta recover` in a new folder",
            ),
            // Saved or not, nobody knows before the next command opens the store; and what is saved goes on.
            StoreError::CommitUnknown { .. } => (
                Kind::Pending,
                "check that the disk is writable and has space; then look at `moneta history` before \
                 you repeat the command: it may have been saved, and would be done twice",
            ),
            _ => (
                Kind::Unavailable,
                "check that the disk is writable and has space, then repeat the command; \
                 nothing is lost",
            ),
        };
        Self::new(kind, format!("the wallet's store failed: {error}")).hint(hint)
    }
}

impl From<WalletError> for Failure {
    fn from(error: WalletError) -> Self {
        let message = error.to_string();
        match error {
            WalletError::Exists { .. } => {
                Self::refused(message).hint("name another folder with --wallet")
            }
            WalletError::Missing { .. } => Self::refused(message).hint(
                "`moneta join INVITE` makes a wallet, `moneta recover INVITE` restores one from \
                 its words; --wallet names another folder",
            ),
            WalletError::InUse { .. } => Self::unavailable(message)
                .hint("one command at a time uses a wallet; wait until the other has ended"),
            WalletError::Joined(_) => {
                Self::refused(message).hint("`moneta info` shows it; there is nothing to do")
            }
            WalletError::Ambiguous { .. } => Self::refused(message)
                .hint("`moneta info` lists this wallet's federations and their ids"),
            WalletError::Folder { .. } => Self::unavailable(message)
                .hint("check that the folder is yours, writable and on a disk with space"),
            WalletError::Words { .. } => Self::broken(message)
                .hint("write your 12 words into the file, or use `moneta recover` in a new folder"),
            WalletError::Enter(error) => error.into(),
            WalletError::Open(error) => error.into(),
            WalletError::Store(error) => error.into(),
            _ => Self::broken(message),
        }
    }
}

impl From<EnterError> for Failure {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Join(error) => error.into(),
            EnterError::Versions(error) => Self::refused(format!("cannot join: {error}")),
            EnterError::Store(error) => error.into(),
            other => Self::unavailable(other)
                .hint("check your connection; nothing was joined, so repeat the command"),
        }
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        let kind = if error.is_final() { Kind::Refused } else { Kind::Unavailable };
        let advice = error.advice();
        let message = error.to_string();
        // The text carries its advice for programs that show the text alone.
        let message = message.strip_suffix(&format!(" ({advice})")).unwrap_or(&message).to_owned();
        Self::new(kind, format!("cannot join: {message}")).hint(advice)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error {
            OpenError::NotJoined(_) => {
                Self::refused(message).hint("join it with `moneta join INVITE`")
            }
            OpenError::OtherWords => Self::refused(message)
                .hint("put back the words this folder was made with, or recover in a new folder"),
            OpenError::Versions(_) => Self::refused(message),
            OpenError::Begin(BeginError { stop: Stop::Store(error), .. })
            | OpenError::Store(error) => error.into(),
            _ => Self::broken(message),
        }
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Unknown(_) => {
                Self::refused(error).hint("`moneta history` lists the operations")
            }
            _ => Self::pending(error).hint(
                "what was begun goes on at the next command; `moneta history` tells what became of it",
            ),
        }
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Insufficient { needed, available } => Self::refused(format!(
                "the wallet holds {}, this needs {} with fees",
                readable(available),
                readable(needed)
            ))
            .hint("take a smaller amount, or get more e-cash with `moneta deposit`"),
            SubmitError::TooLarge { .. } => {
                Self::refused(error).hint("do it in several steps with smaller amounts")
            }
            SubmitError::Overflow => Self::refused(error).hint("take a smaller amount"),
            SubmitError::OperationExists(id) => {
                Self::refused(error).hint(format!("`moneta show {id}` tells what became of it"))
            }
            SubmitError::Store(error) => error.into(),
            other => Self::broken(other),
        }
    }
}

impl<E: Into<Self>> From<ActError<E>> for Failure {
    fn from(error: ActError<E>) -> Self {
        match error {
            ActError::NoSuchModule(_) => Self::refused("the federation does not offer this"),
            ActError::Action(error) => error.into(),
            ActError::Store(error) => error.into(),
            _ => Self::broken("the wallet refused for a reason this program does not know"),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Rejected(answer) => match answer.code {
                401 if answer.message.contains("API secret") => Self::refused(answer.message)
                    .hint("the federation is private: set MONETA_API_SECRET"),
                401 => Self::refused("the guardian refused the password").hint(
                    "give the password monetad was started with, in MONETA_PASSWORD_API or with \
                     --password-file; without one of its own a guardian refuses every admin call",
                ),
                -32_601 | 404 => Self::refused("the guardian does not offer this call now").hint(
                    "`moneta guardian setup status` tells whether it is in setup or in operation",
                ),
                -32_000 | -32_009 => Self::unavailable(format!("the guardian is busy: {answer}")),
                _ => Self::refused(format!("the guardian refused: {}", answer.message)),
            },
            CallError::Unreachable { .. } => Self::unavailable(error)
                .hint("check the address given with --url and that monetad runs"),
            CallError::Timeout => Self::unavailable(error)
                .hint("the guardian may have acted on the call: look before repeating it"),
            other => Self::refused(other).hint("check the address given with --url"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use moneta_core::amount::Msat;
    use moneta_core::api::ApiError;
    use serde_json::json;

    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let kinds = [Kind::Broken, Kind::Usage, Kind::Refused, Kind::Unavailable, Kind::Pending];
        assert_eq!(kinds.map(Kind::exit_code), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn json_of_a_failure_has_kind_message_and_hint() {
        let failure = Failure::unavailable("away").hint("wait");
        let shape = json!({"kind": "unavailable", "message": "away", "hint": "wait"});
        assert_eq!(json!(failure), shape);
        let shape = json!({"kind": "refused", "message": "no", "hint": null});
        assert_eq!(json!(Failure::refused("no")), shape);
    }

    #[test]
    fn too_little_money_is_refused_in_readable_amounts() {
        let error = SubmitError::Insufficient { needed: Msat(12_345_678), available: Msat(1_000) };
        let failure = Failure::from(ActError::Action(error));
        assert_eq!(failure.kind, Kind::Refused);
        assert_eq!(failure.message, "the wallet holds 1 sat, this needs 12 345.678 sat with fees");
    }

    #[test]
    fn wallet_in_use_and_full_disk_are_worth_another_try() {
        let in_use = WalletError::InUse { path: PathBuf::from("w") };
        assert_eq!(Failure::from(in_use).kind, Kind::Unavailable);
        let full = StoreError::NotCommitted { source: std::io::ErrorKind::StorageFull.into() };
        assert_eq!(Failure::from(WalletError::Store(full)).kind, Kind::Unavailable);
        let unknown = StoreError::CommitUnknown { source: std::io::ErrorKind::StorageFull.into() };
        let unknown = Failure::from(WalletError::Store(unknown));
        assert_eq!(unknown.kind, Kind::Pending, "a script would pay twice");
        assert!(unknown.hint.is_some_and(|hint| hint.contains("moneta history")));
        let torn = StoreError::Damaged { reason: "torn".to_owned() };
        assert_eq!(Failure::from(torn).kind, Kind::Broken);
    }

    #[test]
    fn wrong_password_is_refused_and_an_absent_guardian_is_not() {
        let wrong = CallError::Rejected(ApiError::unauthorized());
        let failure = Failure::from(wrong);
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.hint.is_some_and(|hint| hint.contains("MONETA_PASSWORD_API")));
        let away = CallError::Unreachable { reason: "refused".to_owned(), sent: false };
        assert_eq!(Failure::from(away).kind, Kind::Unavailable);
    }

    #[test]
    fn join_that_cannot_succeed_is_refused_with_the_advice_as_hint() {
        let peers = JoinError::Threshold { needed: 3, agreeing: 1, witnesses: Vec::new() };
        let failure = Failure::from(EnterError::Join(peers.clone()));
        assert_eq!(failure.kind, Kind::Unavailable);
        assert_eq!(failure.hint.as_deref(), Some(peers.advice()));
        assert!(!failure.message.contains(peers.advice()), "{}", failure.message);
    }
}
