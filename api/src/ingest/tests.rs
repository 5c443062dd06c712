//! Proofs of DS-1 and DS-2 for whole uploads: each bad input is named, and none leaves a file behind.

mod compression;
mod room;

use std::{
    io::{self, Cursor},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_compression::{
    Level,
    tokio::bufread::{GzipEncoder, ZstdEncoder},
    zstd::CParameter,
};
use domain::datasets::format::{Format, Limits, ProblemCode};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::{Declared, Encoding, IngestError, IngestLimits, Ingested, NoRoom, Room};
use objects::{
    Objects, Stored,
    testing::{eventually, files, open, store},
};

const TEXT: &[u8] = b"Alice was beginning\r\nto get very tired.\n\nSo she was considering.\n";
/// `sha256sum` of it.
const TEXT_SHA256: &str = "22e9ade9b42410f20b2e186c6a72d1dcb0a0ef8135fd0bc3864d94d482acaa5f";

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzipEncoder::new(bytes)
        .read_to_end(&mut out)
        .await
        .expect("compressed");
    out
}

/// With a checksum, as the `zstd` command writes it and the library by itself does not.
async fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZstdEncoder::with_quality_and_params(bytes, Level::Default, &[CParameter::checksum_flag(true)])
        .read_to_end(&mut out)
        .await
        .expect("compressed");
    out
}

fn named(file_name: &str) -> Declared {
    Declared {
        file_name: file_name.to_owned(),
        ..Declared::default()
    }
}

/// Room for everything.
struct Unlimited;

#[async_trait::async_trait]
impl Room for Unlimited {
    async fn reserve(&mut self, _: u64, _: Option<&str>) -> Result<(), NoRoom> {
        Ok(())
    }
}

/// Takes an upload in and names it, as the route does.
async fn ingest(
    reader: impl AsyncRead + Send,
    declared: Declared,
    limits: IngestLimits,
    objects: &Objects,
    room: &mut dyn Room,
) -> Result<Ingested, IngestError> {
    let checked = super::ingest(reader, declared, limits, objects, room).await?;
    checked.publish().await
}

async fn take(objects: &Objects, bytes: &[u8]) -> Result<Ingested, IngestError> {
    ingest(
        bytes,
        Declared::default(),
        IngestLimits::default(),
        objects,
        &mut Unlimited,
    )
    .await
}

/// Takes it in, proves that it is refused and that nothing is left, and returns the refusal.
async fn refused(bytes: &[u8], declared: Declared, limits: IngestLimits) -> IngestError {
    let (folder, objects) = store();
    let error = ingest(bytes, declared, limits, &objects, &mut Unlimited)
        .await
        .expect_err("refused");
    assert_eq!(files(folder.path()), [""; 0], "{error}");
    error
}

async fn refused_as_is(bytes: &[u8]) -> IngestError {
    refused(bytes, Declared::default(), IngestLimits::default()).await
}

/// Endless bytes, as far as `left` goes, made as they are read.
struct Synthetic {
    left: u64,
    line: &'static [u8],
    at: usize,
}

impl Synthetic {
    fn new(left: u64, line: &'static [u8]) -> Self {
        Self { left, line, at: 0 }
    }
}

impl AsyncRead for Synthetic {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while out.remaining() > 0 && self.left > 0 {
            let rest = &self.line[self.at..];
            let taken = rest
                .len()
                .min(out.remaining())
                .min(usize::try_from(self.left).unwrap_or(usize::MAX));
            out.put_slice(&rest[..taken]);
            self.left -= taken as u64;
            self.at = (self.at + taken) % self.line.len();
        }
        Poll::Ready(Ok(()))
    }
}

/// A sender that stops in the middle and keeps the connection open.
fn stalled(bytes: &[u8]) -> impl AsyncRead + Send + '_ {
    let (silent, kept) = tokio::io::duplex(1);
    // Kept open for the life of the test.
    std::mem::forget(kept);
    bytes.chain(silent)
}

