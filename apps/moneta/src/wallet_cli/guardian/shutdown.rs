//! `moneta guardian shutdown`.

use moneta_core::api::endpoint;
use serde::Serialize;
use serde_json::{Value, json};

use super::admin::Admin;
use crate::wallet_cli::failure::Failure;
use crate::wallet_cli::screen::{Report, Style};

#[derive(Debug, Serialize)]
struct Ordered {
    /// The last session; null if the order was withdrawn.
    scheduled_shutdown: Option<u64>,
}

impl Report for Ordered {
    fn text(&self, _: Style) -> String {
        match self.scheduled_shutdown {
            Some(session) => format!(
                "The guardian ends after session {session}. A restart forgets the order; \
                 `--cancel` withdraws it."
            ),
            None => "The guardian goes on.".to_owned(),
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    admin: &Admin<'_>,
    session: Option<u64>,
    cancel: bool,
) -> Result<(), Failure> {
    let finished: u64 = admin.call(endpoint::SESSION_COUNT, Value::Null).await?;
    let scheduled_shutdown = last_session(finished, session, cancel)?;
    let () = admin.call(endpoint::SHUTDOWN, json!(scheduled_shutdown)).await?;
    admin.context.screen.report(&Ordered { scheduled_shutdown })
}

/// The session to end after. The running one has the number of finished ones.
fn last_session(finished: u64, session: Option<u64>, cancel: bool) -> Result<Option<u64>, Failure> {
    match session {
        _ if cancel => Ok(None),
        // The guardian takes it without a word and never ends.
        Some(session) if session < finished => Err(Failure::refused(format!(
            "session {session} is over, session {finished} is running"
        ))
        .hint("name the running or a later session, or none for the running one")),
        Some(session) => Ok(Some(session)),
        None => Ok(Some(finished)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn guardian_ends_after_the_running_session_unless_told_otherwise() {
        assert_eq!(last_session(7, None, false), Ok(Some(7)));
        assert_eq!(last_session(7, Some(9), false), Ok(Some(9)));
        assert_eq!(last_session(7, None, true), Ok(None));
        assert_eq!(last_session(7, Some(6), false).unwrap_err().kind.exit_code(), 3);
        let report = Ordered { scheduled_shutdown: Some(7) };
        assert_eq!(json!(report), json!({"scheduled_shutdown": 7}));
    }
}
