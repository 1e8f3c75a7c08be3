//! `moneta meta`.

use std::collections::BTreeMap;
use std::time::Duration;

use moneta_client::meta;
use moneta_client::online::Client;
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
}

impl Report for Meta {
    fn text(&self, style: Style) -> String {
        let mut fields = Fields::default();
        for (name, value) in &self.fields {
            fields.add(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        let origin = match self.revision {
            Some(revision) => format!("agreed by the guardians, revision {revision}"),
            None => "fixed when the federation was set up".to_owned(),
        };
        format!("{}\n{}", style.faint(origin), fields.text(style)).trim_end().to_owned()
    }
}

/// Runs the command.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    context
        .use_client(async |client: &Client| {
            let agreed = first_read(client).await?;
            let value = agreed.as_ref().map(|agreed| agreed.value.0.as_slice());
            let fields = meta::fields(value, &client.info().meta).map_err(|error| {
                Failure::refused(error).hint("tell the guardians; the wallet works all the same")
            })?;
            let federation_id = client.info().federation;
            let revision = agreed.map(|agreed| agreed.revision);
            context.screen.report(&Meta { federation_id, revision, fields })
        })
        .await
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

    #[test]
    fn meta_names_its_origin() {
        let fields = BTreeMap::from([("federation_name".to_owned(), json!("Friends"))]);
        let federation_id = FederationId([7; 32]);
        let meta = Meta { federation_id, revision: Some(3), fields };
        let shape = json!({
            "federation_id": "07".repeat(32), "revision": 3,
            "fields": {"federation_name": "Friends"},
        });
        assert_eq!(json!(meta), shape);
        let text = meta.text(Style::PLAIN);
        assert_eq!(text, "agreed by the guardians, revision 3\nfederation_name  Friends");
    }
}
