//! What a federation says of itself: name, welcome message, expiry.
//!
//! Source: docs/protocol/core.md, section 5.5; docs/protocol/guardian.md, section 6.5.

use std::collections::BTreeMap;

use moneta_core::id::FederationId;
use serde_json::Value;

/// The value of the `meta` module under key 0 is no JSON object. It changes nothing then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the federation's metadata is not a JSON object")]
pub struct MetaError;

/// Returns the address of the document that overlays the config, if the config names one. A value
/// that is itself quoted as JSON is unquoted.
///
/// Source: docs/protocol/guardian.md, section 6.5.
pub fn override_url(config_meta: &BTreeMap<String, String>) -> Option<String> {
    let address = config_meta.get("meta_override_url")?;
    Some(serde_json::from_str(address).unwrap_or_else(|_| address.clone()))
}

/// Returns what the document behind [`override_url`] says of one federation; `None` if it says
/// nothing, or is no such document.
pub fn parse_override(
    document: &[u8],
    federation: FederationId,
) -> Option<BTreeMap<String, Value>> {
    let mut federations: BTreeMap<String, Value> = serde_json::from_slice(document).ok()?;
    let fields = federations.remove(&federation.to_string())?;
    serde_json::from_value(fields).ok()
}

/// Returns the fields that count: those of the `meta` module as soon as it has a value, else those
/// of the config with `overlay` over them ([`parse_override`]).
///
/// Errors: see [`fields`].
pub fn overlaid_fields(
    module_value: Option<&[u8]>,
    config_meta: &BTreeMap<String, String>,
    overlay: BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, MetaError> {
    let mut found = fields(module_value, config_meta)?;
    if module_value.is_none() {
        found.extend(overlay);
    }
    Ok(found)
}

/// Returns the fields that count: those of the `meta` module as soon as it has a value, else those
/// of the config, which are then without effect.
///
/// A text in the module's value that is JSON is unwrapped; one in the config stays as it is.
pub fn fields(
    module_value: Option<&[u8]>,
    config_meta: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, MetaError> {
    let Some(value) = module_value else {
        let texts = config_meta.iter();
        return Ok(texts.map(|(key, text)| (key.clone(), text.as_str().into())).collect());
    };
    let fields: BTreeMap<String, Value> = serde_json::from_slice(value).map_err(|_| MetaError)?;
    Ok(fields.into_iter().map(|(key, value)| (key, unwrapped(value))).collect())
}

/// Returns a field as text. A text that is itself quoted as JSON is unquoted.
pub fn text(fields: &BTreeMap<String, Value>, key: &str) -> Option<String> {
    let text = fields.get(key)?.as_str()?;
    Some(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()))
}

fn unwrapped(value: Value) -> Value {
    match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn module_value_replaces_the_config_and_is_unwrapped() {
        let config = BTreeMap::from([("federation_name".to_owned(), "\"Old\"".to_owned())]);
        let from_config = fields(None, &config).unwrap();
        assert_eq!(text(&from_config, "federation_name").unwrap(), "Old");
        let value = br#"{"federation_name":"New","federation_expiry_timestamp":"1700000000"}"#;
        let from_module = fields(Some(value), &config).unwrap();
        assert_eq!(text(&from_module, "federation_name").unwrap(), "New");
        assert_eq!(from_module["federation_expiry_timestamp"], json!(1_700_000_000));
        assert_eq!(fields(Some(b"[1]"), &config), Err(MetaError));
    }

    #[test]
    fn published_fields_overlay_the_config_and_give_way_to_the_module() {
        let federation = FederationId([7; 32]);
        let document = json!({
            federation.to_string(): {"welcome_message": "Hi", "federation_name": "Newer"},
            FederationId([8; 32]).to_string(): {"federation_name": "Other"},
        });
        let overlay = parse_override(document.to_string().as_bytes(), federation).unwrap();
        let config = BTreeMap::from([("federation_name".to_owned(), "Old".to_owned())]);
        let found = overlaid_fields(None, &config, overlay.clone()).unwrap();
        assert_eq!(text(&found, "federation_name").unwrap(), "Newer");
        assert_eq!(text(&found, "welcome_message").unwrap(), "Hi");
        let found = overlaid_fields(Some(b"{}"), &config, overlay).unwrap();
        assert!(found.is_empty());
        assert_eq!(parse_override(b"{}", federation), None);
        assert_eq!(parse_override(b"<html>", federation), None);
        let listed = json!({ federation.to_string(): ["no", "object"] }).to_string();
        assert_eq!(parse_override(listed.as_bytes(), federation), None);
    }

    #[test]
    fn address_of_the_document_may_be_quoted() {
        let address = |value: &str| {
            override_url(&BTreeMap::from([("meta_override_url".to_owned(), value.to_owned())]))
        };
        assert_eq!(address("\"https://a.example/\"").unwrap(), "https://a.example/");
        assert_eq!(address("https://a.example/").unwrap(), "https://a.example/");
        assert_eq!(override_url(&BTreeMap::new()), None);
    }
}
