//! Every rule and text of guardian.md, section 3.2.

#![allow(clippy::unwrap_used)]

use bitcoin::Network;
use moneta_core::setup_code::IrohKey;

use super::*;

fn identity(index: usize) -> Identity {
    let url = |scheme: &str, port: usize| {
        format!("{scheme}://127.0.0.1:{}", port + index).parse::<ApiUrl>().unwrap()
    };
    Identity {
        api_url: Some(url("ws", 8000)),
        p2p_url: Some(url("fedimint", 9000)),
        cert: vec![index as u8; 4],
        network: Network::Regtest,
        kinds: ["alpha", "beta"].into_iter().map(ModuleKind::from_static).collect(),
        release: "0.13.0".parse().unwrap(),
    }
}

fn follower(name: &str) -> LocalParams {
    LocalParams {
        name: name.to_owned(),
        federation_name: None,
        disable_base_fees: None,
        enabled_modules: None,
        federation_size: None,
    }
}

fn leader(size: u32) -> LocalParams {
    LocalParams {
        federation_name: Some("Friends".to_owned()),
        federation_size: Some(size),
        ..follower("guardian-0")
    }
}

/// What each of `count` guardians starts key generation with, by guardian id.
pub(crate) fn agreements(count: usize) -> Vec<Agreement> {
    let mut ceremonies = vec![Ceremony::default(); count];
    let mut codes = Vec::new();
    for (index, ceremony) in ceremonies.iter_mut().enumerate() {
        let params = match index {
            0 => leader(count as u32),
            _ => follower(&format!("guardian-{index}")),
        };
        codes.push(ceremony.set_local_params(params, &identity(index)).unwrap());
    }
    let mut agreements = Vec::new();
    for (index, ceremony) in ceremonies.iter_mut().enumerate() {
        for code in codes.iter().filter(|code| **code != codes[index]) {
            ceremony.add_peer(code).unwrap();
        }
        agreements.push(ceremony.start(&identity(index)).unwrap());
    }
    agreements
}

fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>, code: i32, text: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (code, text));
}

/// A guardian that has set its parameters.
fn ready(params: LocalParams) -> Ceremony {
    let mut ceremony = Ceremony::default();
    ceremony.set_local_params(params, &identity(0)).unwrap();
    ceremony
}

fn code_of(index: usize, change: impl FnOnce(&mut PeerSetupCode)) -> String {
    let mut ceremony = Ceremony::default();
    let params = follower(&format!("guardian-{index}"));
    let text = ceremony.set_local_params(params, &identity(index)).unwrap();
    let mut code: PeerSetupCode = text.parse().unwrap();
    change(&mut code);
    code.to_string()
}

#[test]
fn guardian_ids_follow_names_and_are_the_same_for_all() {
    let agreements = agreements(4);
    for (index, agreement) in agreements.iter().enumerate() {
        assert_eq!(agreement.me, PeerId::new(index as u16));
        assert_eq!(agreement.codes, agreements[0].codes);
        assert_eq!(agreement.codes[&agreement.me].name, format!("guardian-{index}"));
        assert_eq!(agreement.federation_name, "Friends");
        assert_eq!(agreement.modules.len(), 2, "no list means every kind");
    }
}

#[test]
fn local_parameters_are_checked_with_the_texts_of_the_protocol() {
    let set = |params: LocalParams| Ceremony::default().set_local_params(params, &identity(0));
    refused(set(follower("")), 400, "The guardian name is empty");
    let unnamed = LocalParams { federation_name: Some(String::new()), ..leader(4) };
    refused(set(unnamed), 400, "The federation name is empty");
    let unsized_ = LocalParams { federation_size: None, ..leader(4) };
    refused(set(unsized_), 400, "The leader must set the federation size");
    refused(set(leader(2)), 400, "Federation size must be 1 or at least 4");
    let mut unknown = leader(4);
    unknown.enabled_modules = Some([ModuleKind::from_static("gamma")].into());
    refused(
        set(unknown),
        400,
        "Module kind gamma is not implemented here; known kinds: alpha, beta",
    );

    let mut no_api = identity(0);
    no_api.api_url = None;
    refused(
        Ceremony::default().set_local_params(leader(4), &no_api),
        400,
        "Api URL must be configured",
    );
    let mut no_p2p = identity(0);
    no_p2p.p2p_url = None;
    refused(
        Ceremony::default().set_local_params(leader(4), &no_p2p),
        400,
        "P2P URL must be configured",
    );
}

#[test]
fn equal_parameters_give_the_same_code_and_others_are_refused() {
    let mut ceremony = Ceremony::default();
    assert_eq!(ceremony.status(), SetupStatus::AwaitingLocalParams);
    assert_eq!(ceremony.setup_code(), None);
    let code = ceremony.set_local_params(leader(4), &identity(0)).unwrap();
    assert_eq!(ceremony.status(), SetupStatus::SharingConnectionCodes);
    assert_eq!(ceremony.set_local_params(leader(4), &identity(0)).unwrap(), code);
    assert_eq!(ceremony.setup_code(), Some(code));
    let other = ceremony.set_local_params(leader(5), &identity(0));
    refused(other, 400, "Local parameters have already been set");
}