/// DS-2
#[tokio::test]
async fn the_same_text_however_compressed_is_one_object() {
    let (folder, objects) = store();
    let plain = take(&objects, TEXT).await.expect("taken in");
    assert_eq!(
        (plain.sha256.as_str(), plain.stored, plain.encoding),
        (TEXT_SHA256, Stored::New, Encoding::Identity)
    );
    assert_eq!((plain.format, plain.summary.samples), (Format::PlainText, 2));
    assert_eq!(
        (plain.bytes, plain.compressed_bytes),
        (TEXT.len() as u64, TEXT.len() as u64)
    );
    let members = [gzip(&TEXT[..20]).await, gzip(&TEXT[20..]).await].concat();
    let frames = [zstd(&TEXT[..20]).await, zstd(&TEXT[20..]).await].concat();
    for (bytes, encoding) in [(members, Encoding::Gzip), (frames, Encoding::Zstd)] {
        let again = take(&objects, &bytes).await.expect("taken in");
        assert_eq!((&again.sha256, again.encoding), (&plain.sha256, encoding));
        assert_eq!(
            (&again.summary, again.stored),
            (&plain.summary, Stored::AlreadyThere)
        );
        assert_eq!(again.compressed_bytes, bytes.len() as u64);
    }
    assert_eq!(files(folder.path()), [format!("datasets/{TEXT_SHA256}")]);
    assert_eq!(
        std::fs::read(folder.path().join("datasets").join(TEXT_SHA256)).expect("stored"),
        TEXT
    );
}

/// DS-1: what ships is good.
#[tokio::test]
async fn the_data_of_the_demo_is_taken_in() {
    let (_folder, objects) = store();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/demo");
    for (name, format, at_least) in [
        ("corpus.txt", Format::PlainText, 1000),
        ("chat.jsonl", Format::Chat, 1000),
    ] {
        let file = tokio::fs::File::open(demo.join(name)).await.expect("it ships");
        let taken = ingest(
            file,
            named(name),
            IngestLimits::default(),
            &objects,
            &mut Unlimited,
        )
        .await
        .expect("good");
        assert_eq!(taken.format, format);
        assert!(taken.summary.samples >= at_least, "{:?}", taken.summary);
    }
}

/// DS-1
#[tokio::test]
async fn bad_lines_are_reported_with_their_numbers() {
    let bytes = b"{\"messages\":[]}\nnonsense\n";
    let error = refused(bytes, named("x.jsonl"), IngestLimits::default()).await;
    let report = error.report().expect("a report");
    let found: Vec<_> = report
        .problems
        .iter()
        .map(|problem| (problem.line, problem.code))
        .collect();
    assert_eq!(
        found,
        [
            (Some(1), ProblemCode::Messages),
            (Some(2), ProblemCode::InvalidJson)
        ]
    );
    assert_eq!((error.code(), error.status().as_u16()), ("DATASET_INVALID", 422));
}

/// DS-1: wrong encodings, nothing in it, formats of others.
#[tokio::test]
async fn what_is_no_dataset_is_refused() {
    let code = |error: &IngestError| error.report().expect("a report").problems[0].code;
    assert_eq!(code(&refused_as_is(b"").await), ProblemCode::NoSamples);
    assert_eq!(
        code(&refused_as_is(&gzip(b"").await).await),
        ProblemCode::NoSamples
    );
    assert_eq!(code(&refused_as_is(b"\xff\xfeA\0").await), ProblemCode::Utf16);
    assert_eq!(code(&refused_as_is(b"caf\xe9").await), ProblemCode::InvalidUtf8);
    for bytes in [b"PK\x03\x04....".to_vec(), gzip(&gzip(TEXT).await).await] {
        let error = refused_as_is(&bytes).await;
        assert_eq!(
            (error.code(), error.status().as_u16()),
            ("DATASET_FORMAT_UNKNOWN", 415),
            "{error}"
        );
    }
    assert_eq!(
        refused(b"a,b", named("x.csv"), IngestLimits::default())
            .await
            .code(),
        "DATASET_FORMAT_UNKNOWN"
    );
}

