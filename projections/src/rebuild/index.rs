//! Indexes of shadow tables.
//!
//! The rule: they are made once the rows are there, several at a time, each by one connection without helpers: so no
//! connection waits while another one sorts. A key becomes a constraint when its index is there.

use std::{cmp::Reverse, collections::VecDeque};

use sqlx::{Connection as _, PgConnection, PgPool, Row as _};
use tokio::sync::Mutex;

use super::{connect, statement::run};
use crate::read_model::{Described, Target};

/// Connections that make indexes at the same time. Each sorts in [`MEMORY`].
const CONNECTIONS: usize = 2;
/// What one may sort in, of the server's memory.
const MEMORY: &str = "64MB";
/// SQLSTATE `unique_violation`.
const TWICE: &str = "23505";

/// An index of a live table.
pub(super) struct Index {
    pub(super) name: String,
    /// The definition of the constraint that it serves.
    constraint: Option<String>,
    /// Of that, whether it can take over an index that is there: a key that is checked at once.
    adopts: bool,
    unique: bool,
    /// What stands behind the table's name.
    definition: String,
    primary: bool,
}

/// All of `table`, the key first.
pub(super) async fn all(connection: &mut PgConnection, table: Described) -> Result<Vec<Index>, sqlx::Error> {
    let rows = sqlx::query(
        "select c.relname::text, pg_get_constraintdef(k.oid), i.indisunique,
                substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ')),
                i.indisprimary, coalesce(k.contype in ('p', 'u') and not k.condeferrable, false)
         from pg_index i join pg_class c on c.oid = i.indexrelid
              left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid
         where i.indrelid = $1::regclass order by i.indisprimary desc, c.relname",
    )
    .bind(table.name)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Index {
                name: row.try_get(0)?,
                constraint: row.try_get(1)?,
                unique: row.try_get(2)?,
                definition: row.try_get(3)?,
                primary: row.try_get(4)?,
                adopts: row.try_get(5)?,
            })
        })
        .collect()
}

impl Index {
    /// Makes it on the shadow of `table`, if it is not there; a key as an index alone.
    async fn make(&self, connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
        let (name, shadow) = (Target::Shadow.name(&self.name), Target::Shadow.name(table.name));
        let there = sqlx::query_scalar::<_, bool>("select to_regclass(quote_ident($1)) is not null");
        if there.bind(&name).fetch_one(&mut *connection).await? {
            return Ok(());
        }
        let statement = match &self.constraint {
            Some(constraint) if !self.adopts => {
                format!("alter table {shadow} add constraint \"{name}\" {constraint}")
            }
            _ => format!(
                "create {}index \"{name}\" on {shadow}{}",
                if self.unique { "unique " } else { "" },
                self.definition
            ),
        };
        if !self.primary {
            return run(connection, statement).await;
        }
        // Inside a transaction this is a savepoint.
        let mut attempt = connection.begin().await?;
        match run(&mut attempt, statement.clone()).await {
            Ok(()) => attempt.commit().await,
            Err(error) if is_twice(&error) => {
                attempt.rollback().await?;
                keep_last(&mut *connection, table).await?;
                run(connection, statement).await
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the constraint of its index, if it has one and it is not there.
    async fn adopt(&self, connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
        if !self.adopts {
            return Ok(());
        }
        let (name, shadow) = (Target::Shadow.name(&self.name), Target::Shadow.name(table.name));
        let there = sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_constraint where conrelid = $1::regclass and conname = $2)",
        );
        let there = there.bind(&shadow).bind(&name).fetch_one(&mut *connection);
        if there.await? {
            return Ok(());
        }
        let kind = if self.primary { "primary key" } else { "unique" };
        let statement =
            format!("alter table {shadow} add constraint \"{name}\" {kind} using index \"{name}\"");
        run(connection, statement).await
    }
}

/// Whether a key is there twice.
fn is_twice(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == TWICE)
}

/// Of rows with the same key, the one that came last stays.
async fn keep_last(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let (shadow, key) = (Target::Shadow.name(table.name), table.identity(""));
    let statement = format!(
        "delete from {shadow} a using (select {key} as key, max(ctid) as last from {shadow}
                                       group by {key} having count(*) > 1) d
         where {of_row} = d.key and a.ctid <> d.last",
        of_row = table.identity("a."),
    );
    run(connection, statement).await
}

/// Gives the shadow its key, if it has none yet.
pub(super) async fn add_key(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let shadow = Target::Shadow.name(table.name);
    let there = sqlx::query_scalar::<_, bool>(
        "select exists (select from pg_index where indrelid = $1::regclass and indisprimary)",
    );
    if there.bind(&shadow).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    for index in all(&mut *connection, table).await? {
        if index.primary {
            index.make(&mut *connection, table).await?;
            index.adopt(&mut *connection, table).await?;
        }
    }
    Ok(())
}

/// What is still to be done.
enum Work {
    Make(Described, Index),
    /// Constraints, and figures for the planner.
    Finish(Described, Vec<Index>),
}

impl Work {
    async fn run(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Make(table, index) => index.make(connection, table).await,
            Self::Finish(table, indexes) => {
                for index in indexes {
                    index.adopt(&mut *connection, table).await?;
                }
                run(connection, format!("analyze {}", Target::Shadow.name(table.name))).await
            }
        }
    }
}

async fn work(connection: &mut PgConnection, waiting: &Mutex<VecDeque<Work>>) -> Result<(), sqlx::Error> {
    loop {
        let next = waiting.lock().await.pop_front();
        let Some(next) = next else { return Ok(()) };
        next.run(&mut *connection).await?;
    }
}

async fn work_all(connections: &mut [PgConnection], work_list: VecDeque<Work>) -> Result<(), sqlx::Error> {
    let waiting = Mutex::new(work_list);
    let each = connections
        .iter_mut()
        .map(|connection| work(connection, &waiting));
    futures::future::try_join_all(each).await?;
    Ok(())
}

/// Gives the shadows of `tables` all indexes of the live ones that they lack, and figures for the planner.
pub(super) async fn add_all(pool: &PgPool, tables: Vec<Described>) -> Result<(), sqlx::Error> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = connect(pool).await?;
        // They wait for each other only, for as long as an index takes.
        let settings = format!(
            "set maintenance_work_mem = '{MEMORY}'; set max_parallel_maintenance_workers = 0; set lock_timeout = 0"
        );
        run(&mut connection, settings).await?;
        connections.push(connection);
    }
    let tables = largest_first(&mut connections[0], tables).await?;
    let (mut making, mut finishing) = (VecDeque::new(), VecDeque::new());
    for table in tables {
        let indexes = all(&mut connections[0], table).await?;
        making.extend(indexes.into_iter().map(|index| Work::Make(table, index)));
        finishing.push_back(Work::Finish(table, all(&mut connections[0], table).await?));
    }
    work_all(&mut connections, making).await?;
    work_all(&mut connections, finishing).await
}

/// So that no connection is left with much when the others are done.
async fn largest_first(
    connection: &mut PgConnection,
    tables: Vec<Described>,
) -> Result<Vec<Described>, sqlx::Error> {
    let mut sized = Vec::new();
    for table in tables {
        let size = sqlx::query_scalar::<_, i64>("select pg_relation_size($1::regclass)");
        let size = size.bind(Target::Shadow.name(table.name));
        sized.push((Reverse(size.fetch_one(&mut *connection).await?), table));
    }
    sized.sort_by_key(|(size, _)| *size);
    Ok(sized.into_iter().map(|(_, table)| table).collect())
}
