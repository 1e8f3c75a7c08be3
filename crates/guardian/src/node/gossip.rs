//! Announcements and metadata: signed statements of guardians about themselves that every guardian
//! keeps and serves.
//!
//! Source: docs/protocol/guardian.md, section 5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moneta_core::announcement::{Submission, SubmittedApiAnnouncement, SubmittedGuardianMetadata};
use moneta_core::{
    ApiAnnouncement, ApiError, ApiUrl, Decode, Encode, GuardianMetadata, PeerId,
    SignedApiAnnouncement, SignedGuardianMetadata,
};
use moneta_crypto::derive::GuardianKey;
use moneta_net::links::Channel;
use moneta_store::{Order, StoreError};
use tracing::{debug, warn};

use super::shared::{Node, now_secs};
use super::tables;

/// How often everything is told again, for peers that lost theirs in a restore.
const REPEAT: Duration = Duration::from_secs(600);

/// Metadata may be dated this far ahead (guardian.md 5.2). Our own clock may have been set back
/// since it was stored.
const MAX_AHEAD_SECS: u64 = 3600;

/// On the gossip channel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct News {
    announcements: BTreeMap<PeerId, SignedApiAnnouncement>,
    metadata: BTreeMap<PeerId, SignedGuardianMetadata>,
}

/// Signs what is missing about this guardian itself, at every start; at that of a restored one when
/// its doubt has ended. Before, it does not know whether it has moved since its configuration was
/// made, and metadata signed now would win over its true address everywhere.
pub(super) fn introduce_self(node: &Node) -> Result<(), StoreError> {
    let me = node.me();
    let Some(endpoint) = node.config.consensus.api_endpoints.get(&me) else { return Ok(()) };
    let url = endpoint.url.clone();
    node.store.update(|writes| {
        if tables::ANNOUNCEMENTS.get(writes, &me)?.is_none() {
            let first = ApiAnnouncement { api_url: url.clone(), nonce: 0 };
            tables::ANNOUNCEMENTS.insert(writes, &me, &first.sign(&node.broadcast_key));
        }
        if tables::METADATA.get(writes, &me)?.is_none() {
            let first = GuardianMetadata {
                api_urls: vec![url.clone()],
                pkarr_id_z32: pkarr_id(node),
                timestamp_secs: now_secs(),
                iroh_next_endpoint: None,
            };
            tables::METADATA.insert(writes, &me, &first.sign(&node.broadcast_key));
        }
        Ok(())
    })
}

/// The z-base32 text of the ed25519 key that follows from the broadcast key.
fn pkarr_id(node: &Node) -> String {
    use sha2::{Digest, Sha512};
    let seed = GuardianKey::Pkarr.ed25519_seed(&node.broadcast_key.secret_key());
    let hash = Sha512::digest(*seed);
    let mut scalar = [0; 32];
    scalar.copy_from_slice(&hash[..32]);
    let public = curve25519_dalek::EdwardsPoint::mul_base_clamped(scalar).compress();
    z_base32(public.as_bytes())
}

fn z_base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
    let mut text = String::new();
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    text
}

/// All announcements that are stored.
pub(super) fn announcements(
    node: &Node,
) -> Result<BTreeMap<PeerId, SignedApiAnnouncement>, StoreError> {
    tables::ANNOUNCEMENTS.scan(&node.store.snapshot(), Order::Ascending).collect()
}

/// All metadata that is stored and valid now: one bad entry would cost clients the whole answer.
pub(super) fn metadata(
    node: &Node,
) -> Result<BTreeMap<PeerId, SignedGuardianMetadata>, StoreError> {
    let latest = now_secs().saturating_add(MAX_AHEAD_SECS);
    tables::METADATA
        .scan(&node.store.snapshot(), Order::Ascending)
        .filter(|row| {
            !row.as_ref().is_ok_and(|(_, signed)| signed.metadata().timestamp_secs > latest)
        })
        .collect()
}

/// Stores a guardian's announcement.
///
/// Errors: 400 with the texts of guardian.md 5.1.
pub(super) fn submit_announcement(
    node: &Node,
    submitted: SubmittedApiAnnouncement,
) -> Result<(), ApiError> {
    let SubmittedApiAnnouncement { signed, peer_id } = submitted;
    let key = broadcast_key(node, peer_id)?;
    check_size(&signed)?;
    let stored = node.store.update(|writes| {
        let known = tables::ANNOUNCEMENTS.get(writes, &peer_id)?;
        Ok::<_, StoreError>(match signed.check_submission(key, known.as_ref()) {
            Ok(Submission::Store) => {
                tables::ANNOUNCEMENTS.insert(writes, &peer_id, &signed);
                Ok(true)
            }
            Ok(Submission::Known) => Ok(false),
            Err(error) => Err(ApiError::bad_request(error)),
        })
    });
    finish_submission(node, stored)
}

