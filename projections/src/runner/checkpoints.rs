//! The statement that ends a page: the checkpoints of the projections that it moves, and its rows if they are few.
//!
//! One rule: rows are never written without it, and it moves nothing but from where a projection was thought to be, under
//! the lease.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{RunError, place::Place, projection_handle::ProjectionHandle};
use crate::{
    lease::Lease,
    position::stored,
    read_model::{ProjectError, Statement, Write},
};

/// Bytes of rows that go with the checkpoints in one statement. For more, a statement each costs nothing that matters.
const FEW: usize = 64 << 10;

/// The names of the statement's parts that write rows.
const PART: &str = "rows";

/// Where projections stand, and where they go.
pub(super) struct Checkpoints<'a> {
    lease: Lease,
    names: Vec<&'a str>,
    from: Vec<i64>,
    generations: Vec<i64>,
    to: Vec<i64>,
    failed: Vec<Option<i64>>,
    reasons: Vec<Option<&'a str>>,
}

impl<'a> Checkpoints<'a> {
    /// Those of `places`.
    pub(super) fn of(lease: Lease, handles: &'a [ProjectionHandle], places: &'a [Place]) -> Self {
        let each = || places.iter().map(|place| (place, &handles[place.index]));
        let failures = || places.iter().map(|place| place.failure.as_ref());
        Self {
            lease,
            names: each().map(|(_, handle)| handle.projector.name()).collect(),
            from: each().map(|(_, handle)| stored(handle.checkpoint)).collect(),
            generations: each().map(|(_, handle)| handle.generation).collect(),
            to: each().map(|(place, _)| stored(place.next)).collect(),
            failed: failures()
                .map(|failure| failure.map(|failure| stored(failure.position)))
                .collect(),
            reasons: failures()
                .map(|failure| failure.map(|failure| failure.reason.as_str()))
                .collect(),
        }
    }

    /// Writes rows, proves the lease and moves the checkpoints. `false`: one of them is not where it was thought to be.
    pub(super) async fn write(
        &self,
        transaction: &mut PgConnection,
        writes: Vec<Write>,
    ) -> Result<bool, RunError> {
        let statements = match few(&writes) {
            true => writes.into_iter().filter_map(Write::into_statement).collect(),
            false => {
                for write in writes {
                    write.run(&mut *transaction).await?;
                }
                Vec::new()
            }
        };
        self.with(transaction, &statements).await
    }

    /// All in one statement. No part reads what another writes, so their order does not matter.
    async fn with(&self, transaction: &mut PgConnection, statements: &[Statement]) -> Result<bool, RunError> {
        let mut text = "with held as (
             update projection_lease set expires_at = clock_timestamp() + make_interval(secs => $2)
             where name = 'fold' and epoch = $1 returning 1
         ), moved as (
             update projection_checkpoint c
             set position = m.next, failed_position = m.failed, failure = m.reason,
                 failing_since = case when m.failed is null then null
                                      else coalesce(c.failing_since, clock_timestamp()) end,
                 state = case when m.failed is null then 'live' else 'stopped' end
             from (select unnest($3::text[]) as name, unnest($4::bigint[]) as position,
                          unnest($5::bigint[]) as generation, unnest($6::bigint[]) as next,
                          unnest($7::bigint[]) as failed, unnest($8::text[]) as reason) m
             where c.name = m.name and c.position = m.position and c.generation = m.generation
             returning 1
         )"
        .to_owned();
        let (mut parameter, mut counts) = (9, String::new());
        for (number, statement) in statements.iter().enumerate() {
            let part = format!("{PART}{number}");
            let (rows, counted) = match statement.expects {
                Some(_) => (" returning 1", format!(", (select count(*) from {part})")),
                None => ("", String::new()),
            };
            text.push_str(&format!(
                ", {part} as ({}{rows})",
                statement.numbered(&mut parameter)
            ));
            counts.push_str(&counted);
        }
        text.push_str(&format!(
            " select (select count(*) from held), (select count(*) from moved){counts}"
        ));
        let query = sqlx::query(AssertSqlSafe(text))
            .bind(self.lease.epoch())
            .bind(Duration::as_secs_f64(&self.lease.length()))
            .bind(&self.names)
            .bind(&self.from)
            .bind(&self.generations)
            .bind(&self.to)
            .bind(&self.failed)
            .bind(&self.reasons);
        let query = statements
            .iter()
            .fold(query, |query, statement| statement.bind(query));
        // The rows are in it, so that an event may be to blame.
        let row = query.fetch_one(transaction).await.map_err(ProjectError::from)?;
        let counted = statements.iter().filter(|statement| statement.expects.is_some());
        for (place, statement) in counted.enumerate() {
            let written = row.try_get::<i64, _>(2 + place)?;
            statement.check(u64::try_from(written).unwrap_or_default())?;
        }
        match (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?) {
            (0, _) => Err(RunError::Deposed),
            (_, moved) => Ok(usize::try_from(moved) == Ok(self.names.len())),
        }
    }
}

/// Whether `writes` are small enough to go along in one statement.
fn few(writes: &[Write]) -> bool {
    let sizes = writes.iter().map(|write| match write {
        Write::Copy { .. } => FEW,
        Write::Statement(statement) => statement.size(),
    });
    sizes.sum::<usize>() < FEW
}
