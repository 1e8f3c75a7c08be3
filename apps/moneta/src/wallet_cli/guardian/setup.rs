//! `moneta guardian setup`: the ceremony of a new federation.
//!
//! Source: docs/protocol/guardian.md, section 3.

use std::collections::BTreeMap;
use std::time::Duration;

use moneta_core::ApiUrl;
use moneta_core::api::{LocalParams, SetupStatus, endpoint};
use moneta_core::id::{FederationId, ModuleKind};
use moneta_core::setup_code::PeerSetupCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::admin::Admin;
use crate::wallet_cli::args::{LocalParamsArgs, NamedGuardian, SetupCommand};
use crate::wallet_cli::failure::{Failure, Kind};
use crate::wallet_cli::screen::{Report, Style};

/// Between two looks whether key generation is done.
const LOOK: Duration = Duration::from_millis(250);

/// A guardian answers nobody while it generates keys. After so long somebody has not started yet, or
/// the guardian has ended; from outside both look the same.
const WORTH_A_WORD: Duration = Duration::from_secs(60);

/// What to do after a failed ceremony.
const SET_UP_ANEW: &str = "Hold the ceremony again: all guardians enter names and exchange new setup codes, \
                           `moneta guardian setup set-local-params NAME`";

#[derive(Debug, Serialize)]
struct Status {
    status: SetupStatus,
    /// Why the ceremony before this one failed; null also if no password was given.
    failure: Option<String>,
}

impl Report for Status {
    fn text(&self, style: Style) -> String {
        let state = match self.status {
            SetupStatus::AwaitingLocalParams => "has no name yet",
            SetupStatus::SharingConnectionCodes => "takes the other guardians' codes",
            SetupStatus::ConsensusIsRunning => "the federation runs",
        };
        match &self.failure {
            Some(reason) => format!("{state}\n{}", failure_text(reason, style)),
            None => state.to_owned(),
        }
    }
}

/// What a guardian in setup says of the ceremony before.
pub(super) fn failure_text(reason: &str, style: Style) -> String {
    format!("{} {reason}\n{SET_UP_ANEW}", style.bad("The ceremony before failed:"))
}

/// The code alone stands on standard output, so that it can be piped.
#[derive(Debug, Serialize)]
struct Code {
    setup_code: String,
}

impl Report for Code {
    fn text(&self, _: Style) -> String {
        self.setup_code.clone()
    }
}

#[derive(Debug, Serialize)]
struct Added {
    added: Vec<String>,
}

impl Report for Added {
    fn text(&self, _: Style) -> String {
        format!("added {}", self.added.join(", "))
    }
}

#[derive(Debug, Serialize)]
struct Done {
    done: bool,
}

impl Report for Done {
    fn text(&self, _: Style) -> String {
        "done".to_owned()
    }
}

#[derive(Debug, Serialize)]
struct Federation {
    federation_id: FederationId,
    invite: String,
}

impl Report for Federation {
    fn text(&self, style: Style) -> String {
        let id = self.federation_id;
        format!("{}\nid      {id}\ninvite  {}", style.good("The federation runs."), self.invite)
    }
}

/// Runs the command.
pub(super) async fn run(admin: &Admin<'_>, command: SetupCommand) -> Result<(), Failure> {
    let screen = &admin.context.screen;
    match command {
        SetupCommand::Status => {
            let status =
                admin.call(endpoint::SETUP_STATUS, Value::Null).await.map_err(maybe_busy)?;
            let failure = admin.setup_failure(&admin.url).await;
            screen.report(&Status { status, failure })
        }
        SetupCommand::SetLocalParams(args) => {
            let params = local_params(args)?;
            let setup_code = admin.call(endpoint::SET_LOCAL_PARAMS, json!(params)).await?;
            screen.note("Give this code to every other guardian:");
            screen.report(&Code { setup_code })
        }
        SetupCommand::Code => {
            let code: Option<String> = admin.call(endpoint::GET_SETUP_CODE, Value::Null).await?;
            let setup_code = code.ok_or_else(|| {
                Failure::refused("the guardian has no code yet")
                    .hint("name it first: `moneta guardian setup set-local-params NAME`")
            })?;
            screen.report(&Code { setup_code })
        }
        SetupCommand::AddPeer { codes } => {
            // All are looked at before the first is added.
            let codes = codes.iter().map(|code| parse_code(code)).collect::<Result<Vec<_>, _>>()?;
            let mut added = Vec::new();
            for code in codes {
                added.push(admin.call(endpoint::ADD_PEER_SETUP_CODE, json!(code)).await?);
            }
            screen.report(&Added { added })
        }
        SetupCommand::Reset => {
            let () = admin.call(endpoint::RESET_PEER_SETUP_CODES, Value::Null).await?;
            screen.report(&Done { done: true })
        }
        SetupCommand::Start { no_wait } => {
            let () = admin.call(endpoint::START_DKG, Value::Null).await?;
            if no_wait {
                return screen.report(&Done { done: true });
            }
            await_running(admin, &admin.url).await?;
            screen.report(&federation(admin, &admin.url).await?)
        }
        SetupCommand::Auto { federation_name, disable_base_fees, guardians } => {
            let report = auto(admin, federation_name, disable_base_fees, guardians).await?;
            screen.report(&report)
        }
    }
}

