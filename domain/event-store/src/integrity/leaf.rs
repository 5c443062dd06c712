//! The bytes of one event that the tree commits to.
//!
//! The rule: they are the fields that the chain's link covers, in the same order and form, without the link
//! before; they never change. Integers are big-endian, `‖` joins bytes, `H` is SHA-256, `len(x)` is 4 bytes.
//!
//! ```text
//! leaf n = 01                       1 byte: version of this layout
//!        ‖ position                 8  (n + 1: leaves count from 0, positions from 1)
//!        ‖ event id                16
//!        ‖ len(stream) ‖ stream
//!        ‖ revision                 8
//!        ‖ len(kind) ‖ kind
//!        ‖ schema version           2
//!        ‖ time                     8  (signed microseconds since 1970-01-01 UTC)
//!        ‖ H(data)                 32
//!        ‖ H(meta)                 32
//! ```
//!
//! Its hash in the tree is `H(00 ‖ leaf)` (RFC 6962, 2.1).

use super::{Link, micros};

/// The version of the layout above.
pub const LEAF_LAYOUT: u8 = 1;

/// The leaf of the event that `link` describes.
#[must_use]
pub fn leaf(link: &Link<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(120 + link.stream.len() + link.kind.len());
    bytes.push(LEAF_LAYOUT);
    bytes.extend(link.position.to_be_bytes());
    bytes.extend(link.id.as_bytes());
    push_text(&mut bytes, link.stream);
    bytes.extend(link.revision.to_be_bytes());
    push_text(&mut bytes, link.kind);
    bytes.extend(link.schema_version.to_be_bytes());
    bytes.extend(micros(link.at).to_be_bytes());
    bytes.extend(link.data_hash);
    bytes.extend(link.meta_hash);
    bytes
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    // Stores bound names far below 4 GiB; a longer one could not have been recorded.
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::leaf;
    use crate::integrity::{Link, digest, leaf_hash};
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    /// The layout is a promise to outsiders: computed once with another implementation (Python's hashlib).
    #[test]
    fn the_layout_never_changes() {
        let (data, meta) = (digest(br#"{"count": 1}"#), digest(br#"{"actor":"user:1"}"#));
        let link = Link {
            position: 1,
            id: Uuid::from_u128(1),
            stream: "test.counter-a",
            revision: 0,
            kind: "test.Counted",
            schema_version: 1,
            at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(1),
            data_hash: &data,
            meta_hash: &meta,
        };
        assert_eq!(hex::encode(leaf_hash(&leaf(&link))), LEAF_HASH);
    }
    const LEAF_HASH: &str = "e34be599f1329be72ffb0e13e9778c896d38cc59d63ae597df9defa9df5edc10";
}
