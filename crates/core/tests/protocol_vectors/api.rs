use std::collections::BTreeMap;
use std::time::Duration;

use moneta_core::api::discovery::discover;
use moneta_core::api::{
    ApiResponse, AuditView, BackupStatistics, GuardianBackup, LocalParams, Method, MethodCall,
    ServerStatus, SetupStatus, StatusView,
};
use moneta_core::{
    ApiError, ApiRequest, BackupRequest, CoreVersionSummary, Secret, SignedBackupRequest,
    Timestamp, VersionSummary,
};
use serde_json::{Value, json};

use crate::check::{assert_codec, assert_json, is_accepted, json_round_trip, numbered_key, text};
use crate::vectors::{Case, Outcome, bytes, run};

#[test]
fn api_shapes_agree_with_the_reference() {
    run("api.json", |case| {
        match (case.op.as_str(), case.kind()) {
            ("json", _) => shape(case),
            ("json-decode", "request envelope") => {
                let json = case.input["json"].clone();
                let parsed = serde_json::from_value::<ApiRequest>(json);
                assert_eq!(parsed.is_ok(), is_accepted(case));
            }
            ("json-decode", "unit") => {
                let request = ApiRequest::new(case.input["json"].clone());
                assert_eq!(request.parse_params::<()>().is_ok(), is_accepted(case));
            }
            ("json-decode", "") => {
                let params: LocalParams =
                    serde_json::from_value(case.input["json"].clone()).unwrap();
                assert_json(&params, &case.output["json"]);
            }
            ("codec+json", "version summary") => {
                let summary: VersionSummary = json_round_trip(&case.input["json"]);
                assert_codec(&summary, &case.output["hex"]);
            }
            ("backup-request", _) => backup_request(case),
            ("version-discovery", _) => version_discovery(case),
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn shape(case: &Case) {
    let json = &case.output["json"];
    match case.name.as_str() {
        "envelope without auth" => {
            assert_json(&ApiRequest::new(Value::Null), json);
            json_round_trip::<ApiRequest>(json);
        }
        "envelope with auth" => {
            let password = Secret::new(text(&case.input["password"]));
            assert_json(&ApiRequest::with_password(json!([1, "x"]), password), json);
            json_round_trip::<ApiRequest>(json);
        }
        "iroh request, core" | "iroh request, module 0" => {
            let call: MethodCall = json_round_trip(json);
            let name = text(&case.input["method"]);
            let expected = match case.input["module"].as_u64() {
                None => Method::Core(name.to_owned()),
                Some(module) => format!("module_{module}_{name}").parse().unwrap(),
            };
            assert_eq!(call.method, expected);
        }
        "iroh response ok" => {
            let response: ApiResponse = json_round_trip(json);
            assert_eq!(response, Ok(case.input["value"].clone()));
        }
        "iroh response error" => {
            let response: ApiResponse = json_round_trip(json);
            assert_eq!(response, Err(ApiError::not_found("nosuchmethod")));
        }
        "error unauthorized" => assert_json(&ApiError::unauthorized(), json),
        "error server" => assert_json(&ApiError::internal(text(&case.input["text"])), json),
        "status without federation" => {
            json_round_trip::<StatusView>(json);
        }
        name if name.starts_with("server status ") => {
            let status: ServerStatus = json_round_trip(json);
            assert_eq!(format!("server status {status:?}"), name);
        }
        name if name.starts_with("setup status ") => {
            let status: SetupStatus = json_round_trip(json);
            assert_eq!(format!("setup status {status:?}"), name);
        }
        "set_local_params, leader" => {
            let params: LocalParams = json_round_trip(json);
            assert_eq!(params.check(), Ok(()));
        }
        "audit" => {
            json_round_trip::<AuditView>(json);
        }
        "backup statistics" => {
            json_round_trip::<BackupStatistics>(json);
        }
        "guardian config backup" => {
            let backup: GuardianBackup = json_round_trip(json);
            assert_eq!(backup.tar_archive_bytes, bytes(&case.input["tar"]));
        }
        name => panic!("nobody runs the shape {name:?}"),
    }
}

fn backup_request(case: &Case) {
    let key = numbered_key(case.input["secret_key"].as_u64().unwrap());
    let number = |name: &str| case.input[name].as_u64().unwrap();
    let since_epoch = Duration::new(number("secs"), u32::try_from(number("nanos")).unwrap());
    let request = BackupRequest {
        id: key.public_key(),
        payload: bytes(&case.input["payload"]),
        timestamp: Timestamp::from_unix(since_epoch).unwrap(),
    };
    assert_codec(&request, &case.output["encoded"]);
    assert_eq!(hex::encode(request.digest()), text(&case.output["digest"]));
    let signed = request.sign(&key);
    assert_json(&signed, &case.output["json"]);
    assert_eq!(json_round_trip::<SignedBackupRequest>(&case.output["json"]), signed);
    assert_eq!(signed.check(None, signed.request.timestamp), Ok(()));
}

fn version_discovery(case: &Case) {
    let summary = |core: CoreVersionSummary| VersionSummary { core, modules: BTreeMap::new() };
    let read = |json: &Value| serde_json::from_value::<CoreVersionSummary>(json.clone()).unwrap();
    let client = summary(read(&case.input["client"]));
    let peers = case.input["peers"].as_object().unwrap().values();
    let peers: Vec<VersionSummary> = peers.map(|peer| summary(read(peer))).collect();
    let agreed = discover(&client, &peers.iter().collect::<Vec<_>>());
    assert_json(&agreed.map(|agreed| agreed.core), &case.output["chosen"]);
}
