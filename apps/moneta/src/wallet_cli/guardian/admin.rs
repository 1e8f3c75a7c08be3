//! Calls to one guardian, with its password where it is needed.

use std::path::PathBuf;
use std::sync::OnceLock;

use moneta_core::api::{ApiRequest, endpoint::needs_password};
use moneta_core::{ApiUrl, Secret};
use moneta_net::api::{ApiConnector, CallError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::wallet_cli::args::GuardianTarget;
use crate::wallet_cli::context::Context;
use crate::wallet_cli::failure::Failure;

/// Where a password may stand in the environment: ours, and the reference's name for it.
const PASSWORD_VARIABLES: [&str; 2] = ["MONETA_PASSWORD_API", "FM_PASSWORD_API"];
/// Where the secret of a private federation may stand.
const SECRET_VARIABLES: [&str; 3] =
    ["MONETA_API_SECRET", "MONETA_FORCE_API_SECRETS", "FM_FORCE_API_SECRETS"];

/// One guardian, or several with one password.
pub(super) struct Admin<'a> {
    pub(super) context: &'a Context,
    pub(super) url: ApiUrl,
    connector: ApiConnector,
    password_file: Option<PathBuf>,
    password: OnceLock<Secret>,
    api_secret: Option<Secret>,
}

impl<'a> Admin<'a> {
    /// Connects to nobody yet.
    pub(super) fn new(context: &'a Context, target: GuardianTarget) -> Self {
        let GuardianTarget { url, password_file } = target;
        let (connector, password) = (ApiConnector::default(), OnceLock::new());
        // Of several secrets the first is for own calls, as in monetad.
        let first = |text: String| text.split(',').next().map(str::to_owned);
        let api_secret = variable(&SECRET_VARIABLES).and_then(first).map(Secret::new);
        Self { context, url, connector, password_file, password, api_secret }
    }

    /// Calls the guardian.
    ///
    /// Errors: as [`Failure`] sorts them; the answer has another shape.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, Failure> {
        self.call_at(&self.url, method, params).await
    }

    /// Calls another guardian with the same password.
    pub(super) async fn call_at<T: DeserializeOwned>(
        &self,
        url: &ApiUrl,
        method: &str,
        params: Value,
    ) -> Result<T, Failure> {
        let request = match needs_password(method) {
            true => ApiRequest::with_password(params, self.password()?),
            false => ApiRequest::new(params),
        };
        let secret = self.api_secret.as_ref().map(Secret::expose);
        let what = format!("asking the guardian at {url}");
        let calling = async {
            let answer = self.connector.call(url, secret, method, request).await;
            answer.map_err(|error| from_guardian(error, url))
        };
        let answer = self.context.within(&what, calling).await?;
        serde_json::from_value(answer).map_err(|error| {
            Failure::refused(format!("{url} answers {method} in a way unknown here: {error}"))
                .hint("is it a guardian of a fitting release?")
        })
    }

    fn password(&self) -> Result<Secret, Failure> {
        if let Some(password) = self.password.get() {
            return Ok(password.clone());
        }
        let password = self.read_password()?;
        Ok(self.password.get_or_init(|| password).clone())
    }

    fn read_password(&self) -> Result<Secret, Failure> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
                Failure::refused(format!("cannot read {}: {error}", path.display()))
                    .hint("--password-file names a file that holds the password and nothing else")
            })?;
            return Ok(Secret::new(text.trim_end_matches(['\r', '\n'])));
        }
        if let Some(password) = variable(&PASSWORD_VARIABLES) {
            return Ok(Secret::new(password));
        }
        let otherwise = "give the guardian's password in MONETA_PASSWORD_API or --password-file";
        let typed = self.context.screen.ask_secret("The guardian's password:", otherwise)?;
        Ok(Secret::new(typed.as_str()))
    }
}

fn variable(names: &[&str]) -> Option<String> {
    let values = names.iter().filter_map(|name| std::env::var(name).ok());
    values.into_iter().find(|value| !value.is_empty())
}

fn from_guardian(error: CallError, url: &ApiUrl) -> Failure {
    let mut failure = Failure::from(error);
    failure.message = format!("{url}: {}", failure.message);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_guardian() {
        let url: ApiUrl = "ws://user:pass@127.0.0.1:1".parse().expect("a URL");
        let failure = from_guardian(CallError::Timeout, &url);
        assert!(failure.message.starts_with("ws://REDACTEDUSER"), "{failure}");
        assert_eq!(failure.kind.exit_code(), 4);
    }
}