#[test]
fn setup_codes_are_checked_with_the_texts_of_the_protocol() {
    let mut ceremony = ready(LocalParams {
        disable_base_fees: Some(true),
        enabled_modules: Some([ModuleKind::from_static("alpha")].into()),
        ..leader(4)
    });
    let own = ceremony.setup_code().unwrap();
    refused(ceremony.add_peer(&own), 400, "You cannot add your own setup code");
    let mut add = |text: &str, change: &dyn Fn(&mut PeerSetupCode)| {
        refused(ceremony.add_peer(&code_of(1, |code| change(code))), 400, text);
    };
    add("Guardian has different endpoint variant (TCP/Iroh) than us.", &|code| {
        let key = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let key = IrohKey::from_byte_array(key.unwrap().try_into().unwrap()).unwrap();
        code.endpoints = PeerEndpoints::Iroh { api_pk: key, p2p_pk: key };
    });
    add("Guardian uses Fedimint version 0.12 but we use 0.13", &|code| {
        code.fedimint_version = "0.12.0".parse().unwrap();
    });
    add("Guardian uses Bitcoin network bitcoin but we use regtest", &|code| {
        code.network = Network::Bitcoin;
    });
    add("Federation name has already been set to Friends", &|code| {
        code.federation_name = Some("Foes".to_owned());
    });
    add("Base fees setting has already been configured to disabled=true", &|code| {
        code.disable_base_fees = Some(false);
    });
    add("Enabled modules have already been configured by another guardian", &|code| {
        code.enabled_modules = Some(BTreeSet::new());
    });
    add("Federation size has already been set to 4", &|code| code.federation_size = Some(4));

    let code = code_of(1, |code| code.fedimint_version = "0.13.7".parse().unwrap());
    assert_eq!(ceremony.add_peer(&code).unwrap(), "guardian-1", "patch levels may differ");
    assert_eq!(ceremony.add_peer(&format!(" {code}\n")).unwrap(), "guardian-1", "twice is fine");
    assert_eq!(ceremony.entered().count(), 1);
    let garbage = ceremony.add_peer("fedimintxyz").unwrap_err();
    assert_eq!(garbage.code, 400);
    assert!(garbage.message.starts_with("This is not a setup code"), "{garbage}");
    ceremony.reset_peers().unwrap();
    assert_eq!(ceremony.entered().count(), 0);
}

#[test]
fn start_is_refused_until_everybody_is_there() {
    let start = |ceremony: &mut Ceremony| ceremony.start(&identity(0)).map(|_| ());
    refused(start(&mut Ceremony::default()), 500, "Set the local parameters first");
    refused(Ceremony::default().add_peer("x"), 500, "Set the local parameters first");
    let mut ceremony = ready(leader(4));
    refused(start(&mut ready(leader(4))), 500, "Expected 4 guardians but got 1");
    ceremony.add_peer(&code_of(1, |_| {})).unwrap();
    refused(start(&mut ceremony), 500, "The number of guardians is invalid");
    for index in 2..5 {
        ceremony.add_peer(&code_of(index, |_| {})).unwrap();
    }
    refused(start(&mut ceremony), 500, "Expected 4 guardians but got 5");
    let nameless = start(&mut ready(follower("alone")));
    refused(nameless, 500, "We need one guardian to configure the federations name");
    assert!(!ceremony.is_started());
}

#[test]
fn nothing_changes_once_key_generation_is_started() {
    let mut ceremony = ready(leader(1));
    ceremony.start(&identity(0)).unwrap();
    let after = ceremony.clone();
    let text = "Key generation has already been started";
    refused(ceremony.add_peer(&code_of(1, |_| {})), 400, text);
    refused(ceremony.reset_peers(), 400, text);
    ceremony.start(&identity(0)).unwrap();
    assert_eq!(ceremony, after);
}

/// Twenty-one guardians could do the whole ceremony, and learned at its last step that it was in vain.
#[test]
fn federation_of_more_guardians_than_its_script_holds_is_refused_before_keys_are_made() {
    let text = "A federation has at most 20 guardians, not 21: the script that holds its bitcoin has \
        room for no more keys";
    let mut announced = Ceremony::default();
    refused(announced.set_local_params(leader(21), &identity(0)), 400, text);
    announced.set_local_params(leader(20), &identity(0)).unwrap();

    // The leader of the others says nothing; this one has not entered its code.
    let mut unannounced = ready(follower("guardian-0"));
    for index in 1..=20 {
        unannounced.add_peer(&code_of(index, |_| {})).unwrap();
    }
    refused(unannounced.start(&identity(0)), 500, text);
    assert!(!unannounced.is_started());
    assert_eq!(agreements(20).len(), 20);
}
