//! Identifiers: one newtype per noun, so that two kinds of id cannot be swapped.
//!
//! Inside they are `UUIDv7` (ordered by time); at the edge they carry a prefix (`mdl_…`) that says what
//! they name. `FromStr` takes the prefixed form only, `Display` prints it; serde keeps the bare UUID,
//! because that is what the log stores.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::payload::Leaves;

/// Where fresh ids come from. Tests hand in a seeded source.
pub trait Ids: Send + Sync {
    /// A fresh `UUIDv7`, never handed out before.
    fn next(&self) -> Uuid;
}

/// Ids from the machine's clock and random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A text that is not an id of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {article} (expected '{prefix}_' and 32 hexadecimal digits)")]
pub struct IdError {
    text: String,
    article: &'static str,
    prefix: &'static str,
}

/// Declares id newtypes with their edge prefix.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal $article:literal),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Leaves)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The prefix of this kind of id at the edge.
            pub const PREFIX: &'static str = $prefix;
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let refuse = || IdError {
                    text: text.chars().take(64).collect(),
                    article: $article,
                    prefix: $prefix,
                };
                let hex = text.strip_prefix(concat!($prefix, "_")).ok_or_else(refuse)?;
                if hex.len() != 32 {
                    return Err(refuse());
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| refuse())
            }
        }
    )+};
}

ids! {
    /// A person, an external or a service account.
    UserId "usr" "a user id",
    /// One login and all refreshes that descend from it.
    SessionId "ses" "a session id",
    /// A company and division that users belong to.
    OrganizationId "org" "an organization id",
    /// A project: experiments and members.
    ProjectId "prj" "a project id",
    /// An experiment inside a project.
    ExperimentId "exp" "an experiment id",
    /// A dataset with its immutable versions.
    DatasetId "dst" "a dataset id",
    /// An upload that is under way.
    UploadId "upl" "an upload id",
    /// A model (base or trained) with its immutable versions.
    ModelId "mdl" "a model id",
    /// A training job.
    JobId "job" "a job id",
    /// A worker process.
    WorkerId "wrk" "a worker id",
}

#[cfg(test)]
mod tests {
    use super::{DatasetId, JobId};
    use uuid::Uuid;

    #[test]
    fn the_edge_form_round_trips() {
        let id = JobId(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn another_kind_of_id_is_refused() {
        let job = JobId(Uuid::from_u128(7)).to_string();
        let error = job.parse::<DatasetId>().expect_err("a job is no dataset");
        assert!(error.to_string().contains("not a dataset id"), "{error}");
    }

    #[test]
    fn other_spellings_of_a_uuid_are_refused() {
        assert!(
            "job_{00000000-0000-0000-0000-000000000007}"
                .parse::<JobId>()
                .is_err()
        );
        assert!("job_".parse::<JobId>().is_err());
        assert!("".parse::<JobId>().is_err());
    }
}
