#![allow(clippy::unwrap_used)]

use super::*;

fn code(name: &str) -> PeerSetupCode {
    let url = |text: &str| text.parse::<ApiUrl>().unwrap();
    PeerSetupCode {
        name: name.to_owned(),
        endpoints: PeerEndpoints::Tcp {
            api_url: url("ws://127.0.0.1:8174/"),
            p2p_url: url("fedimint://127.0.0.1:8173"),
            cert: vec![1],
        },
        federation_name: None,
        disable_base_fees: None,
        enabled_modules: None,
        federation_size: None,
        network: Network::Regtest,
        fedimint_version: "0.13.0".parse().unwrap(),
    }
}

fn leader(name: &str) -> PeerSetupCode {
    PeerSetupCode {
        federation_name: Some("fed".to_owned()),
        federation_size: Some(4),
        ..code(name)
    }
}

#[test]
fn own_code_is_refused_and_a_known_one_is_fine() {
    let (own, other) = (leader("a"), code("b"));
    assert_eq!(own.check_addition([], &own), Err(SetupCodeError::Own));
    assert_eq!(own.check_addition([&other], &other), Ok(()));
    let known_leader = leader("c");
    assert_eq!(other.check_addition([&known_leader], &known_leader), Ok(()));
}

#[test]
fn second_leader_is_refused_whether_known_or_new() {
    let name_taken = Err(SetupCodeError::FederationName("fed".to_owned()));
    assert_eq!(leader("a").check_addition([], &leader("b")), name_taken);
    assert_eq!(code("a").check_addition([&leader("b")], &leader("c")), name_taken);
    let sizes = |name| PeerSetupCode { federation_size: Some(7), ..code(name) };
    assert_eq!(sizes("a").check_addition([], &sizes("b")), Err(SetupCodeError::FederationSize(7)));
}

#[test]
fn other_network_release_or_transport_is_refused() {
    let own = code("a");
    let mainnet = PeerSetupCode { network: Network::Bitcoin, ..code("b") };
    let text = own.check_addition([], &mainnet).unwrap_err().to_string();
    assert_eq!(text, "Guardian uses Bitcoin network bitcoin but we use regtest");
    let vendor = PeerSetupCode { fedimint_version: "0.13.2+v".parse().unwrap(), ..code("b") };
    let text = own.check_addition([], &vendor).unwrap_err().to_string();
    assert_eq!(text, "Guardian uses Fedimint version 0.13+v but we use 0.13");
    let patch = PeerSetupCode { fedimint_version: "0.13.9".parse().unwrap(), ..code("b") };
    assert_eq!(own.check_addition([], &patch), Ok(()), "the patch level does not matter");
    let basepoint = hex::decode("5866666666666666666666666666666666666666666666666666666666666666");
    let key = IrohKey::from_byte_array(basepoint.unwrap().try_into().unwrap()).unwrap();
    let endpoints = PeerEndpoints::Iroh { api_pk: key, p2p_pk: key };
    let iroh = PeerSetupCode { endpoints, ..code("b") };
    assert_eq!(own.check_addition([], &iroh), Err(SetupCodeError::EndpointVariant));
}

#[test]
fn malformed_release_versions_are_refused() {
    for text in
        ["", "0.13", "0.13.0.1", "0.013.0", "a.b.c", "0.13.0+", "0.13.0-", "0.13.+1", "1.2.3+a..b"]
    {
        assert_eq!(text.parse::<ReleaseVersion>(), Err(ReleaseVersionError), "{text}");
    }
    let pre: ReleaseVersion = "0.13.0-rc.1+x-y".parse().unwrap();
    assert_eq!(pre.to_string(), "0.13.0+x-y");
}
