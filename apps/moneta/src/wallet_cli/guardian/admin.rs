//! Calls to one guardian, with its password where it is needed.

use std::path::PathBuf;
use std::sync::OnceLock;

use moneta_core::api::{ApiRequest, SetupStatus, endpoint, endpoint::needs_password};
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

/// An endpoint of our own guardians in setup: why the last ceremony failed, or null. Needs the password.
const SETUP_FAILURE: &str = "moneta_setup_failure";

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
            true => ApiRequest::with_password(params, self.password().await?),
            false => ApiRequest::new(params),
        };
        let what = format!("asking the guardian at {url}");
        let answer = self.context.within(&what, self.request(url, method, request)).await?;
        serde_json::from_value(answer).map_err(|error| {
            Failure::refused(format!("{url} answers {method} in a way unknown here: {error}"))
                .hint("is it a guardian of a fitting release?")
        })
    }

    /// How far the guardian is, asked while something else says what is waited for.
    pub(super) async fn setup_status(&self, url: &ApiUrl) -> Result<SetupStatus, Failure> {
        let request = ApiRequest::new(Value::Null);
        let answer = self.request(url, endpoint::SETUP_STATUS, request).await?;
        serde_json::from_value(answer).map_err(Failure::refused)
    }

    /// Why the ceremony before this one failed, if it did, the guardian is one of ours, and its password
    /// can be had without asking somebody.
    pub(super) async fn setup_failure(&self, url: &ApiUrl) -> Option<String> {
        let password = self.given_password().ok()??;
        let request = ApiRequest::with_password(Value::Null, password);
        let answer = self.request(url, SETUP_FAILURE, request).await.ok()?;
        answer.as_str().map(str::to_owned)
    }

    async fn request(
        &self,
        url: &ApiUrl,
        method: &str,
        request: ApiRequest,
    ) -> Result<Value, Failure> {
        let secret = self.api_secret.as_ref().map(Secret::expose);
        let answer = self.connector.call(url, secret, method, request).await;
        answer.map_err(|error| from_guardian(error, url))
    }

    async fn password(&self) -> Result<Secret, Failure> {
        if let Some(password) = self.given_password()? {
            return Ok(password);
        }
        let otherwise = "give the guardian's password in MONETA_PASSWORD_API or --password-file";
        let typed = self.context.screen.ask_secret("The guardian's password:", otherwise).await?;
        let password = Secret::new(typed.as_str());
        Ok(self.password.get_or_init(|| password).clone())
    }

    /// The password, if it can be had without asking somebody.
    fn given_password(&self) -> Result<Option<Secret>, Failure> {
        if let Some(password) = self.password.get() {
            return Ok(Some(password.clone()));
        }
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
                Failure::refused(format!("cannot read {}: {error}", path.display()))
                    .hint("--password-file names a file that holds the password and nothing else")
            })?;
            return Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))));
        }
        Ok(variable(&PASSWORD_VARIABLES).map(Secret::new))
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
