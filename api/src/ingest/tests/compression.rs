//! Proofs of DS-1 for compressed uploads: bombs, cuts, damage, and headers that lie.

use async_compression::{
    Level,
    tokio::bufread::{GzipEncoder, ZstdEncoder},
    zstd::CParameter,
};
use tokio::io::AsyncReadExt;

use super::{Synthetic, TEXT, Unlimited, gzip, ingest, refused, refused_as_is, zstd};
use crate::ingest::{Declared, IngestError, IngestLimits};
use objects::testing::store;

/// DS-1: a bomb costs us a few MiB at most, not what it expands to.
#[tokio::test]
async fn zip_bombs_are_refused_early() {
    let line = &[b'a'; 1023];
    let mut gz = Vec::new();
    let zeros = tokio::io::BufReader::new(Synthetic::new(64 << 20, b"aaaaaaaaaaaaaaa\n"));
    GzipEncoder::new(zeros)
        .read_to_end(&mut gz)
        .await
        .expect("compressed");
    let zst = zstd(&[&line[..], b"\n"].concat().repeat(32 << 10)).await;
    for bytes in [gz, zst] {
        let error = refused_as_is(&bytes).await;
        assert_eq!(
            (error.code(), error.status().as_u16()),
            ("DATASET_EXPANDS_TOO_FAR", 413),
            "{error}"
        );
    }
}

#[tokio::test]
async fn cut_off_and_damaged_compression_is_named() {
    let text = TEXT.repeat(100);
    for (whole, name) in [(gzip(&text).await, "gzip"), (zstd(&text).await, "zstd")] {
        for end in [5, whole.len() / 2, whole.len() - 1] {
            let error = refused_as_is(&whole[..end]).await;
            assert!(
                matches!(error, IngestError::Truncated { encoding } if encoding == name),
                "{end}: {error}"
            );
        }
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xff;
        let error = refused_as_is(&damaged).await;
        assert_eq!(error.status().as_u16(), 400, "{error}");
        let error = refused_as_is(&[&whole[..], b"behind its end"].concat()).await;
        assert!(matches!(error, IngestError::Corrupt { .. }), "{error}");
    }
}

/// Memory: a Zstandard frame may not order a window of gigabytes.
#[tokio::test]
async fn a_huge_zstandard_window_is_refused() {
    let reader = tokio::io::BufReader::new(Synthetic::new(70 << 20, TEXT));
    let mut bytes = Vec::new();
    let window = [CParameter::window_log(26)];
    ZstdEncoder::with_quality_and_params(reader, Level::Fastest, &window)
        .read_to_end(&mut bytes)
        .await
        .expect("compressed");
    let error = refused_as_is(&bytes).await;
    assert!(matches!(error, IngestError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_declared_encoding_must_be_known_and_true() {
    let declared = |name: &str| Declared {
        content_encoding: Some(name.to_owned()),
        ..Declared::default()
    };
    let limits = IngestLimits::default;
    assert_eq!(
        refused(TEXT, declared("br"), limits()).await.code(),
        "CONTENT_ENCODING_UNSUPPORTED"
    );
    assert_eq!(
        refused(TEXT, declared("gzip"), limits()).await.code(),
        "DATASET_CORRUPT"
    );
    let (_folder, objects) = store();
    ingest(
        &gzip(TEXT).await[..],
        declared("GZIP"),
        limits(),
        &objects,
        &mut Unlimited,
    )
    .await
    .expect("true");
}