fn local_params(args: LocalParamsArgs) -> Result<LocalParams, Failure> {
    let LocalParamsArgs { name, federation_name, federation_size, disable_base_fees, modules } =
        args;
    let kinds = modules.map(|kinds| kinds.into_iter().map(ModuleKind::from).collect());
    let params = LocalParams {
        name,
        federation_name,
        disable_base_fees: disable_base_fees.then_some(true),
        enabled_modules: kinds,
        federation_size,
    };
    params.check().map_err(|error| {
        Failure::refused(error).hint("a federation has 1 guardian, or 4 and more")
    })?;
    Ok(params)
}

/// Checks a code before it is sent, so that a torn one is found here.
fn parse_code(text: &str) -> Result<String, Failure> {
    let text: String = text.split_whitespace().collect();
    let code: PeerSetupCode = text.parse().map_err(|error| {
        Failure::refused(format!("the text is no setup code: {error}"))
            .hint("ask that guardian for the whole code again; it begins with \"fedimint\"")
    })?;
    Ok(code.to_string())
}

/// Holds a whole ceremony. The first guardian is the leader. Resumes one that was interrupted: every
/// step may be repeated.
async fn auto(
    admin: &Admin<'_>,
    federation_name: String,
    disable_base_fees: bool,
    guardians: Vec<NamedGuardian>,
) -> Result<Federation, Failure> {
    let size = check_names(&guardians)?;
    let Some(leader) = guardians.first() else { return Err(Failure::usage("name guardians")) };
    let mut codes = Vec::new();
    for (index, guardian) in guardians.iter().enumerate() {
        let leads = index == 0;
        let params = LocalParams {
            name: guardian.name.clone(),
            federation_name: leads.then(|| federation_name.clone()),
            disable_base_fees: (leads && disable_base_fees).then_some(true),
            enabled_modules: None,
            federation_size: leads.then_some(size),
        };
        params.check().map_err(Failure::refused)?;
        let params = json!(params);
        let code: String = admin.call_at(&guardian.url, endpoint::SET_LOCAL_PARAMS, params).await?;
        codes.push(code);
    }
    for (own, guardian) in guardians.iter().enumerate() {
        for (_, code) in codes.iter().enumerate().filter(|(other, _)| *other != own) {
            let method = endpoint::ADD_PEER_SETUP_CODE;
            let _: String = admin.call_at(&guardian.url, method, json!(code)).await?;
        }
    }
    for guardian in &guardians {
        let () = admin.call_at(&guardian.url, endpoint::START_DKG, Value::Null).await?;
    }
    for guardian in &guardians {
        await_running(admin, &guardian.url).await?;
    }
    federation(admin, &leader.url).await
}

/// Refuses what would fail at the last step; returns the number of guardians.
fn check_names(guardians: &[NamedGuardian]) -> Result<u32, Failure> {
    let mut seen = BTreeMap::new();
    for NamedGuardian { name, url } in guardians {
        if seen.insert(name, url).is_some() {
            return Err(Failure::refused(format!("two guardians are named {name}"))
                .hint("give each a name of its own"));
        }
    }
    u32::try_from(guardians.len()).map_err(Failure::refused)
}

async fn federation(admin: &Admin<'_>, url: &ApiUrl) -> Result<Federation, Failure> {
    Ok(Federation {
        federation_id: admin.call_at(url, endpoint::FEDERATION_ID, Value::Null).await?,
        invite: admin.call_at(url, endpoint::INVITE_CODE, Value::Null).await?,
    })
}

