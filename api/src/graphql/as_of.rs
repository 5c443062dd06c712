//! Time travel (AU-4): queries as of a past log position.
//!
//! One rule: today's permissions decide who may ask; only the response is from the past.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{Context, Object, OneofObject, Result, SimpleObject, dataloader::Loader};
use domain::event_store::Position;
use projections::history::{self, AsOf, AsOfError, AsOfRequest, resolve};
use time::OffsetDateTime;

use super::{
    context::user,
    errors::{error_with_code, read_failed},
    loaders::{Fresh, remembering},
    scalars::{DateTime, Long},
};
use crate::app::{App, TIMEOUT};

/// A point in the past, by time or by log position: exactly one of these.
#[derive(Clone, Copy, OneofObject)]
#[graphql(name = "AsOf")]
pub enum AsOfInput {
    /// State at that time: after the last event recorded at or before it. Must not be in the future; before the first
    /// event everything is empty.
    At(DateTime),
    /// State after the event at that log position; 0 is before the first event.
    Position(Long),
}

/// The log position that a response reflects. Querying as of the same position returns the same response.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub struct LogInstant {
    /// Position of the last event included; 0 before the first event.
    pub position: Long,
    /// When that event was recorded; null before the first event.
    pub at: Option<DateTime>,
}

/// The log position that the fields of a response reflect.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResolvedAsOf {
    /// What to read.
    pub as_of: AsOf,
    /// The same for clients; `None` for the present.
    pub shown: Option<LogInstant>,
    /// The time that was asked for, or that of the position; `None` for the present. What ends by itself, without an
    /// event, is looked at as of this time.
    pub time: Option<OffsetDateTime>,
}

impl ResolvedAsOf {
    /// The present.
    pub const NOW: Self = Self {
        as_of: AsOf::Now,
        shown: None,
        time: None,
    };

    fn past(instant: history::LogInstant) -> Self {
        Self {
            as_of: AsOf::AsOf(instant.position),
            shown: Some(LogInstant {
                position: instant.position.into(),
                at: instant.at.map(DateTime),
            }),
            time: instant.at,
        }
    }
}

/// Resolves each `asOf` of a request once, so that all its fields read the same position.
pub struct AsOfLoader(App);

impl Fresh for AsOfLoader {
    fn fresh(app: &App) -> Self {
        Self(app.clone())
    }
}

impl Loader<AsOfRequest> for AsOfLoader {
    type Value = std::result::Result<history::LogInstant, Arc<AsOfError>>;
    type Error = std::convert::Infallible;

    async fn load(
        &self,
        keys: &[AsOfRequest],
    ) -> std::result::Result<HashMap<AsOfRequest, Self::Value>, Self::Error> {
        let app = &self.0;
        let (store, now) = (app.ports.store.as_ref(), app.now());
        let mut found = HashMap::new();
        for request in keys {
            let instant = resolve(&app.read_models, store, &app.progress, now, TIMEOUT, *request).await;
            found.insert(*request, instant.map_err(Arc::new));
        }
        Ok(found)
    }
}

/// The moment that `request` names, once the read models have reached it. Call it after the caller's rights
/// have been checked.
///
/// # Errors
/// `BAD_USER_INPUT` for a moment that has not come, `UNAVAILABLE` when the read models are not there in time.
pub async fn resolve_as_of(context: &Context<'_>, request: Option<AsOfInput>) -> Result<ResolvedAsOf> {
    match request {
        None => Ok(ResolvedAsOf::NOW),
        Some(AsOfInput::At(at)) => {
            let resolved = find(context, AsOfRequest::At(at.0)).await?;
            Ok(ResolvedAsOf {
                time: Some(at.0),
                ..resolved
            })
        }
        Some(AsOfInput::Position(position)) => {
            find(context, AsOfRequest::Position(Position(position.0))).await
        }
    }
}

async fn find(context: &Context<'_>, request: AsOfRequest) -> Result<ResolvedAsOf> {
    let loader = remembering::<AsOfLoader>(context)?;
    let Some(found) = Box::pin(loader.load_one(request)).await? else {
        return Err(error_with_code(
            "UNAVAILABLE",
            "the position could not be resolved, try again",
        ));
    };
    found
        .map(ResolvedAsOf::past)
        .map_err(|error| match error.as_ref() {
            AsOfError::Read(error) => read_failed(error),
            error if error.is_caller_error() => error_with_code("BAD_USER_INPUT", error.to_string()),
            error => error_with_code("UNAVAILABLE", error.to_string()),
        })
}

/// Queries about log positions.
#[derive(Default)]
pub struct AsOfQuery;

#[Object]
impl AsOfQuery {
    /// Resolves a time to a log position, or a position to the time of its event.
    async fn log_instant(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The time or position.")] as_of: AsOfInput,
    ) -> Result<Option<LogInstant>> {
        user(context)?;
        Ok(resolve_as_of(context, Some(as_of)).await?.shown)
    }
}
