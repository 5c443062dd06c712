//! Time travel (AU-4): questions about how things stood at an earlier moment.
//!
//! One rule: who may ask is decided by the rights of today; only what is answered is of then.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{
    Context, Object, OneofObject, Result, SimpleObject,
    dataloader::{DataLoader, HashMapCache, Loader},
};
use domain::event_store::Position;
use projections::history::{AsOfError, Asked, Instant, Moment as At, resolve};
use time::OffsetDateTime;

use super::{
    context::{coded, unreadable, user},
    scalars::Long,
};
use crate::app::{App, PATIENCE};

/// A moment of the past: exactly one of these.
#[derive(Clone, Copy, OneofObject)]
pub enum AsOf {
    /// As things stood at that time: after the last event that was recorded at or before it. Not in the
    /// future; before the first event there was nothing.
    At(OffsetDateTime),
    /// As things stood after the event at that position of the log; 0 is before the first event.
    Position(Long),
}

/// The moment of the log that an answer is as of. Asking for its position gives the same answer again.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub struct Moment {
    /// Position of the last event that counts; 0 before the first one.
    pub position: Long,
    /// When that event was recorded; null before the first one.
    pub at: Option<OffsetDateTime>,
}

/// Which moment the fields of an answer show.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// What to read.
    pub moment: At,
    /// The same as clients see it; `None` for the present.
    pub shown: Option<Moment>,
}

impl View {
    /// The present.
    pub const NOW: Self = Self {
        moment: At::Now,
        shown: None,
    };

    fn past(instant: Instant) -> Self {
        Self {
            moment: At::AsOf(instant.position),
            shown: Some(Moment {
                position: instant.position.into(),
                at: instant.at,
            }),
        }
    }
}

/// What lists of things with a past say beside their rows.
#[derive(Clone, Copy, SimpleObject)]
pub struct Seen {
    /// The moment of the past that the rows show; null for the present.
    pub as_of: Option<Moment>,
}

/// Finds each moment that a request asks about once, so that all of its fields see the same one.
pub struct MomentLoader(App);

impl MomentLoader {
    /// A fresh one, for one request.
    #[must_use]
    pub fn fresh(app: App) -> DataLoader<Self, HashMapCache> {
        DataLoader::with_cache(
            Self(app),
            async_graphql::runtime::TokioSpawner::current(),
            async_graphql::runtime::TokioTimer::default(),
            HashMapCache::default(),
        )
    }
}

impl Loader<Asked> for MomentLoader {
    type Value = std::result::Result<Instant, Arc<AsOfError>>;
    type Error = std::convert::Infallible;

    async fn load(&self, keys: &[Asked]) -> std::result::Result<HashMap<Asked, Self::Value>, Self::Error> {
        let app = &self.0;
        let (store, now) = (app.ports.store.as_ref(), app.now());
        let mut found = HashMap::new();
        for asked in keys {
            let instant = resolve(&app.pool, store, &app.progress, now, PATIENCE, *asked).await;
            found.insert(*asked, instant.map_err(Arc::new));
        }
        Ok(found)
    }
}

/// The moment that `asked` names, once the read models have reached it. Call it after the caller's rights
/// have been checked.
///
/// # Errors
/// `BAD_USER_INPUT` for a moment that has not come, `UNAVAILABLE` when the read models are not there in time.
pub async fn view(context: &Context<'_>, asked: Option<AsOf>) -> Result<View> {
    match asked {
        None => Ok(View::NOW),
        Some(AsOf::At(at)) => find(context, Asked::At(at)).await,
        Some(AsOf::Position(position)) => find(context, Asked::Position(Position(position.0))).await,
    }
}

async fn find(context: &Context<'_>, asked: Asked) -> Result<View> {
    let loader = context.data::<DataLoader<MomentLoader, HashMapCache>>()?;
    let Some(found) = loader.load_one(asked).await? else {
        return Err(coded("UNAVAILABLE", "the moment was not found, try again"));
    };
    found.map(View::past).map_err(|error| match error.as_ref() {
        AsOfError::Read(error) => unreadable(error),
        error if error.is_callers() => coded("BAD_USER_INPUT", error.to_string()),
        error => coded("UNAVAILABLE", error.to_string()),
    })
}

/// Queries about moments.
#[derive(Default)]
pub struct MomentQuery;

#[Object]
impl MomentQuery {
    /// Which moment of the log a time means, or when the event at a position was recorded.
    async fn moment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The time or position.")] as_of: AsOf,
    ) -> Result<Option<Moment>> {
        user(context)?;
        Ok(view(context, Some(as_of)).await?.shown)
    }
}
