//! The bytes of AlephBFT's units and messages, as far as we look into them.
//!
//! AlephBFT hands encoded units to the saver and gives no access to their fields, nor to those of
//! messages. The layout below is that of version 0.45.4, which the manifest pins exactly; tests
//! read real units and messages by it and fail when it changes. All numbers are little endian;
//! `compact` is the variable-length integer of the SCALE codec.
//!
//! ```text
//! unit      round u16, creator u64,
//!           parents compact count, then per guardian 0 | 1 and round u16,
//!           control hash 32 bytes,
//!           data 0 | 1, compact length, bytes,
//!           session u64,                        <- signed: SHA-256 of all up to here
//!           signature 64 bytes
//! message   0 units   0 unit | 1 coordinates request: from u64, round u16, creator u64
//!                     | 2 parents request: from u64, hash | 3 parents response: hash, units
//!                     | 4 newest request: from u64, salt u64
//!                     | 5 newest response: requester u64, responder u64, 0 | 1 unit, salt u64
//!           1 alerts  0 alert | 1 reliable broadcast: from u64, ... | 2 request: from u64, hash
//! ```

use aleph_bft::{Hasher as _, Keychain as _, NodeIndex};
use parity_scale_codec::{Compact, Decode};

use crate::keys::{Keyring, Sha256, Signature};

/// An encoded unit, read without copying its data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnitView<'a> {
    pub(crate) round: u16,
    pub(crate) creator: usize,
    /// The newest earlier unit of every guardian, by index, as a round.
    pub(crate) parents: Vec<Option<u16>>,
    /// The framed batch.
    pub(crate) data: Option<&'a [u8]>,
    pub(crate) session: u64,
    /// The bytes whose hash is signed.
    signed: &'a [u8],
    signature: [u8; 64],
}

impl<'a> UnitView<'a> {
    /// Reads a unit that fills `bytes` exactly.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (unit, rest) = Self::parse_prefix(bytes)?;
        rest.is_empty().then_some(unit)
    }

    /// Reads a unit at the beginning of `bytes`; returns it and what follows.
    pub(crate) fn parse_prefix(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut input = bytes;
        let round = u16::decode(&mut input).ok()?;
        let creator = usize::try_from(u64::decode(&mut input).ok()?).ok()?;
        let parents = Vec::<Option<u16>>::decode(&mut input).ok()?;
        <[u8; 32]>::decode(&mut input).ok()?;
        let data = match u8::decode(&mut input).ok()? {
            0 => None,
            1 => {
                let Compact(length) = Compact::<u32>::decode(&mut input).ok()?;
                let (data, rest) = input.split_at_checked(length as usize)?;
                input = rest;
                Some(data)
            }
            _ => return None,
        };
        let session = u64::decode(&mut input).ok()?;
        let signed = &bytes[..bytes.len() - input.len()];
        let signature = <[u8; 64]>::decode(&mut input).ok()?;
        Some((Self { round, creator, parents, data, session, signed, signature }, input))
    }

    /// Whether its creator signed it.
    pub(crate) fn is_signed(&self, keyring: &Keyring) -> bool {
        let hash = Sha256::hash(self.signed);
        keyring.verify(&hash, &Signature(self.signature), NodeIndex(self.creator))
    }
}

/// What a message says about indices, before AlephBFT sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MessageView<'a> {
    /// It names its sender.
    From(usize),
    /// It names its sender and asks for a unit of this creator.
    CoordinatesRequest { from: usize, creator: usize },
    /// It tells the newest unit of a requester its sender knows, if any.
    NewestResponse { requester: usize, unit: Option<UnitView<'a>> },
    /// It names nobody outside of what its signatures cover.
    Other,
}