#[tokio::test]
async fn more_than_the_limits_is_refused() {
    let limits = IngestLimits {
        expanded_bytes: 10,
        ..IngestLimits::default()
    };
    assert_eq!(
        refused(TEXT, Declared::default(), limits.clone()).await.code(),
        "DATASET_TOO_LARGE"
    );
    assert_eq!(
        refused(&gzip(TEXT).await, Declared::default(), limits)
            .await
            .code(),
        "DATASET_TOO_LARGE"
    );
    let wire = IngestLimits {
        compressed_bytes: 10,
        ..IngestLimits::default()
    };
    let error = refused(&gzip(TEXT).await, Declared::default(), wire).await;
    assert!(matches!(error, IngestError::TooLarge { limit: 10 }), "{error}");
}

/// DS-1: a line without an end is no way to fill the memory.
#[tokio::test]
async fn an_endless_line_is_refused() {
    let (folder, objects) = store();
    let reader = Synthetic::new(8 << 20, b"a");
    let error = ingest(
        reader,
        Declared::default(),
        IngestLimits::default(),
        &objects,
        &mut Unlimited,
    )
    .await
    .expect_err("too long");
    assert_eq!(
        error.report().expect("a report").problems[0].code,
        ProblemCode::LineTooLong
    );
    assert!(files(folder.path()).is_empty());
}

/// DS-2
#[tokio::test]
async fn an_expected_hash_must_be_the_one_of_the_decompressed_bytes() {
    let expecting = |hash: &str| Declared {
        expected_sha256: Some(hash.to_owned()),
        ..Declared::default()
    };
    let limits = IngestLimits::default;
    assert_eq!(
        refused(TEXT, expecting(&"0".repeat(64)), limits()).await.code(),
        "HASH_MISMATCH"
    );
    assert_eq!(
        refused(TEXT, expecting("nonsense"), limits()).await.code(),
        "EXPECTED_HASH_MALFORMED"
    );
    let (_folder, objects) = store();
    let hash = TEXT_SHA256.to_uppercase();
    ingest(
        &gzip(TEXT).await[..],
        expecting(&hash),
        limits(),
        &objects,
        &mut Unlimited,
    )
    .await
    .expect("the same");
}

#[tokio::test]
async fn a_sender_that_stalls_or_breaks_off_leaves_nothing() {
    let (folder, objects) = store();
    let limits = IngestLimits {
        idle: Duration::from_millis(50),
        ..IngestLimits::default()
    };
    for head in [&b""[..], TEXT] {
        let error = ingest(
            stalled(head),
            Declared::default(),
            limits.clone(),
            &objects,
            &mut Unlimited,
        )
        .await
        .expect_err("idle");
        assert_eq!((error.code(), error.status().as_u16()), ("UPLOAD_IDLE", 408));
    }
    let total = IngestLimits {
        total: Duration::from_millis(50),
        ..IngestLimits::default()
    };
    let error = ingest(
        stalled(TEXT),
        Declared::default(),
        total,
        &objects,
        &mut Unlimited,
    )
    .await
    .expect_err("slow");
    assert_eq!(error.code(), "UPLOAD_TOO_SLOW");
    let broken = TEXT.chain(tokio_util::io::StreamReader::new(futures::stream::iter([Err::<
        Cursor<&[u8]>,
        _,
    >(
        io::Error::new(io::ErrorKind::UnexpectedEof, "reset"),
    )])));
    let error = ingest(
        broken,
        Declared::default(),
        IngestLimits::default(),
        &objects,
        &mut Unlimited,
    )
    .await
    .expect_err("broken");
    assert_eq!(error.code(), "UPLOAD_BROKEN_OFF");
    eventually(|| files(folder.path()).is_empty()).await;
}

