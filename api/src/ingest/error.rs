//! Why an upload is refused.
//!
//! One rule: each case has a code that programs may rely on, a sentence that says what to do, and one HTTP
//! status; none shows more of the data than the report of its lines.

use std::io;

use axum::http::StatusCode;
use domain::datasets::format::{Report, UnknownFormat};

use super::encoding::Encoding;
use super::room::NoRoom;
use super::wire::{SenderFailed, WireFull};
use objects::ObjectsError;

/// An upload that left nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A format that is not read here.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// Lines that cannot be used, or none at all.
    #[error(transparent)]
    BadLines(Report),
    /// More bytes than may be.
    #[error(
        "the dataset is larger than {limit} bytes; split it, or ask the administrator for a higher limit"
    )]
    TooLarge {
        /// How many may be.
        limit: u64,
    },
    /// A few bytes that expand to very many.
    #[error(
        "the upload expands to more than {limit} times its size, as no text does; upload it uncompressed"
    )]
    Bomb {
        /// How many times it may.
        limit: u64,
    },
    /// The compressed data ends too early.
    #[error("the {encoding} data is truncated; compress the file and upload it again")]
    Truncated {
        /// The compression.
        encoding: &'static str,
    },
    /// The compressed data is damaged.
    #[error("the {encoding} data cannot be read ({detail}); compress and upload the file again")]
    Corrupt {
        /// The compression.
        encoding: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// A `Content-Encoding` that is not read here.
    #[error("Content-Encoding '{name}' is not supported; send gzip, zstd or no compression")]
    UnsupportedEncoding {
        /// Its name, shortened.
        name: String,
    },
    /// The expected hash is none.
    #[error("the expected SHA-256 is not 64 hexadecimal digits")]
    ExpectedHash,
    /// Other bytes than the sender meant.
    #[error("the SHA-256 of the decompressed bytes is {actual}, not {expected}; upload the file again")]
    HashMismatch {
        /// What the sender said.
        expected: String,
        /// What came.
        actual: String,
    },
    /// The sender stopped sending.
    #[error("no data came for {seconds} seconds; upload the file again")]
    Idle {
        /// The time waited.
        seconds: u64,
    },
    /// The upload took too long in all.
    #[error("the upload was not complete after {seconds} seconds; upload smaller files, or compress them")]
    Deadline {
        /// How long it had.
        seconds: u64,
    },
    /// The connection broke.
    #[error("the upload broke off ({detail}); upload the file again")]
    Sender {
        /// What the connection says.
        detail: String,
    },
    /// The upload ended before it was checked: a fault of this program, never of the data.
    #[error("the upload was not processed to its end; this is a fault of the server, please report it")]
    Incomplete,
    /// There is no room.
    #[error("{}", no_room_text(.0))]
    NoRoom(NoRoom),
    /// The object store failed. The text is fit for strangers; what the store said is the source.
    #[error("{}", storage_text(.0))]
    Storage(#[from] ObjectsError),
}

fn no_room_text(reason: &NoRoom) -> String {
    match reason {
        NoRoom::Exceeded(exceeded) => exceeded.to_string(),
        NoRoom::Undecided => "there is no room for the upload".to_owned(),
    }
}

/// What strangers may read: no path or address of the store.
const fn storage_text(error: &ObjectsError) -> &'static str {
    match error {
        ObjectsError::StorageFull => {
            "the storage is full; ask the administrator to free space, then upload again"
        }
        ObjectsError::TooLarge { .. } => "the dataset is larger than the storage can keep; split it",
        _ => "the storage does not work at the moment; try again later",
    }
}

impl IngestError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Format(_) => "DATASET_FORMAT_UNKNOWN",
            Self::BadLines(_) => "DATASET_INVALID",
            Self::TooLarge { .. } => "DATASET_TOO_LARGE",
            Self::Bomb { .. } => "DATASET_EXPANDS_TOO_FAR",
            Self::Truncated { .. } => "DATASET_TRUNCATED",
            Self::Corrupt { .. } => "DATASET_CORRUPT",
            Self::UnsupportedEncoding { .. } => "CONTENT_ENCODING_UNSUPPORTED",
            Self::ExpectedHash => "EXPECTED_HASH_MALFORMED",
            Self::HashMismatch { .. } => "HASH_MISMATCH",
            Self::Idle { .. } => "UPLOAD_IDLE",
            Self::Deadline { .. } => "UPLOAD_TOO_SLOW",
            Self::Sender { .. } => "UPLOAD_BROKEN_OFF",
            Self::Incomplete => "INTERNAL",
            Self::NoRoom(_) => "QUOTA_EXCEEDED",
            Self::Storage(ObjectsError::TooLarge { .. }) => "DATASET_TOO_LARGE",
            Self::Storage(ObjectsError::StorageFull) => "STORAGE_FULL",
            Self::Storage(_) => "STORAGE_UNAVAILABLE",
        }
    }

    /// The HTTP status (RFC 9110; 507 is RFC 4918).
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Format(_) | Self::UnsupportedEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BadLines(_) | Self::HashMismatch { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge { .. } | Self::Bomb { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Truncated { .. } | Self::Corrupt { .. } | Self::ExpectedHash | Self::Sender { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Idle { .. } | Self::Deadline { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Incomplete => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoRoom(_) => StatusCode::FORBIDDEN,
            Self::Storage(ObjectsError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Storage(ObjectsError::StorageFull) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The lines that cannot be used, where that is the reason.
    #[must_use]
    pub const fn report(&self) -> Option<&Report> {
        match self {
            Self::BadLines(report) => Some(report),
            _ => None,
        }
    }

    /// Tells the sender's errors, our limit and the decoder's errors apart.
    pub(super) fn from_read(error: &io::Error, encoding: Encoding) -> Self {
        let inner = error.get_ref();
        if let Some(failed) = inner.and_then(|inner| inner.downcast_ref::<SenderFailed>()) {
            return Self::Sender {
                detail: failed.to_string(),
            };
        }
        if let Some(full) = inner.and_then(|inner| inner.downcast_ref::<WireFull>()) {
            return Self::TooLarge { limit: full.limit };
        }
        let encoding = encoding.name();
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated { encoding },
            _ => Self::Corrupt {
                encoding,
                detail: error.to_string(),
            },
        }
    }
}
