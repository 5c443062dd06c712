//! Every key: its type, default, unit, range and what it means. The reference for operators is made from
//! this file.

use std::net::SocketAddr;
use std::path::PathBuf;

use workers::devices::Wish;

use super::reader::Reader;
use super::setting::{
    EventLogUrl, File, Folder, Labels, LogFilter, LogFormat, ObjectUrl, Origin, Origins, PostgresUrl, Setting,
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

                fn read(reader: &mut Reader) -> Option<Self> {
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
            pub(super) fn read(reader: &mut Reader) -> Option<Self> {
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
    /// Where Anneal keeps its files.
    general: General "" {
        /// The folder of everything that must survive: the embedded database, objects and keys. Relative
        /// to the current folder.
        data_dir: PathBuf = ".anneal", "";
    }

    /// The door to the network.
    http: Http "http" {
        /// Where requests are accepted. Anneal speaks plain HTTP: put a TLS proxy in front before opening
        /// it to a network.
        address: SocketAddr = "127.0.0.1:8080", "";
        /// Origins of web pages that may call the API, separated by commas, for example
        /// `https://app.example.com`. Empty: only pages that Anneal itself serves.
        allowed_origins: Origins = "", "";
        /// The largest body of a request that is not an upload.
        body_limit: u64 = "1048576", "bytes", 1024..=104_857_600;
        /// Whether the API describes itself to its clients: introspection, and suggestions in errors.
        introspection: bool = "true", "";
    }

    /// The database of read models.
    database: Database "database" {
        /// A PostgreSQL (14 or later) to use. Empty: one is embedded in the data folder.
        url: PostgresUrl = "", "";
    }

    /// The event log.
    events: Events "events" {
        /// The PostgreSQL or KurrentDB (26.1 or later) that holds the log. Empty: the database of read models
        /// holds it too.
        url: EventLogUrl = "", "";
    }

    /// The evidence that the log is what was recorded: its signed checkpoints.
    audit: Audit "audit" {
        /// Whether this process may sign. Of several that may, one does at a time; all need the same key.
        sign: bool = "true", "";
        /// The name of the log in its checkpoints, better one under a domain of yours. It must stay as it was
        /// at the first start. Empty: `anneal.log/` and the id of the log.
        origin: Origin = "", "";
        /// The file of the key that signs; made at the first start. Back it up, apart from the database.
        /// Empty: `keys/log.key` in the data folder.
        key_file: File = "", "";
        /// How often the log is looked at for something to sign.
        checkpoint_interval_ms: u64 = "500", "milliseconds", 20..=60_000;
        /// Where checkpoints are exported to: best a folder that whoever administers the database cannot
        /// write to. Empty: `checkpoints` in the data folder.
        checkpoint_folder: Folder = "", "";
    }

    /// The store of datasets, models and checkpoints.
    objects: Objects "objects" {
        /// A folder as `file:///path`. Empty: the folder `objects` in the data folder.
        url: ObjectUrl = "", "";
    }

    /// Base models from outside.
    models: Models "models" {
        /// A folder whose subfolders, each a model in Hugging Face layout, may be imported. Empty: none may.
        folder: Folder = "", "";
    }

    /// Logging in.
    auth: Auth "auth" {
        /// How long an access token is good for.
        access_token_minutes: u32 = "15", "minutes", 1..=1440;
        /// How long a session lives without being used.
        refresh_token_days: u32 = "30", "days", 1..=365;
        /// Memory to hash one password with (Argon2id). Less than 19456 is weaker than OWASP advises.
        argon2_memory_kib: u32 = "19456", "KiB", 8192..=1_048_576;
        /// Passes over that memory.
        argon2_iterations: u32 = "2", "", 1..=20;
        /// Passwords hashed at the same time; more waits. Each needs the memory above.
        lanes: u32 = "1", "", 1..=64;
        /// Whether people may make their own account.
        self_registration: bool = "true", "";
    }

    /// What may be uploaded.
    uploads: Uploads "uploads" {
        /// The largest file, after unpacking.
        max_bytes: u64 = "10737418240", "bytes", 1024..=1_099_511_627_776;
        /// How many times larger than the upload its content may be: against archives that are bombs.
        max_ratio: u64 = "200", "", 2..=10_000;
        /// The longest line (one record) of a dataset.
        max_line_bytes: u64 = "1048576", "bytes", 1024..=67_108_864;
    }

    /// Training.
    worker: Worker "worker" {
        /// Jobs at the same time in this process, on the processor. 0: no jobs at all. A GPU does one at a time.
        count: u32 = "1", "", 0..=64;
        /// What trains: `cpu`; `cuda`, every NVIDIA device; `cuda:0`, the first one alone; or `auto`, every NVIDIA
        /// device that computes rightly, and the processor where there is none.
        device: Wish = "auto", "";
        /// Threads for the arithmetic. 0: all cores.
        threads: u32 = "0", "", 0..=1024;
        /// How long a worker that says nothing keeps its job before another may take it.
        lease_seconds: u64 = "15", "seconds", 3..=3600;
        /// How often a job that ends by a fault is tried in all.
        max_attempts: u32 = "5", "", 1..=100;
        /// How long a job may be on workers, over all attempts, if it does not ask for less; then it is failed,
        /// with its checkpoint kept. 0: as long as it takes.
        max_run_minutes: u32 = "10080", "minutes", 0..=525_600;
        /// Labels of the workers of this process, separated by commas, for example `fast,room-2`. Jobs may demand
        /// them. The device, `cpu` or `cuda`, is a label of its own.
        labels: Labels = "", "";
        /// Memory that each worker of this process offers. 0: all of the machine, or of its GPU.
        memory_mib: u64 = "0", "MiB", 0..=1_073_741_824;
    }

    /// What is written to standard error.
    log: Log "log" {
        /// For people or for programs.
        format: LogFormat = "human", "";
        /// The least level, also by module: `info,api=debug`.
        level: LogFilter = "info,sqlx=warn", "";
    }

    /// Numbers for Prometheus.
    metrics: Metrics "metrics" {
        /// Whether `/metrics` is served.
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
