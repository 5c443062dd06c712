//! Proofs that room is asked for before bytes are kept (FS1).

use async_trait::async_trait;
use domain::access::quota::StorageExceeded;
use objects::testing::{files, store};

use super::{Synthetic, TEXT, gzip, ingest};
use crate::ingest::{Declared, IngestError, IngestLimits, NoRoom, Room};

/// Room for so many bytes, and what was asked for.
struct Bounded {
    limit: u64,
    asked: Vec<u64>,
}

impl Bounded {
    fn new(limit: u64) -> Self {
        let asked = Vec::new();
        Self { limit, asked }
    }
}

#[async_trait]
impl Room for Bounded {
    async fn reserve(&mut self, wanted: u64, _: Option<&str>) -> Result<(), NoRoom> {
        self.asked.push(wanted);
        let (limit, used) = (self.limit, 0);
        match wanted <= limit {
            true => Ok(()),
            false => Err(NoRoom::Exceeded(StorageExceeded { limit, used, wanted })),
        }
    }
}

/// The refusal of an upload, after which nothing is left; and what was asked for.
async fn cut(bytes: u64, room: u64, length: Option<u64>) -> (String, Vec<u64>) {
    let (folder, objects) = store();
    let mut room = Bounded::new(room);
    let declared = Declared {
        length,
        ..Declared::default()
    };
    let reader = Synthetic::new(bytes, TEXT);
    let error = ingest(reader, declared, IngestLimits::default(), &objects, &mut room)
        .await
        .expect_err("no room");
    assert!(matches!(error, IngestError::NoRoom(_)), "{error}");
    assert_eq!((error.code(), error.status().as_u16()), ("QUOTA_EXCEEDED", 403));
    assert_eq!(files(folder.path()), [""; 0]);
    (error.to_string(), room.asked)
}

#[tokio::test]
async fn a_declared_length_that_does_not_fit_is_refused_before_a_byte_is_kept() {
    let length = 40 << 20;
    let (said, asked) = cut(length, 30 << 20, Some(length)).await;
    assert_eq!(asked, [length]);
    assert!(said.contains(&format!("{} bytes are free", 30 << 20)), "{said}");
}

/// A sender that says nothing, or less than it sends, is cut where the room ends.
#[tokio::test]
async fn a_stream_is_cut_when_it_is_over() {
    for length in [None, Some(2 << 20)] {
        let (_, asked) = cut(64 << 20, 30 << 20, length).await;
        assert!(
            asked.contains(&(30 << 20)),
            "the last of the room was used: {asked:?}"
        );
        let furthest = asked.iter().max().expect("asked");
        assert!(*furthest < 64 << 20, "it was cut early: {asked:?}");
    }
}

/// What is small is asked for once, when its size is known; what is large in steps, and at the end exactly.
#[tokio::test]
async fn room_is_asked_for_in_few_steps_and_in_the_end_exactly() {
    for (bytes, most) in [(1_000, 1), (1 << 20, 1), (100 << 20, 6)] {
        let (_folder, objects) = store();
        let mut room = Bounded::new(1 << 40);
        let reader = Synthetic::new(bytes, TEXT);
        let taken = ingest(
            reader,
            Declared::default(),
            IngestLimits::default(),
            &objects,
            &mut room,
        )
        .await
        .expect("taken in");
        assert_eq!(room.asked.last(), Some(&taken.bytes), "{:?}", room.asked);
        assert!(room.asked.len() <= most, "{bytes}: {:?}", room.asked);
    }
}

/// The length of compressed bytes says nothing of what they become: that is what counts.
#[tokio::test]
async fn compressed_bytes_count_by_what_they_become() {
    let packed = gzip(&TEXT.repeat(1_000)).await;
    let expanded = (TEXT.len() * 1_000) as u64;
    assert!((packed.len() as u64) < expanded / 10);
    let (_folder, objects) = store();
    let mut room = Bounded::new(expanded - 1);
    let declared = Declared {
        length: Some(packed.len() as u64),
        ..Declared::default()
    };
    let limits = IngestLimits::default();
    let refused = ingest(&packed[..], declared.clone(), limits.clone(), &objects, &mut room).await;
    assert!(matches!(refused, Err(IngestError::NoRoom(_))), "{refused:?}");
    let mut room = Bounded::new(expanded);
    let taken = ingest(&packed[..], declared, limits, &objects, &mut room).await;
    assert_eq!(taken.expect("taken in").bytes, expanded);
}

/// What is checked and not yet named leaves nothing when it is dropped.
#[tokio::test]
async fn a_good_upload_that_is_not_named_leaves_nothing() {
    let (folder, objects) = store();
    let mut room = Bounded::new(1 << 40);
    let (declared, limits) = (Declared::default(), IngestLimits::default());
    let reader = Synthetic::new(7 << 20, TEXT);
    let checked = crate::ingest::ingest(reader, declared, limits, &objects, &mut room).await;
    assert_eq!(files(folder.path()).len(), 1);
    drop(checked.expect("good"));
    objects::testing::eventually(|| files(folder.path()).is_empty()).await;
}
