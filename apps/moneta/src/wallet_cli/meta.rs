//! `moneta meta`.

use std::collections::BTreeMap;
use std::time::Duration;

use moneta_client::meta;
use moneta_client::online::{Client, FieldsError};
use moneta_core::id::FederationId;
use moneta_meta::words::{ConsensusValue, KIND as META};
use serde::Serialize;
use serde_json::Value;

use super::context::{Context, agreed_meta};
use super::failure::Failure;
use super::screen::{Fields, Report, Style};

/// How long a wallet that has never read the guardians' agreement waits for it. A federation may
/// well have none, which guardians tell in a moment.
const FIRST_READ: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Serialize)]
struct Meta {
    federation_id: FederationId,
    /// Of the guardians' agreement; null while the fields are those fixed at setup.
    revision: Option<u64>,
    fields: BTreeMap<String, Value>,
    /// The document on the web in which the federation publishes fields; null if it names none.
    published_at: Option<String>,
    /// Those of `fields` that come from there: none as soon as the guardians have agreed, whose word
    /// counts alone. The document is not even read then.
    published: BTreeMap<String, Value>,
}

impl Report for Meta {
    fn text(&self, style: Style) -> String {
        let own = self.fields.iter().filter(|(name, _)| !self.published.contains_key(*name));
        let origin = match self.revision {
            Some(revision) => format!("agreed by the guardians, revision {revision}"),
            None => "fixed when the federation was set up".to_owned(),
        };
        let mut text = block(&origin, own, style);
        if let Some(address) = &self.published_at {
            let origin = match (self.revision, self.published.is_empty()) {
                (Some(_), _) => {
                    format!("published at {address}: not read, what the guardians agreed on counts")
                }
                (None, true) => format!("published at {address}: nothing else, or not reachable"),
                (None, false) => format!("published at {address}"),
            };
            text = format!("{text}\n\n{}", block(&origin, &self.published, style));
        }
        text
    }
}

/// Fields below a line on where they come from.
fn block<'a>(
    origin: &str,
    fields: impl IntoIterator<Item = (&'a String, &'a Value)>,
    style: Style,
) -> String {
    let mut lines = Fields::default();
    for (name, value) in fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.add(harmless(name), harmless(&value));
    }
    format!("{}\n{}", style.faint(harmless(origin)), lines.text(style)).trim_end().to_owned()
}

/// A text from outside without what could steer a terminal.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Those of the fields that count that do not stand in the config.
fn published(
    fields: &BTreeMap<String, Value>,
    config_meta: &BTreeMap<String, String>,
) -> BTreeMap<String, Value> {
    // A value that is no text is never from the config.
    let is_fixed = |name: &str, value: &Value| {
        value.as_str().is_some_and(|text| config_meta.get(name).is_some_and(|known| known == text))
    };
    let fields = fields.iter().filter(|(name, value)| !is_fixed(name, value));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Runs the command.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    context
        .use_client(async |client: &Client| {
            let agreed = first_read(client).await?;
            let value = agreed.as_ref().map(|agreed| agreed.value.0.as_slice());
            let reading = client.fields(value);
            let fields = context.screen.wait("reading the metadata", reading).await?;
            let config_meta = &client.info().meta;
            let published = match &agreed {
                Some(_) => BTreeMap::new(),
                None => published(&fields, config_meta),
            };
            context.screen.report(&Meta {
                federation_id: client.info().federation,
                revision: agreed.map(|agreed| agreed.revision),
                fields,
                published_at: meta::override_url(config_meta),
                published,
            })
        })
        .await
}

impl From<FieldsError> for Failure {
    fn from(error: FieldsError) -> Self {
        match error {
            FieldsError::Store(error) => error.into(),
            other => Self::refused(other).hint("tell the guardians; the wallet works all the same"),
        }
    }
}

async fn first_read(client: &Client) -> Result<Option<ConsensusValue>, Failure> {
    let reading = async {
        loop {
            match agreed_meta(client).await? {
                None if client.find_module(&META).is_some() => tokio::time::sleep(LOOK).await,
                agreed => return Ok(agreed),
            }
        }
    };
    tokio::time::timeout(FIRST_READ, reading).await.unwrap_or(Ok(None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: &str = "https://a.example/meta.json";

    fn meta(revision: Option<u64>, names: [&str; 2], published: &[&str]) -> Meta {
        let fields: BTreeMap<_, _> =
            names.map(|name| (name.to_owned(), json!(name.to_uppercase()))).into();
        let is_published = |name: &String| published.contains(&name.as_str());
        let published = fields.clone().into_iter().filter(|(name, _)| is_published(name)).collect();
        let (federation_id, published_at) = (FederationId([7; 32]), Some(AT.to_owned()));
        Meta { federation_id, revision, fields, published_at, published }
    }

    #[test]
    fn meta_names_its_origin() {
        let agreed = meta(Some(3), ["a", "b"], &[]);
        let shape = json!({
            "federation_id": "07".repeat(32), "revision": 3, "fields": {"a": "A", "b": "B"},
            "published_at": AT, "published": {},
        });
        assert_eq!(json!(agreed), shape);
        let text = "agreed by the guardians, revision 3\na  A\nb  B\n\npublished at \
                    https://a.example/meta.json: not read, what the guardians agreed on counts";
        assert_eq!(agreed.text(Style::PLAIN), text);
        let agreed = Meta { published_at: None, ..agreed };
        assert_eq!(agreed.text(Style::PLAIN), "agreed by the guardians, revision 3\na  A\nb  B");
    }

    #[test]
    fn published_fields_stand_by_themselves() {
        let both = meta(None, ["a", "b"], &["b"]);
        assert_eq!(json!(both)["published"], json!({"b": "B"}));
        let text = "fixed when the federation was set up\na  A\n\npublished at \
                    https://a.example/meta.json\nb  B";
        assert_eq!(both.text(Style::PLAIN), text);
        let text = meta(None, ["a", "b"], &[]).text(Style::PLAIN);
        assert!(text.ends_with("nothing else, or not reachable"), "{text}");
    }

    #[test]
    fn what_differs_from_the_config_is_published() {
        let config = [("name", "Old"), ("icon", "x")];
        let config = config.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let fields = [("name", json!("New")), ("icon", json!("x")), ("sites", json!(["a"]))];
        let fields = fields.map(|(name, value)| (name.to_owned(), value)).into();
        let names: Vec<_> = published(&fields, &config).into_keys().collect();
        assert_eq!(names, ["name", "sites"]);
    }

    #[test]
    fn words_of_others_cannot_steer_the_terminal() {
        let mut odd = meta(None, ["a", "b"], &["b"]);
        odd.published.insert("b\u{1b}".to_owned(), json!("\u{1b}[2J"));
        assert!(!odd.text(Style::PLAIN).contains('\u{1b}'));
    }
}