/// Waits until key generation is done and the guardian serves the federation. Others may take their
/// time to start theirs, so there is no limit.
///
/// Errors: the ceremony failed, and why.
async fn await_running(admin: &Admin<'_>, url: &ApiUrl) -> Result<(), Failure> {
    let screen = &admin.context.screen;
    let what = format!("generating keys with the other guardians ({url})");
    let waiting = async {
        let (begun, mut said) = (Instant::now(), false);
        loop {
            match admin.setup_status(url).await {
                Ok(SetupStatus::ConsensusIsRunning) => return Ok(()),
                // It has begun a new ceremony.
                Ok(SetupStatus::AwaitingLocalParams) => {
                    return Err(ceremony_failed(url, admin.setup_failure(url).await));
                }
                // The answer to the start may arrive before the guardian turns to it.
                Ok(SetupStatus::SharingConnectionCodes) => {}
                Err(failure) if failure.kind != Kind::Unavailable => return Err(failure),
                Err(_) if begun.elapsed() > WORTH_A_WORD && !said => {
                    said = true;
                    screen.note(
                        "Still generating keys. A guardian that has not started keeps all others \
                         waiting; the guardian's log names it. Ctrl-C ends the waiting, not the \
                         ceremony; `moneta guardian setup status` tells how it went.",
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    admin.context.follow_on(&what, waiting).await
}

fn ceremony_failed(url: &ApiUrl, reason: Option<String>) -> Failure {
    let reason = reason.unwrap_or_else(|| "the guardian's log says why".to_owned());
    Failure::refused(format!("{url}: the ceremony failed: {reason}")).hint(SET_UP_ANEW)
}

/// A guardian that generates keys looks like one that is away.
fn maybe_busy(failure: Failure) -> Failure {
    match failure.kind {
        Kind::Unavailable => failure.hint(
            "while it generates keys with the others, a guardian answers nobody: wait until all \
             have started. Else check the address given with --url and that monetad runs",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn args(name: &str, federation_size: Option<u32>) -> LocalParamsArgs {
        LocalParamsArgs {
            name: name.to_owned(),
            federation_name: federation_size.map(|_| "F".to_owned()),
            federation_size,
            disable_base_fees: false,
            modules: Some(vec!["mintv2".to_owned()]),
        }
    }

    #[test]
    fn local_params_have_the_shape_of_the_page() {
        let shape = json!({
            "name": "A", "federation_name": "F", "disable_base_fees": null,
            "enabled_modules": ["mintv2"], "federation_size": 4,
        });
        assert_eq!(json!(local_params(args("A", Some(4))).unwrap()), shape);
        assert_eq!(local_params(args("A", Some(3))).unwrap_err().kind, Kind::Refused);
        assert_eq!(local_params(args("", None)).unwrap_err().kind, Kind::Refused);
    }

    #[test]
    fn torn_setup_code_is_found_before_it_is_sent() {
        let bob = "fedimint3ggu6h500qll5c602cclgrmqbiv7t4jc7gesggbejnmdqhk4fl0k1ktu78kkhu08noghu15\
                   hqi4fb5skdq6s7uijo4bucngom431s6nahna8fjh10000008vvddld306e9c63n06";
        assert!(parse_code(bob).is_ok());
        let failure = parse_code(&bob[..60]).unwrap_err();
        assert!(failure.hint.is_some_and(|hint| hint.contains("whole code")));
    }

    #[test]
    fn guardians_of_a_ceremony_have_names_of_their_own() {
        let guardian = |name: &str| NamedGuardian {
            name: name.to_owned(),
            url: "ws://127.0.0.1:1".parse().unwrap(),
        };
        assert_eq!(check_names(&[guardian("a"), guardian("b")]), Ok(2));
        assert!(check_names(&[guardian("a"), guardian("a")]).is_err());
    }

    #[test]
    fn reports_have_the_agreed_names() {
        let federation_id = FederationId([7; 32]);
        let federation = Federation { federation_id, invite: "fed1".to_owned() };
        let shape = json!({"federation_id": "07".repeat(32), "invite": "fed1"});
        assert_eq!(json!(federation), shape);
        assert_eq!(
            json!(Code { setup_code: "fedimint0".into() }),
            json!({"setup_code": "fedimint0"})
        );
        let status = Status { status: SetupStatus::SharingConnectionCodes, failure: None };
        assert_eq!(json!(status), json!({"status": "SharingConnectionCodes", "failure": null}));
    }

    #[test]
    fn failed_ceremony_is_told_with_its_reason_and_the_next_step() {
        let (status, reason) = (SetupStatus::AwaitingLocalParams, "guardian 3 sent nonsense");
        let text = Status { status, failure: Some(reason.to_owned()) }.text(Style::PLAIN);
        assert!(text.contains(reason) && text.contains("set-local-params"), "{text}");
        let url = "ws://127.0.0.1:1".parse().unwrap();
        let failure = ceremony_failed(&url, Some(reason.to_owned()));
        assert!(failure.message.ends_with(reason), "{failure}");
        assert_eq!(failure.kind, Kind::Refused);
    }
}
