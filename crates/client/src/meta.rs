//! What a federation says of itself: name, welcome message, expiry.
//!
//! Source: docs/protocol/core.md, section 5.5; docs/protocol/guardian.md, section 6.5.

use std::collections::BTreeMap;

use serde_json::Value;

/// The value of the `meta` module under key 0 is no JSON object. It changes nothing then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the federation's metadata is not a JSON object")]
pub struct MetaError;

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
}
