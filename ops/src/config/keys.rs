//! Every key: its type, default, unit, range and what it means. The reference for operators is made from
//! this file.

use std::net::SocketAddr;
use std::path::PathBuf;

use workers::registration::devices::DeviceSelection;

use super::setting::{
    EventLogUrl, File, Folder, Labels, Line, LogFilter, LogFormat, ObjectUrl, Origin, Origins, PostgresUrl,
    SecretLine, Setting,
};

/// One declared key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Section and name with a dot between, as in the file.
    pub name: &'static str,
    /// What values look like.
    pub kind: &'static str,
    /// What a number counts; empty for the rest.
    pub unit: &'static str,
    /// As it would be written.
    pub default: &'static str,
    /// Smallest and largest number.
    pub range: Option<(u64, u64)>,
    /// Never printed, and refused in the file and in flags.
    pub secret: bool,
    /// What it means.
    pub doc: &'static [&'static str],
}

/// One section with its keys.
pub(super) struct Section {
    /// What the section is about.
    pub doc: &'static [&'static str],
    /// Its keys in the order of declaration.
    pub keys: &'static [Key],
}

/// Where the values of declared keys come from.
pub(super) trait Resolver {
    /// The value of `key`; `None` when it is bad, which the resolver then knows.
    fn resolve<T: Setting>(&mut self, key: &Key) -> Option<T>;
}

/// Declares the sections as structs, and their keys as a table.
macro_rules! keys {
    (@range) => { None };
    (@range $least:literal $most:literal) => { Some(($least, $most)) };
    (@name "" $field:ident) => { stringify!($field) };
    (@name $prefix:literal $field:ident) => { concat!($prefix, ".", stringify!($field)) };
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $type:ident $prefix:tt {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $value:ty = $default:literal, $unit:literal $(, $least:literal..=$most:literal)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug)]
            pub struct $type {
                $($(#[doc = $doc])+ pub $field: $value,)+
            }

            impl $type {
                const KEYS: &[Key] = &[$(Key {
                    name: keys!(@name $prefix $field),
                    kind: <$value as Setting>::KIND,
                    unit: $unit,
                    default: $default,
                    range: keys!(@range $($least $most)?),
                    secret: <$value as Setting>::SECRET,
                    doc: &[$($doc),+],
                }),+];

                fn read(reader: &mut impl Resolver) -> Option<Self> {
                    let mut keys = Self::KEYS.iter();
                    // Every key is read before the first bad one ends this, so that all are reported.
                    $(let $field = keys.next().map(|key| reader.resolve(key));)+
                    Some(Self { $($field: $field??,)+ })
                }
            }
        )+

        /// The whole configuration.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $type,)+
        }

        impl Config {
            /// Reads all sections; `None` when a value is bad, which `reader` then knows.
            pub(super) fn read(reader: &mut impl Resolver) -> Option<Self> {
                $(let $section = $type::read(reader);)+
                Some(Self { $($section: $section?,)+ })
            }
        }

        /// All sections with their keys.
        pub(super) const SECTIONS: &[Section] = &[
            $(Section { doc: &[$($section_doc),+], keys: $type::KEYS }),+
        ];
    };
}

