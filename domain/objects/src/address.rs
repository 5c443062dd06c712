//! Where a store is: the address that operators configure, and what else an S3 store needs.
//!
//! One rule: a secret is handed to the client of the store and to nothing else; it never shows.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ObjectStore, RetryConfig, aws::AmazonS3Builder, path::Path, prefix::PrefixStore,
};
use zeroize::Zeroizing;

use super::{
    ObjectsError,
    transport::{self, Transport},
};

/// Repetitions of a request that failed, after the first try.
const RETRIES: usize = 2;
/// After this time from the first try no further one is begun.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// The address of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// `file:///folder`.
    Folder(PathBuf),
    /// `s3://bucket/prefix`.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// Prefix of all keys, without `/` at its ends; may be empty.
        prefix: String,
    },
}

impl StoreAddress {
    /// Reads `file:///folder` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// [`ObjectsError::Address`], with what is expected.
    pub fn parse(text: &str) -> Result<Self, ObjectsError> {
        let refuse = |reason: String| ObjectsError::Address { reason };
        let url = url::Url::parse(text).map_err(|error| refuse(format!("is no URL ({error})")))?;
        match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(folder) => Ok(Self::Folder(folder)),
                Err(()) => Err(refuse("names no absolute folder".to_owned())),
            },
            "s3" => bucket(&url).map_err(refuse),
            other => Err(refuse(format!("begins with '{other}:'"))),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

fn bucket(url: &url::Url) -> Result<StoreAddress, String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials, which belong into objects.access_key_id and \
                    objects.secret_access_key"
            .to_owned());
    }
    if url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("has more than a bucket and a prefix".to_owned());
    }
    let bucket = url.host_str().unwrap_or_default().to_owned();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) {
        return Err("names no bucket (3 to 63 of a-z, 0-9, '.' and '-')".to_owned());
    }
    let prefix = url.path().trim_matches('/').to_owned();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
    if !prefix.bytes().all(plain) || Path::parse(&prefix).is_err() {
        return Err(
            "has a prefix that no keys can have (a-z, A-Z, 0-9, '-', '_' and '.', parted by '/')".to_owned(),
        );
    }
    Ok(StoreAddress::Bucket { bucket, prefix })
}

/// Text that is never shown and is overwritten when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes `text` as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "SecretText(not set)"
        } else {
            "SecretText(secret)"
        })
    }
}

/// What an S3 store needs besides its address. A folder needs none of it.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// URL of the server, such as `https://minio.example.com:9000`; empty: that of AWS in the region.
    pub endpoint: String,
    /// The region. Stores outside of AWS mostly take any.
    pub region: String,
    /// The access key's id.
    pub access_key_id: SecretText,
    /// The access key's secret.
    pub secret_access_key: SecretText,
    /// The token of temporary credentials; empty: none.
    pub session_token: SecretText,
    /// Whether the bucket stands in the path (`https://host/bucket/key`), as most stores outside of AWS want it; else in
    /// the host's name.
    pub path_style: bool,
    /// Whether a server without TLS may be asked that is not on this machine.
    pub allow_http: bool,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            access_key_id: SecretText::default(),
            secret_access_key: SecretText::default(),
            session_token: SecretText::default(),
            path_style: true,
            allow_http: false,
        }
    }
}

impl S3Options {
    /// Whether these can reach a store; each problem with the name of the option in front.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(&self) -> Result<(), Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        for (name, secret) in [
            ("access_key_id", &self.access_key_id),
            ("secret_access_key", &self.secret_access_key),
        ] {
            if secret.is_empty() {
                problems.push((name, "is not set, which an s3:// store needs".to_owned()));
            }
        }
        if self.region.is_empty() {
            problems.push((
                "region",
                "is empty; most stores outside of AWS take us-east-1".to_owned(),
            ));
        }
        if let Err(problem) = self.check_endpoint() {
            problems.push(("endpoint", problem));
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems),
        }
    }

    /// Whether the endpoint can be asked: with TLS, but on this machine and in a network that is declared safe.
    fn check_endpoint(&self) -> Result<(), String> {
        if self.endpoint.is_empty() {
            return Ok(());
        }
        let url = url::Url::parse(&self.endpoint).map_err(|error| format!("is no URL ({error})"))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err("has more than scheme, host and port".to_owned());
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.allow_http || is_loopback(&url) => Ok(()),
            "http" => Err(
                "is not encrypted: use https://, or set objects.allow_http where the network may be trusted"
                    .to_owned(),
            ),
            _ => Err("expected https://host:port".to_owned()),
        }?;
        transport::allowed(&url).map(drop)
    }

    /// Where the store of `bucket` is asked.
    fn url(&self, bucket: &str) -> Result<url::Url, ObjectsError> {
        let text = match (self.endpoint.as_str(), self.path_style) {
            ("", true) => format!("https://s3.{}.amazonaws.com", self.region),
            ("", false) => format!("https://{bucket}.s3.{}.amazonaws.com", self.region),
            (endpoint, _) => endpoint.to_owned(),
        };
        url::Url::parse(&text).map_err(|error| ObjectsError::Address {
            reason: format!("leads to no server ({error})"),
        })
    }

    /// The client of the store in `bucket`.
    pub(super) fn open(&self, bucket: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, ObjectsError> {
        let refuse = |reason: String| ObjectsError::Address { reason };
        self.check().map_err(|problems| {
            let told: Vec<String> = problems
                .into_iter()
                .map(|(name, problem)| format!("objects.{name} {problem}"))
                .collect();
            ObjectsError::Options {
                problems: told.join("; "),
            }
        })?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&self.region)
            .with_access_key_id(self.access_key_id.0.as_str())
            .with_secret_access_key(self.secret_access_key.0.as_str())
            .with_virtual_hosted_style_request(!self.path_style)
            // One object at a time is deleted, which every store can.
            .with_disable_bulk_delete(true)
            .with_retry(retries())
            .with_http_connector(Transport::new(&self.url(bucket)?)?);
        if !self.endpoint.is_empty() {
            builder = builder.with_endpoint(self.endpoint.trim_end_matches('/'));
        }
        if !self.session_token.is_empty() {
            builder = builder.with_token(self.session_token.0.as_str());
        }
        let store = builder
            .build()
            .map_err(|error| refuse(format!("cannot be used: {error}")))?;
        Ok(match prefix {
            "" => Arc::new(store),
            prefix => Arc::new(PrefixStore::new(store, Path::from(prefix))),
        })
    }
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_FOR,
    }
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
