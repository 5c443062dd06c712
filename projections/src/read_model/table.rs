//! The projection of a read model into its table.
//!
//! The rule: a page of events is folded in memory, event by event, and then written at once.

use std::{collections::BTreeSet, marker::PhantomData};

use domain::event_store::{BoxFuture, RecordedEvent};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Builder, Described, History, ProjectError, Projector, ReadModel, Target, builder::Folding};

/// The projection of a read model into its table, or into the table's shadow.
pub struct Table<M> {
    target: Target,
    model: PhantomData<M>,
}

impl<M> Default for Table<M> {
    fn default() -> Self {
        Self::into_target(Target::Live)
    }
}

impl<M> Table<M> {
    /// The projection into `target`.
    #[must_use]
    pub fn into_target(target: Target) -> Self {
        Self {
            target,
            model: PhantomData,
        }
    }
}

impl<M: ReadModel> Projector for Table<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn version(&self) -> i32 {
        M::VERSION
    }

    fn personal(&self) -> bool {
        M::PERSONAL
    }

    fn history(&self) -> Option<History> {
        M::HISTORY
    }

    fn categories(&self) -> &'static [&'static str] {
        M::CATEGORIES
    }

    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let mut folding = Folding::<M>::new(self.target, false);
            let mut missing = BTreeSet::new();
            for event in events {
                missing.extend(folding.missing(event)?);
            }
            folding.load(&mut *connection, missing).await?;
            events.iter().try_for_each(|event| folding.fold(event))?;
            for write in folding.take(true, false)? {
                write.run(&mut *connection).await?;
            }
            Ok(())
        })
    }

    fn tables(&self) -> Vec<Described> {
        let (key, key_type) = (M::KEY, M::KEY_TYPE);
        let table = |(name, versions)| Described {
            name,
            key,
            key_type,
            versions,
        };
        let past = M::HISTORY.iter().flat_map(History::tables);
        std::iter::once((M::TABLE, false))
            .chain(past.map(|name| (name, true)))
            .map(table)
            .collect()
    }

    fn builder(&self, target: Target, fresh: bool) -> Box<dyn Builder> {
        Box::new(Folding::<M>::new(target, fresh))
    }

    fn clear<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            for table in self.tables() {
                let statement = format!("delete from {}", self.target.name(table.name));
                sqlx::query(AssertSqlSafe(statement))
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(())
        })
    }
}