/// Stores a guardian's metadata.
///
/// Errors: 400 with the texts of guardian.md 5.2.
pub(super) fn submit_metadata(
    node: &Node,
    submitted: SubmittedGuardianMetadata,
) -> Result<(), ApiError> {
    let SubmittedGuardianMetadata { signed, peer_id } = submitted;
    let key = broadcast_key(node, peer_id)?;
    check_size(&signed)?;
    let stored = node.store.update(|writes| {
        let known = tables::METADATA.get(writes, &peer_id)?;
        Ok::<_, StoreError>(match signed.check_submission(key, now_secs(), known.as_ref()) {
            Ok(Submission::Store) => {
                tables::METADATA.insert(writes, &peer_id, &signed);
                Ok(true)
            }
            Ok(Submission::Known) => Ok(false),
            Err(error) => Err(ApiError::bad_request(error)),
        })
    });
    finish_submission(node, stored)
}

fn finish_submission(
    node: &Node,
    stored: Result<Result<bool, ApiError>, StoreError>,
) -> Result<(), ApiError> {
    let is_new = stored.map_err(ApiError::internal)??;
    if is_new {
        node.news.notify_one();
    }
    Ok(())
}

fn broadcast_key(node: &Node, peer: PeerId) -> Result<&bitcoin::secp256k1::PublicKey, ApiError> {
    let keys = &node.config.consensus.broadcast_public_keys;
    keys.get(&peer).ok_or_else(|| ApiError::bad_request("Peer not in federation"))
}

/// Why a statement of our own is not stored.
struct Refused(ApiError);

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self(ApiError::internal(error))
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

/// Signs, stores and returns a new own address.
pub(super) fn sign_announcement(
    node: &Node,
    api_url: ApiUrl,
) -> Result<SignedApiAnnouncement, ApiError> {
    check_size(&api_url)?;
    let me = node.me();
    let signed = node.store.update(|writes| {
        let known = tables::ANNOUNCEMENTS.get(writes, &me)?;
        let nonce = known.map_or(0, |known| known.api_announcement.nonce.saturating_add(1));
        let signed = ApiAnnouncement { api_url, nonce }.sign(&node.broadcast_key);
        tables::ANNOUNCEMENTS.insert(writes, &me, &signed);
        Ok::<_, StoreError>(signed)
    });
    let signed = signed.map_err(ApiError::internal)?;
    node.news.notify_one();
    Ok(signed)
}

/// Signs, stores and returns new own metadata. The iroh endpoint is never taken from the caller.
pub(super) fn sign_metadata(
    node: &Node,
    mut metadata: GuardianMetadata,
) -> Result<SignedGuardianMetadata, ApiError> {
    let me = node.me();
    let signed = node.store.update(|writes| {
        let known = tables::METADATA.get(writes, &me)?;
        metadata.iroh_next_endpoint =
            known.and_then(|known| known.metadata().iroh_next_endpoint.clone());
        let signed = metadata.sign(&node.broadcast_key);
        check_size(&signed)?;
        tables::METADATA.insert(writes, &me, &signed);
        Ok::<_, Refused>(signed)
    });
    let signed = signed.map_err(|Refused(error)| error)?;
    node.news.notify_one();
    Ok(signed)
}

/// Takes what a peer tells; whatever does not verify is dropped.
pub(super) fn hear(node: &Node, from: PeerId, news: News) {
    for (peer_id, signed) in news.announcements {
        let submitted = SubmittedApiAnnouncement { signed, peer_id };
        if let Err(error) = submit_announcement(node, submitted) {
            debug!(target: "moneta::node", %from, about = %peer_id, %error, "announcement not taken");
        }
    }
    for (peer_id, signed) in news.metadata {
        let submitted = SubmittedGuardianMetadata { signed, peer_id };
        if let Err(error) = submit_metadata(node, submitted) {
            debug!(target: "moneta::node", %from, about = %peer_id, %error, "metadata not taken");
        }
    }
}

/// Tells one peer everything, one guardian at a time.
pub(super) fn tell(node: &Node, peer: PeerId) {
    let Some(links) = &node.links else { return };
    match everything(node) {
        Ok(news) => {
            for news in news {
                if let Err(error) = links.send(peer, Channel::GOSSIP, news.to_bytes()) {
                    debug!(target: "moneta::node", %peer, %error, "news not sent");
                }
            }
        }
        Err(error) => warn!(target: "moneta::node", %error, "cannot read announcements"),
    }
}

fn everything(node: &Node) -> Result<Vec<News>, StoreError> {
    let (mut announcements, mut metadata) = (announcements(node)?, metadata(node)?);
    let about = |peer: PeerId| News {
        announcements: announcements.remove_entry(&peer).into_iter().collect(),
        metadata: metadata.remove_entry(&peer).into_iter().collect(),
    };
    Ok(node.engine.size().peer_ids().map(about).collect())
}

/// Everybody keeps and serves what one guardian says of itself, so it must be short.
const STATEMENT_LIMIT_BYTES: usize = 64 * 1024;

fn check_size(statement: &impl Encode) -> Result<(), ApiError> {
    match statement.to_bytes().len() > STATEMENT_LIMIT_BYTES {
        true => Err(ApiError::bad_request("A statement is at most 64 KiB long")),
        false => Ok(()),
    }
}

/// Tells all peers everything when something is new, and now and then; until dropped.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        let due = tokio::time::sleep(REPEAT);
        tokio::pin!(due);
        tokio::select! {
            () = node.news.notified() => {}
            () = &mut due => {}
        }
        for peer in node.engine.size().peer_ids().filter(|peer| *peer != node.me()) {
            tell(&node, peer);
        }
    }
}