keys! {
    /// Storage location.
    general: General "" {
        /// Data folder: embedded database, objects and keys. Relative to the working directory.
        data_dir: PathBuf = ".anneal", "";
    }

    /// The network listener.
    http: Http "http" {
        /// Listen address. Anneal serves plain HTTP: put a TLS proxy in front of it before exposing it to a network.
        address: SocketAddr = "127.0.0.1:8080", "";
        /// Allowed CORS origins, comma-separated, for example `https://app.example.com`. Empty: same origin only.
        allowed_origins: Origins = "", "";
        /// Maximum request body size, uploads excepted.
        body_limit: u64 = "1048576", "bytes", 1024..=104_857_600;
        /// Whether the API describes itself to its clients: introspection, and suggestions in errors.
        introspection: bool = "true", "";
        /// Connections at the same time. `/healthz` and `/readyz` are answered beyond it. Each takes a file descriptor.
        connections: usize = "4096", "", 16..=1_000_000;
        /// Connections at the same time from one address. Behind a proxy all clients have its address: raise this and the
        /// other bounds per address there.
        connections_per_address: usize = "2048", "", 1..=1_000_000;
        /// WebSockets and event streams at the same time.
        streams: usize = "5000", "", 1..=1_000_000;
        /// WebSockets and event streams at the same time from one address.
        streams_per_address: usize = "2500", "", 1..=1_000_000;
        /// WebSockets and event streams at the same time of one account.
        streams_per_account: usize = "1000", "", 1..=1_000_000;
        /// Operations at the same time on all WebSockets of one account.
        operations_per_account: usize = "2000", "", 1..=1_000_000;
        /// Queries and mutations under way at the same time of one account; further ones wait for their turn. 0: eight for
        /// each processor core.
        running_per_account: usize = "0", "", 0..=100_000;
        /// Queries and mutations of one account that may wait for their turn; one more is answered `UNAVAILABLE`.
        waiting_per_account: usize = "1024", "", 0..=1_000_000;
        /// Uploads and downloads at the same time of one account.
        transfers_per_account: usize = "32", "", 1..=100_000;
        /// Uploads and downloads at the same time from one address.
        transfers_per_address: usize = "256", "", 1..=100_000;
    }

    /// The database of read models.
    database: Database "database" {
        /// URL of a PostgreSQL server (14 or later). Empty: an embedded one in the data folder.
        url: PostgresUrl = "", "";
    }

    /// The event log.
    events: Events "events" {
        /// URL of the PostgreSQL or KurrentDB (26.1 or later) that stores the log. Empty: the database of the read
        /// models.
        url: EventLogUrl = "", "";
    }

    /// Integrity of the log: signed checkpoints.
    audit: Audit "audit" {
        /// Whether this process may sign checkpoints. If several processes may, one signs at a time; all need the
        /// same key.
        sign: bool = "true", "";
        /// Origin of the log in its checkpoints, preferably under your domain. Must not change after the first start.
        /// Empty: `anneal.log/` and the log's ID.
        origin: Origin = "", "";
        /// Signing key file; created at the first start. Back it up separately from the database. Empty:
        /// `keys/log.key` in the data folder.
        key_file: File = "", "";
        /// Interval between checkpoints.
        checkpoint_interval_ms: u64 = "500", "milliseconds", 20..=60_000;
        /// Folder that checkpoints are exported to, preferably one that the database administrator cannot write to.
        /// Empty: `checkpoints` in the data folder.
        checkpoint_folder: Folder = "", "";
    }

    /// Object store of datasets, models and checkpoints.
    objects: Objects "objects" {
        /// Object store: a folder as `file:///path`, or an S3 bucket as `s3://bucket/prefix`. Empty: `objects` in the
        /// data folder.
        url: ObjectUrl = "", "";
        /// URL of the S3 server, without a path. Empty: AWS, in the region. Without TLS only on this machine.
        endpoint: Line = "", "";
        /// Region of the bucket. Servers outside of AWS mostly accept any.
        region: Line = "us-east-1", "";
        /// ID of the access key, which may read, write, list and delete in the bucket.
        access_key_id: SecretLine = "", "";
        /// Secret of the access key.
        secret_access_key: SecretLine = "", "";
        /// Session token, with temporary credentials only.
        session_token: SecretLine = "", "";
        /// Whether the bucket's name is in the path instead of the host name. Most servers outside of AWS need it.
        path_style: bool = "true", "";
        /// Whether an S3 server on another machine may be used without TLS.
        allow_http: bool = "false", "";
        /// Maximum size of the cache of downloaded datasets and models on a worker whose object store is a bucket. Files
        /// in use are kept beyond it.
        cache_mib: u64 = "51200", "MiB", 1..=1_073_741_824;
    }

    /// Import of base models.
    models: Models "models" {
        /// Import folder: its subfolders, each a model in Hugging Face layout, may be imported. Empty: importing is
        /// disabled.
        folder: Folder = "", "";
        /// Concurrent imports of this process, beside its other jobs. 0: other processes on machines with the folder
        /// import.
        imports: u32 = "1", "", 0..=16;
    }

    /// Authentication.
    auth: Auth "auth" {
        /// Lifetime of access tokens.
        access_token_minutes: u32 = "15", "minutes", 1..=1440;
        /// Lifetime of unused sessions.
        refresh_token_days: u32 = "30", "days", 1..=365;
        /// Argon2id memory per password hash. Less than 19456 is below OWASP's recommendation.
        argon2_memory_kib: u32 = "19456", "KiB", 8192..=1_048_576;
        /// Argon2id iterations.
        argon2_iterations: u32 = "2", "", 1..=20;
        /// Number of passwords hashed concurrently; others wait. Each needs the memory above.
        hashing_concurrency: u32 = "1", "", 1..=64;
        /// Whether self-registration is enabled.
        self_registration: bool = "true", "";
    }

    /// Upload limits.
    uploads: Uploads "uploads" {
        /// Maximum file size after decompression.
        max_bytes: u64 = "10737418240", "bytes", 1024..=1_099_511_627_776;
        /// Maximum compression ratio, against decompression bombs.
        max_ratio: u64 = "200", "", 2..=10_000;
        /// Maximum length of a line (one record) of a dataset.
        max_line_bytes: u64 = "1048576", "bytes", 1024..=67_108_864;
    }

    /// Training.
    worker: Worker "worker" {
        /// Concurrent jobs of this process on the CPU. 0: no jobs. A GPU runs one at a time.
        count: u32 = "1", "", 0..=64;
        /// Training device: `cpu`; `cuda`, every NVIDIA device; `cuda:0`, only the first; or `auto`, every NVIDIA
        /// device that passes its self-test, else the CPU.
        device: DeviceSelection = "auto", "";
        /// Compute threads. 0: all cores.
        threads: u32 = "0", "", 0..=1024;
        /// Lease time: how long a worker without a heartbeat keeps its job.
        lease_seconds: u64 = "15", "seconds", 3..=3600;
        /// Maximum attempts of a job that is interrupted by failures.
        max_attempts: u32 = "5", "", 1..=100;
        /// Maximum worker time of a job over all attempts, unless it asks for less; then it fails and keeps its
        /// checkpoint. 0: no limit.
        max_run_minutes: u32 = "10080", "minutes", 0..=525_600;
        /// Checkpoints of each job that are kept in the object store, from which a worker on another machine can go on.
        /// 0: checkpoints stay on the worker's disk.
        checkpoints_kept: u32 = "2", "", 0..=100;
        /// Labels of this process's workers, comma-separated, for example `fast,room-2`. Jobs may require them. The
        /// device, `cpu` or `cuda`, is always a label.
        labels: Labels = "", "";
        /// Memory of each worker of this process. 0: all of the machine's, or of its GPU's.
        memory_mib: u64 = "0", "MiB", 0..=1_073_741_824;
    }

    /// Logging to standard error.
    log: Log "log" {
        /// Log format.
        format: LogFormat = "human", "";
        /// Log level, optionally per module: `info,api=debug`.
        level: LogFilter = "info,sqlx=warn", "";
    }

    /// Prometheus metrics.
    metrics: Metrics "metrics" {
        /// Whether to serve `/metrics`.
        enabled: bool = "true", "";
    }
}

/// The declared key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .find(|key| key.name == name)
}