impl<'a> MessageView<'a> {
    /// Looks into an encoded message; `None` if it is none.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (kind, mut input) = bytes.split_first_chunk::<2>()?;
        let mut index = || usize::try_from(u64::decode(&mut input).ok()?).ok();
        Some(match kind {
            [0, 1] => {
                let from = index()?;
                u16::decode(&mut input).ok()?;
                let creator = usize::try_from(u64::decode(&mut input).ok()?).ok()?;
                Self::CoordinatesRequest { from, creator }
            }
            [0, 2 | 4] | [1, 1 | 2] => Self::From(index()?),
            [0, 5] => {
                let requester = index()?;
                index()?;
                let unit = match u8::decode(&mut input).ok()? {
                    0 => None,
                    _ => Some(UnitView::parse_prefix(input)?.0),
                };
                Self::NewestResponse { requester, unit }
            }
            [0, 0 | 3] | [1, 0] => Self::Other,
            _ => return None,
        })
    }

    /// Whether guardian `from` of `total` may send this. AlephBFT answers whoever a request names
    /// and indexes its tables by the names in it, so one that lies about its sender is a way to
    /// make us flood another, and one that names nobody would bring the session down.
    pub(crate) fn is_proper(&self, from: usize, total: usize) -> bool {
        match self {
            Self::From(sender) => *sender == from,
            Self::CoordinatesRequest { from: sender, creator } => {
                *sender == from && *creator < total
            }
            Self::NewestResponse { .. } | Self::Other => true,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::BTreeSet, sync::Arc};

    use bytes::Bytes;
    use parity_scale_codec::Encode;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        Broadcast, Event, Links, LostFiles, Pacing, Setup,
        batch::UnitData,
        keys::tests::federation,
        network::{Frame, Message},
        unit_file::UnitFile,
    };

    /// A unit of session 12 in a federation of four.
    pub(crate) fn unit(keyring: &Keyring, creator: u64, data: Option<UnitData>) -> Vec<u8> {
        let parents = vec![None::<u16>, Some(4), Some(4), Some(3)];
        let signed = (5_u16, creator, parents, [9_u8; 32], data, 12_u64).encode();
        let signature = keyring.sign(&Sha256::hash(&signed));
        [signed, signature.encode()].concat()
    }

    #[test]
    fn unit_is_read_back_and_its_signature_checked() {
        let keyring = Keyring(federation(4)[2].clone());
        let data = UnitData::frame(true, &[b"item".to_vec()]);
        let bytes = unit(&keyring, 2, Some(data.clone()));
        let view = UnitView::parse(&bytes).unwrap();
        assert_eq!((view.round, view.creator, view.session), (5, 2, 12));
        assert_eq!(view.parents, [None, Some(4), Some(4), Some(3)]);
        assert_eq!(view.data, Some(data.as_bytes()));
        assert!(view.is_signed(&keyring));
        let forged = unit(&keyring, 1, None);
        assert!(!UnitView::parse(&forged).unwrap().is_signed(&keyring));
    }

    #[test]
    fn cut_or_padded_unit_is_none() {
        let keyring = Keyring(federation(4)[2].clone());
        let mut bytes = unit(&keyring, 2, Some(UnitData::frame(false, &[b"item".to_vec()])));
        for length in 0..bytes.len() {
            assert_eq!(UnitView::parse(&bytes[..length]), None);
        }
        bytes.push(0);
        assert_eq!(UnitView::parse(&bytes), None);
    }

    /// Two guardians run the real AlephBFT; what they save and send must be what we read.
    #[tokio::test]
    async fn real_units_and_messages_have_this_layout() {
        let dir = tempfile::tempdir().unwrap();
        let keys = federation(2);
        let (sent, mut frames) = mpsc::unbounded_channel();
        let mut running = Vec::new();
        for keys in &keys {
            let setup = Setup {
                keys: keys.clone(),
                dir: dir.path().join(keys.me().to_string()),
                first_session: 0,
                pacing: Pacing::default(),
                links: Arc::new(Tap { from: keys.me(), sent: sent.clone() }),
                lost_files: LostFiles::SitOut,
            };
            running.push(Broadcast::start(setup).await.unwrap());
        }
        running[0].0.submit(b"item".to_vec()).unwrap();
        let mut kinds = BTreeSet::new();
        loop {
            let (from, to, frame) = tokio::select! {
                frame = frames.recv() => frame.unwrap(),
                event = running[1].1.next() => {
                    assert!(matches!(event, Some(Event::Ordered { creator: 0, .. })));
                    break;
                }
            };
            running[to].0.deliver(from, frame.clone());
            let (_, Frame::Message(bytes)) = Frame::parse(&frame).unwrap() else { continue };
            kinds.insert([bytes[0], bytes[1]]);
            let data: Vec<_> = Message::decode(&mut &bytes[..]).unwrap().included_data();
            if bytes[..2] == [0, 0] {
                let unit = UnitView::parse(&bytes[2..]).unwrap();
                assert!(unit.is_signed(&Keyring(keys[to].clone())));
                let found = unit.data.into_iter().collect::<Vec<_>>();
                assert_eq!(found, data.iter().map(UnitData::as_bytes).collect::<Vec<_>>());
            }
            let view = MessageView::parse(&bytes).unwrap();
            assert!(view.is_proper(from, 2));
            match view {
                MessageView::From(_) | MessageView::CoordinatesRequest { .. } => {
                    assert!(!view.is_proper(to, 2));
                }
                MessageView::NewestResponse { requester, .. } => assert_eq!(requester, to),
                MessageView::Other => {}
            }
        }
        assert!(kinds.is_superset(&[[0, 0], [0, 4], [0, 5]].into()), "{kinds:?}");
        for (broadcast, _) in &running {
            broadcast.shutdown().await;
        }
        for (me, keys) in keys.iter().enumerate() {
            let keyring = Keyring(keys.clone());
            let path = dir.path().join(me.to_string());
            let records = UnitFile::open(&path, 0).unwrap().unwrap().0.records;
            let units: Vec<_> = records.iter().map(|r| UnitView::parse(r).unwrap()).collect();
            assert!(units.iter().all(|unit| unit.is_signed(&keyring) && unit.session == 0));
            let own = units.iter().position(|unit| unit.creator == me).unwrap();
            // The first own unit, byte for byte.
            let no_parents = vec![None::<([u8; 32], u16)>; 2];
            let control_hash = Sha256::hash(&no_parents.encode());
            let data = units[own].data.map(|_| UnitData::frame(false, &[b"item".to_vec()]));
            let no_rounds = vec![None::<u16>; 2];
            let signed = (0_u16, me as u64, no_rounds, control_hash, data, 0_u64).encode();
            let signature = keyring.sign(&Sha256::hash(&signed));
            assert_eq!(records[own], [signed, signature.encode()].concat());
        }
    }

    struct Tap {
        from: usize,
        sent: mpsc::UnboundedSender<(usize, usize, Bytes)>,
    }

    impl Links for Tap {
        fn send(&self, to: usize, frame: Bytes) {
            let _ = self.sent.send((self.from, to, frame));
        }
    }

    #[test]
    fn request_in_anothers_name_or_for_nobodys_unit_is_improper() {
        let request = |from: u64, creator: u64| (0_u8, 1_u8, from, 7_u16, creator).encode();
        let proper = |bytes: &[u8]| MessageView::parse(bytes).unwrap().is_proper(1, 4);
        assert!(proper(&request(1, 3)));
        assert!(!proper(&request(2, 3)));
        assert!(!proper(&request(1, 4)));
        assert!(!proper(&(0_u8, 4_u8, 2_u64, 0_u64).encode()));
        assert!(!proper(&(1_u8, 1_u8, 2_u64).encode()));
        assert_eq!(MessageView::parse(&[0, 6]), None);
        assert_eq!(MessageView::parse(&[2, 0]), None);
        assert_eq!(MessageView::parse(&[0, 1, 1]), None);
    }
}
