//! Limits on what one account may take: the vocabulary of every decision that counts.
//!
//! One rule: of several limits the most generous holds; what is taken of them, the context `access` counts.

use serde::{Deserialize, Serialize};

use crate::payload::Leaves;

/// What is limited by count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Projects owned.
    Projects,
    /// Datasets owned.
    Datasets,
    /// Jobs that are queued or under way.
    ConcurrentJobs,
}

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Projects => "projects",
            Self::Datasets => "datasets",
            Self::ConcurrentJobs => "concurrent jobs",
        })
    }
}

/// The limits of one role or user; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Quotas {
    /// Projects owned.
    pub projects: Option<u32>,
    /// Datasets owned.
    pub datasets: Option<u32>,
    /// Jobs queued or under way at once.
    pub concurrent_jobs: Option<u32>,
    /// Stored gigabytes (10⁹ bytes).
    pub storage_gb: Option<u32>,
    /// GPU hours in a calendar month.
    pub gpu_hours: Option<u32>,
}

impl Quotas {
    /// No limits.
    pub const UNLIMITED: Self = Self {
        projects: None,
        datasets: None,
        concurrent_jobs: None,
        storage_gb: None,
        gpu_hours: None,
    };
    /// Nothing at all: what an account without roles has.
    pub const NOTHING: Self = Self {
        projects: Some(0),
        datasets: Some(0),
        concurrent_jobs: Some(0),
        storage_gb: Some(0),
        gpu_hours: Some(0),
    };

    /// The more generous of both, limit by limit (AC-1).
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let more = |a: Option<u32>, b: Option<u32>| a.zip(b).map(|(a, b)| a.max(b));
        Self {
            projects: more(self.projects, other.projects),
            datasets: more(self.datasets, other.datasets),
            concurrent_jobs: more(self.concurrent_jobs, other.concurrent_jobs),
            storage_gb: more(self.storage_gb, other.storage_gb),
            gpu_hours: more(self.gpu_hours, other.gpu_hours),
        }
    }

    /// The limit of one counted quota.
    #[must_use]
    pub fn limit(&self, quota: Quota) -> Option<u32> {
        match quota {
            Quota::Projects => self.projects,
            Quota::Datasets => self.datasets,
            Quota::ConcurrentJobs => self.concurrent_jobs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quotas;

    /// AC-1: quotas take the most generous.
    #[test]
    fn unlimited_beats_every_limit() {
        let sum = Quotas {
            projects: Some(3),
            ..Quotas::NOTHING
        }
        .or(Quotas {
            projects: None,
            ..Quotas::NOTHING
        });
        assert_eq!(sum.projects, None);
        assert_eq!(sum.datasets, Some(0));
    }
}
