//! What of the application can be set.

use std::time::Duration;

use crate::{auth::secret::Secret, ingest::IngestLimits};

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// The version of Anneal.
    pub version: &'static str,
    /// Life of an access token.
    pub access_token_life: Duration,
    /// Life of a session.
    pub session_life: Duration,
    /// Whether anybody may register.
    pub self_registration: bool,
    /// What the first administrator has to know; `None` once there is one.
    pub setup_token: Option<Secret>,
    /// Whether the API describes itself to its clients: introspection, and suggestions in errors.
    pub introspection: bool,
    /// Bounds of uploads.
    pub uploads: IngestLimits,
    /// Uploads and downloads at the same time, of one account.
    pub transfers_per_account: usize,
    /// Uploads and downloads at the same time, from one address.
    pub transfers_per_address: usize,
    /// After how many lost workers a job is given up.
    pub job_attempts: u32,
    /// The most seconds that a job may be on workers, and what it may when it does not say; `None`: no limit.
    pub longest_run_seconds: Option<u32>,
}
