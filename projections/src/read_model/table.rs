//! The projection of a read model into its table.
//!
//! The rule: a page of events is folded in memory, event by event, and then written at once.

use std::{collections::BTreeSet, marker::PhantomData};

use domain::event_store::{BoxFuture, RecordedEvent};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    Builder, Described, History, ProjectError, Projector, ReadModel, Rows, Shape, Target,
    builder::Shadow,
    fold::{fold_one, keys},
    history_writer::HistoryWriter,
    stored,
};

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

    fn wants(&self, event: &RecordedEvent) -> bool {
        M::CATEGORIES.is_empty() || M::CATEGORIES.contains(&event.stream.category())
    }

    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let table = self.target.name(M::TABLE);
            let keys: Vec<Vec<String>> = events
                .iter()
                .map(|event| keys::<M>(event))
                .collect::<Result<_, _>>()?;
            let keys: BTreeSet<String> = keys.into_iter().flatten().collect();
            if keys.is_empty() && !M::APPEND_ONLY {
                return Ok(());
            }
            let mut rows = Rows::of(stored::load::<M>(&mut *connection, &table, &keys).await?);
            let mut history_writer = HistoryWriter::of::<M>(self.target);
            if let Some(history_writer) = &mut history_writer {
                let stored = keys.iter().filter_map(|key| Some((key, rows.get(key)?)));
                stored
                    .into_iter()
                    .try_for_each(|(key, row)| history_writer.see(key, row))?;
            }
            for event in events {
                let changed = fold_one::<M>(event, &mut rows)?;
                if let Some(history_writer) = &mut history_writer {
                    changed
                        .iter()
                        .try_for_each(|key| history_writer.note(event, key, rows.get(key)))?;
                }
            }
            stored::save::<M>(&mut *connection, &table, &rows.unsaved()).await?;
            match history_writer {
                Some(mut history_writer) => history_writer.save(connection).await,
                None => Ok(()),
            }
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

    fn builder(&self, shape: Shape, fresh: bool) -> Box<dyn Builder> {
        Box::new(Shadow::<M>::new(shape, fresh))
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
