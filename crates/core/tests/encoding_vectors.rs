//! `encoding.json`: integers, composites, enums, URLs and text wrappers.

#![allow(missing_docs, clippy::unwrap_used)]

mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use moneta_core::text::{base32, decode_prefixed, encode_prefixed};
use moneta_core::{ApiUrl, Decode, Encode, MeHex, Msat};
use serde_json::Value;
use vectors::{Case, Outcome, bytes, number, run};

#[derive(Debug, PartialEq, Encode, Decode)]
struct Unit;

#[derive(Debug, PartialEq, Encode, Decode)]
struct Xyz {
    x: u8,
    y: u64,
    z: Vec<u8>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum Closed {
    Unit,
    One(u64),
    Two { a: u16, b: String },
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum Open {
    Zero(u64),
    Opt(Option<u8>),
    #[codec(unknown)]
    Unknown {
        variant: u64,
        bytes: Vec<u8>,
    },
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum Indexed {
    #[codec(index = 7)]
    Seven,
    #[codec(index = 300)]
    ThreeHundred(bool),
}

type Tuple6 = (u8, u8, u64, bool, String, Vec<u8>);

#[test]
fn every_case_of_encoding_json_holds() {
    run("encoding.json", |case| match case.op.as_str() {
        "codec" | "decode" => codec_or_decode(case),
        "url" => url(case),
        "base32" => {
            assert_eq!(base32::encode(&case.in_hex("hex")), case.out_str("text"));
            assert_eq!(base32::decode(case.out_str("text")).unwrap(), case.in_hex("hex"));
            Outcome::Ran
        }
        "base32-decode" => {
            let decoded = base32::decode(case.in_str("text")).ok();
            assert_eq!(decoded, expected_bytes(case));
            Outcome::Ran
        }
        "prefixed-base32" if case.kind() == "u64" => {
            let value = u64::from_bytes(&case.in_hex("hex")).unwrap();
            assert_eq!(encode_prefixed(&value), case.out_str("text"));
            Outcome::Ran
        }
        "prefixed-base32-decode" if case.kind() == "u64" => {
            let decoded = decode_prefixed::<u64>(case.in_str("text")).ok();
            assert_eq!(decoded.map(|value| value.to_bytes()), expected_bytes(case));
            Outcome::Ran
        }
        "me-hex" if case.kind() == "u64" => {
            let value = MeHex(u64::from_bytes(&case.in_hex("hex")).unwrap());
            assert_eq!(serde_json::to_value(value).unwrap(), case.output["json"]);
            Outcome::Ran
        }
        "me-hex-decode" if case.kind() == "u64" => {
            let decoded = serde_json::from_value::<MeHex<u64>>(case.input["json"].clone()).ok();
            assert_eq!(decoded.map(|value| value.0.to_bytes()), expected_bytes(case));
            Outcome::Ran
        }
        "json-decode" if case.kind() == "ME-hex(u64)" => case.check_json_decode::<MeHex<u64>>(),
        "consensus_hash" => {
            let hash = Raw(case.in_hex("hex")).consensus_hash();
            assert_eq!(hash.to_string(), case.out_str("sha256"));
            Outcome::Ran
        }
        _ => Outcome::Unknown,
    });
}

/// Stands for a value of which only the encoding is known.
struct Raw(Vec<u8>);

impl Encode for Raw {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

fn expected_bytes(case: &Case) -> Option<Vec<u8>> {
    (!case.refused()).then(|| case.out_hex("hex"))
}

fn url(case: &Case) -> Outcome {
    let parsed = case.in_str("text").parse::<ApiUrl>();
    let json = serde_json::from_value::<ApiUrl>(case.input["text"].clone());
    if case.refused() {
        assert!(parsed.is_err() && json.is_err());
        return Outcome::Ran;
    }
    let url = parsed.unwrap();
    assert_eq!(json.unwrap(), url);
    assert_eq!(url.to_string(), case.out_str("display"));
    assert_eq!(serde_json::to_value(&url).unwrap(), case.output["json"]);
    assert_eq!(hex::encode(url.to_bytes()), case.out_str("hex"));
    let decoded = ApiUrl::from_bytes(&case.out_hex("hex")).unwrap();
    assert_eq!(decoded.to_bytes(), url.to_bytes());
    Outcome::Ran
}

/// Checks `case` as a `codec` case with the value that `read` makes of `in.value`, or as a
/// `decode` case.
fn check<T: Encode + Decode + PartialEq + Debug>(
    case: &Case,
    read: impl Fn(&Value) -> T,
) -> Outcome {
    match case.op.as_str() {
        "codec" => case.check_codec(&read(&case.input["value"])),
        _ => case.check_decode::<T>(),
    }
}

fn codec_or_decode(case: &Case) -> Outcome {
    match case.kind() {
        "u8" => check(case, number::<u8>),
        "u16" => check(case, number::<u16>),
        "u32" => check(case, number::<u32>),
        "u64" => check(case, number::<u64>),
        "bool" => check(case, |v| v.as_bool().unwrap()),
        "option<u64>" => check(case, |v| (!v.is_null()).then(|| number::<u64>(v))),
        "result<u64,string>" => check(case, |v| match v.get("ok") {
            Some(ok) => Ok(number::<u64>(ok)),
            None => Err(text(&v["err"])),
        }),
        "string" => check(case, text),
        "bytes" => check(case, bytes),
        "vec<u64>" => check(case, numbers),
        "vec<string>" => check(case, |v| list(v).iter().map(text).collect::<Vec<_>>()),
        "vec<unit>" => check(case, |v| list(v).iter().map(|_| Unit).collect::<Vec<_>>()),
        "[u8;4]" => check::<[u8; 4]>(case, |v| bytes(v).try_into().unwrap()),
        "[u64;3]" => check::<[u64; 3]>(case, |v| numbers(v).try_into().unwrap()),
        "(u64,string)" => check(case, |v| (number::<u64>(&v[0]), text(&v[1]))),
        "(u8,u8,u64,bool,string,bytes)" => check::<Tuple6>(case, |v| {
            let flag = v[3].as_bool().unwrap();
            (number(&v[0]), number(&v[1]), number(&v[2]), flag, text(&v[4]), bytes(&v[5]))
        }),
        "()" => check(case, |_| ()),
        "duration" => check(case, |v| Duration::new(number(&v["secs"]), number(&v["nanos"]))),
        "map<u64,u64>" => check(case, |v| map(v, |k| k.parse::<u64>().unwrap(), number::<u64>)),
        "map<string,u64>" => check(case, |v| map(v, str::to_owned, number::<u64>)),
        "set<u16>" => check(case, |v| list(v).iter().map(number::<u16>).collect::<BTreeSet<_>>()),
        "map<amount,u64>" => check(case, |v| map(v, amount, number::<u64>)),
        "map<amount,vec<u64>>" => check(case, |v| map(v, amount, numbers)),
        "struct{x:u8,y:u64,z:bytes}" => {
            check(case, |v| Xyz { x: number(&v["x"]), y: number(&v["y"]), z: bytes(&v["z"]) })
        }
        "struct{}" => check(case, |_| Unit),
        "closed enum{0 Unit,1 One(u64),2 Two{a:u16,b:string}}" => check(case, closed),
        "open enum{0 Zero(u64),1 Opt(option<u8>)}" => check(case, open),
        "closed enum{7 Seven,300 ThreeHundred(bool)}" => check(case, |v| match v.as_str() {
            Some("Seven") => Indexed::Seven,
            _ => Indexed::ThreeHundred(v["ThreeHundred"].as_bool().unwrap()),
        }),
        "url" if case.op == "decode" => case.check_decode::<ApiUrl>(),
        _ => Outcome::Unknown,
    }
}

fn closed(value: &Value) -> Closed {
    if value == "Unit" {
        Closed::Unit
    } else if let Some(one) = value.get("One") {
        Closed::One(number(one))
    } else {
        Closed::Two { a: number(&value["Two"]["a"]), b: text(&value["Two"]["b"]) }
    }
}

fn open(value: &Value) -> Open {
    if let Some(unknown) = value.get("unknown") {
        Open::Unknown { variant: number(&unknown[0]), bytes: bytes(&unknown[1]) }
    } else if let Some(opt) = value.get("Opt") {
        Open::Opt((!opt.is_null()).then(|| number(opt)))
    } else {
        Open::Zero(number(&value["Zero"]))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    list(value).iter().map(number).collect()
}

fn amount(text: &str) -> Msat {
    Msat(text.parse().unwrap())
}

fn map<K: Ord, V>(
    value: &Value,
    key: impl Fn(&str) -> K,
    item: impl Fn(&Value) -> V,
) -> BTreeMap<K, V> {
    value.as_object().unwrap().iter().map(|(k, v)| (key(k), item(v))).collect()
}
