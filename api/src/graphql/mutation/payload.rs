//! What every payload has: the entity, the position, and what is wrong.
//!
//! One rule: the entity is read as the caller may read it, never handed on from the command.

use async_graphql::{Context, Result};
use domain::{event_store::Position, expectation::Expectation};
use uuid::Uuid;

use crate::graphql::user_error::UserError;

/// What a mutation creates or changes.
pub trait Entity: Sized + Send {
    /// Its id.
    type Id: Copy + From<Uuid> + Into<Uuid> + Send + Sync;

    /// The expectation that it has `version`: the streams whose events its version counts. Must be said by every entity
    /// that an input with `expectedVersion` is about.
    fn expectation(_id: Self::Id, version: u64) -> Expectation {
        Expectation::version(version)
    }

    /// The entity as it stands, if it exists and the caller may read it.
    fn load(context: &Context<'_>, id: Self::Id) -> impl Future<Output = Result<Option<Self>>> + Send;
}

/// The entity of payloads that show none.
pub struct NoEntity;

impl Entity for NoEntity {
    type Id = Uuid;
    async fn load(_: &Context<'_>, _: Uuid) -> Result<Option<Self>> {
        Ok(None)
    }
}

/// The payload of a mutation.
pub trait Payload: Sized {
    /// What it shows.
    type Entity: Entity;
    /// The field that shows it.
    const SHOWN: &'static str;

    /// The payload of a success or of errors.
    fn of(entity: Option<Self::Entity>, position: Option<Position>, user_errors: Vec<UserError>) -> Self;
}

/// Declares a payload that shows an entity under its own name, which is one word.
macro_rules! payload {
    ($(#[$doc:meta])* $name:ident { $(#[$field_doc:meta])* $field:ident: $entity:ty }) => {
        $(#[$doc])*
        #[derive(async_graphql::SimpleObject)]
        pub struct $name {
            $(#[$field_doc])*
            pub $field: Option<$entity>,
            /// Log position of the recorded event; pass it as `minPosition` to read your own write.
            pub position: Option<$crate::graphql::scalars::Long>,
            /// Every error in the input; empty on success.
            pub user_errors: Vec<$crate::graphql::user_error::UserError>,
        }

        impl $crate::graphql::mutation::Payload for $name {
            type Entity = $entity;
            const SHOWN: &'static str = stringify!($field);
            fn of(
                $field: Option<$entity>,
                position: Option<domain::event_store::Position>,
                user_errors: Vec<$crate::graphql::user_error::UserError>,
            ) -> Self {
                Self {
                    $field,
                    position: position.map(Into::into),
                    user_errors,
                }
            }
        }
    };
}
pub(crate) use payload;