#[tokio::test]
async fn an_upload_dropped_midway_leaves_nothing() {
    let (folder, objects) = store();
    let reader = Synthetic::new(7 << 20, TEXT).chain(stalled(b""));
    let mut room = Unlimited;
    let mut upload = Box::pin(ingest(
        reader,
        Declared::default(),
        IngestLimits::default(),
        &objects,
        &mut room,
    ));
    let written = || files(folder.path()).len() == 1;
    tokio::select! {
        _ = &mut upload => panic!("the sender has not finished"),
        () = eventually(written) => {}
    }
    tokio::time::timeout(Duration::from_millis(200), &mut upload)
        .await
        .expect_err("still stalled");
    let staged = folder.path().join(&files(folder.path())[0]);
    assert_eq!(
        std::fs::metadata(staged).expect("staged").len(),
        5 << 20,
        "one part is on disk"
    );
    drop(upload);
    eventually(|| files(folder.path()).is_empty()).await;
}

/// Constant memory: bytes reach the disk in parts while the upload goes on.
#[tokio::test]
async fn a_large_upload_is_written_in_parts() {
    let (folder, objects) = store();
    let size = 300 << 20;
    let limits = IngestLimits::default();
    let mut room = Unlimited;
    let upload = ingest(
        Synthetic::new(size, TEXT),
        Declared::default(),
        limits,
        &objects,
        &mut room,
    );
    let staging = folder.path().join("staging");
    let growth = async {
        let mut sizes = std::collections::BTreeSet::new();
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Ok(entries) = std::fs::read_dir(&staging) else {
                continue;
            };
            let lengths = entries
                .filter_map(|entry| entry.ok()?.metadata().ok())
                .map(|data| data.len());
            sizes.extend(lengths.filter(|length| *length > 0 && *length < size));
            if sizes.len() >= 3 {
                return sizes.len();
            }
        }
    };
    let (taken, steps) = tokio::join!(upload, tokio::time::timeout(Duration::from_secs(120), growth));
    assert_eq!(taken.expect("taken in").bytes, size);
    assert!(steps.expect("it grew") >= 3);
    assert_eq!(files(folder.path()).len(), 1);
}

/// Disk full, on a real file system of 8 MiB. Needs the right to mount one.
#[tokio::test]
async fn a_full_disk_is_named_and_left_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(arguments[0]);
        command
            .args(&arguments[1..])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !run(&["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs"]) {
        // As `tests::harness::here::cannot_run`, which this crate cannot use.
        let ci = std::env::var("CI").is_ok_and(|text| !matches!(text.as_str(), "" | "0" | "false"));
        assert!(
            !ci,
            "this user may not mount a file system of 8 MiB, and CI must not pass without this test"
        );
        println!("NOT RUN: this user may not mount a file system of 8 MiB");
        return;
    }
    let objects = open(folder.path());
    let reader = Synthetic::new(32 << 20, TEXT);
    let result = ingest(
        reader,
        Declared::default(),
        IngestLimits::default(),
        &objects,
        &mut Unlimited,
    )
    .await;
    let left = files(folder.path());
    let small = take(&objects, TEXT).await;
    drop(objects);
    assert!(run(&["umount", "--lazy"]), "unmounted");
    let error = result.expect_err("it does not fit");
    assert_eq!(
        (error.code(), error.status().as_u16()),
        ("STORAGE_FULL", 507),
        "{error}"
    );
    assert_eq!(left, [""; 0]);
    small.expect("there is room again");
}

#[tokio::test]
async fn limits_of_lines_are_the_callers() {
    let limits = IngestLimits {
        lines: Limits {
            line_bytes: 10,
            ..Limits::default()
        },
        ..IngestLimits::default()
    };
    let error = refused(TEXT, Declared::default(), limits).await;
    assert_eq!(error.report().expect("a report").total, 3);
}
