//! Entrances for the fuzz targets, which are a workspace of their own. No part of the surface: only
//! the feature `fuzzing` opens them. Each takes the bytes of a stranger and panics on a finding.

use bytes::Bytes;
use parity_scale_codec::{Decode as _, Encode as _};

use crate::{
    batch::{Batch, UnitData},
    network::{Frame, Message},
    unit_file::{Silence, checksum, header, scan},
    unit_layout::{MessageView, UnitView},
};

/// A frame from another guardian: what we look into and what AlephBFT decodes must agree, and a
/// message must be written as it was read.
pub fn frame(bytes: &[u8]) {
    let Some((session, frame)) = Frame::parse(&Bytes::copy_from_slice(bytes)) else { return };
    let Frame::Message(message) = frame else {
        assert_eq!(Frame::wake(session), bytes, "a wake hint has one form");
        return;
    };
    let view = MessageView::parse(&message);
    let _ = view.as_ref().map(|view| view.is_proper(1, 4));
    let mut rest = &message[..];
    let Ok(decoded) = Message::decode(&mut rest) else { return };
    if !rest.is_empty() {
        return;
    }
    assert!(view.is_some(), "AlephBFT reads a message that we cannot look into");
    assert_eq!(decoded.encode(), message, "accepted, but written differently");
    if let Some(unit) = message.strip_prefix(&[0, 0]) {
        assert!(UnitView::parse(unit).is_some(), "AlephBFT reads a unit that we cannot look into");
    }
}

/// What one unit carries.
pub fn batch(bytes: &[u8]) {
    if let Some(Batch { close, items }) = Batch::decode(bytes) {
        let written = UnitData::frame(close, &items);
        assert_eq!(written.as_bytes(), bytes, "accepted, but written differently");
    }
}

/// A unit file on a disk that tears and flips: what is read back is a prefix of what was written, and
/// damage is told from a tear. The first bytes say how the rest is cut and where it is hurt.
pub fn unit_file(bytes: &[u8]) {
    const SESSION: u64 = 7;
    let _ = scan(bytes, SESSION);
    let Some((&[cut, high, low, mask], rest)) = bytes.split_first_chunk::<4>() else { return };
    let records: Vec<&[u8]> = rest.split(|byte| *byte == cut).filter(|r| !r.is_empty()).collect();
    // One that holds an intact record in its own bytes looks like damage when it is torn.
    let header = header(SESSION, Silence::None);
    let holds_another =
        |record: &&[u8]| scan(&[&header[..], &[0], record].concat(), SESSION).damaged;
    if records.iter().any(holds_another) {
        return;
    }
    let mut file = header;
    let mut ends = vec![file.len()];
    for record in &records {
        let length = (record.len() as u32).to_be_bytes();
        file.extend([&length[..], &checksum(&[&length, record]), record].concat());
        ends.push(file.len());
    }
    let whole = scan(&file, SESSION);
    assert!(!whole.damaged && whole.records == records, "an intact file is read back");

    let place = usize::from(u16::from_be_bytes([high, low])) % file.len();
    // The header counts as one part, each record as another.
    let intact_parts = ends.iter().filter(|end| **end <= place).count();
    let torn = scan(&file[..place], SESSION);
    assert_eq!(torn.damaged, intact_parts == 0, "a tear is damage in the header alone");
    assert_eq!(torn.records, records[..intact_parts.saturating_sub(1)], "a tear costs one record");

    if mask != 0 {
        file[place] ^= mask;
        let flipped = scan(&file, SESSION);
        let is_last = intact_parts == records.len() && intact_parts > 0;
        assert_eq!(flipped.records, records[..intact_parts.saturating_sub(1)], "a flip is noticed");
        assert_eq!(flipped.damaged, !is_last, "only a bad last record is no damage");
    }
}
