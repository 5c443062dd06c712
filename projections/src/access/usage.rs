//! What each user has taken of their quotas: the `access_usage` table (QU-1).
//!
//! One rule: units are counted, not listed. The deciders see to it that each thing takes its unit once and
//! gives it back once, because its id is fresh and it ends once.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::Quota,
    },
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
    id::UserId,
};

use crate::{
    history::{AsOf, History},
    identity::user::uuid_key,
    read_model::{ReadError, ReadModel, Row, Rows, Scope, Source, rows},
};

/// What a user has taken.
#[derive(Clone, Debug, PartialEq, Eq, Row)]
pub struct UsageRow {
    /// The user.
    pub id: UserId,
    /// Projects owned.
    pub projects: i32,
    /// Datasets owned.
    pub datasets: i32,
    /// Jobs queued or under way.
    pub concurrent_jobs: i32,
    /// Bytes stored.
    pub storage_bytes: i64,
}

impl UsageRow {
    /// What a user has taken of whom nothing is recorded.
    #[must_use]
    pub fn nothing(user: UserId) -> Self {
        Self {
            id: user,
            projects: 0,
            datasets: 0,
            concurrent_jobs: 0,
            storage_bytes: 0,
        }
    }

    fn units(&mut self, quota: Quota) -> &mut i32 {
        match quota {
            Quota::Projects => &mut self.projects,
            Quota::Datasets => &mut self.datasets,
            Quota::ConcurrentJobs => &mut self.concurrent_jobs,
        }
    }
}

/// The projection.
#[derive(Default)]
pub struct Usages;

impl ReadModel for Usages {
    type Row = UsageRow;
    const NAME: &'static str = "access.usage";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "access_usage";
    const HISTORY: Option<History> = Some(History::since(1, "access_usage_history").hot_columns(
        "access_usage_history_dense",
        &["projects", "datasets", "concurrent_jobs", "storage_bytes"],
    ));
    const SCOPE: Scope = Scope::OwnOr {
        owner: "id",
        permission: Action::QuotasManage,
    };
    const CATEGORIES: &'static [&'static str] = &[QuotaLedger::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<UsageRow>) -> Result<(), DecodeError> {
        let (Some(key), Ok(user)) = (uuid_key(event), event.stream.key().parse::<UserId>()) else {
            return Ok(());
        };
        if rows.get(&key).is_none() {
            rows.put(&key, UsageRow::nothing(user));
        }
        match decode::<LedgerEvent>(event)? {
            LedgerEvent::Taken { quota, .. } => rows.change(key, |row| *row.units(quota) += 1),
            LedgerEvent::Released { quota, .. } => rows.change(key, |row| *row.units(quota) -= 1),
            LedgerEvent::StorageTaken { bytes, .. } => rows.change(key, |row| {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                row.storage_bytes = row.storage_bytes.saturating_add(bytes);
            }),
            // What is on its way is not stored yet.
            LedgerEvent::StorageReserved { .. } | LedgerEvent::StorageReleased { .. } => {}
            // Jobs know their times themselves (`jobs::usage`).
            LedgerEvent::GpuTimeBegan { .. } | LedgerEvent::GpuTimeTaken { .. } => {}
        }
        Ok(())
    }
}

/// What a user has taken.
///
/// # Errors
/// When the database fails.
pub async fn of_user(source: &impl Source, as_of: AsOf, user: UserId) -> Result<UsageRow, ReadError> {
    let found = rows::<Usages>(source, as_of, "where id = $1", |query| query.bind(user.0)).await?;
    Ok(found
        .into_iter()
        .next()
        .unwrap_or_else(|| UsageRow::nothing(user)))
}
