//! Shadow tables: made like the live ones, filled, indexed, and put in their place.
//!
//! The rule: a shadow ends up as the live table is, in columns, defaults, checks, indexes, storage settings and
//! grants; only its rows come from the fold. Names of its indexes end with [`SHADOW`] until it takes its place.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::read_model::{Described, SHADOW, Target};

/// Runs a statement that is put together from names of the catalogue.
async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

async fn texts(connection: &mut PgConnection, query: &str, table: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar::<_, String>(AssertSqlSafe(query.to_owned()))
        .bind(table)
        .fetch_all(connection)
        .await
}

/// Makes an empty shadow of `table`, without indexes, in place of one that is there.
pub(super) async fn create(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let (live, shadow) = (table.name, Target::Shadow.name(table.name));
    drop_shadow(&mut *connection, table).await?;
    run(
        &mut *connection,
        format!("create table {shadow} (like {live} including all excluding indexes)"),
    )
    .await?;
    let settings = texts(
        &mut *connection,
        "select unnest(reloptions) from pg_class where oid = $1::regclass",
        live,
    );
    let settings = settings.await?;
    if !settings.is_empty() {
        run(
            &mut *connection,
            format!("alter table {shadow} set ({})", settings.join(", ")),
        )
        .await?;
    }
    // What default privileges gave it goes; what the live table grants comes.
    let revoke = texts(
        &mut *connection,
        "select distinct format('revoke all on %s from %s', $1,
                case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end)
         from pg_class c, aclexplode(c.relacl) a where c.oid = $1::regclass and a.grantee <> c.relowner",
        &shadow,
    );
    let mut statements = revoke.await?;
    let grant = sqlx::query_scalar::<_, String>(
        "select format('grant %s on %s to %s%s', a.privilege_type, $2,
                case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                case when a.is_grantable then ' with grant option' else '' end)
         from pg_class c, aclexplode(c.relacl) a where c.oid = $1::regclass and a.grantee <> c.relowner",
    )
    .bind(live)
    .bind(&shadow)
    .fetch_all(&mut *connection);
    statements.extend(grant.await?);
    if !statements.is_empty() {
        run(connection, statements.join("; ")).await?;
    }
    Ok(())
}

/// Whether the shadow is there and has the columns and checks of the live table.
pub(super) async fn fits(connection: &mut PgConnection, table: Described) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar::<_, bool>(
        "with columns as (
             select c.relname, string_agg(format('%s %s %s', a.attname, format_type(a.atttypid, a.atttypmod),
                                                 a.attnotnull), ',' order by a.attname) as list
             from pg_class c join pg_attribute a on a.attrelid = c.oid
             where c.oid in (to_regclass($1), to_regclass($2)) and a.attnum > 0 and not a.attisdropped
             group by c.relname),
         checks as (
             select array_agg(pg_get_constraintdef(oid) order by pg_get_constraintdef(oid))
                        filter (where conrelid = to_regclass($1)) live,
                    array_agg(pg_get_constraintdef(oid) order by pg_get_constraintdef(oid))
                        filter (where conrelid = to_regclass($2)) shadow
             from pg_constraint where contype = 'c')
         select count(*) = 2 and count(distinct list) = 1 and (select live is not distinct from shadow from checks)
         from columns",
    )
    .bind(table.name)
    .bind(Target::Shadow.name(table.name))
    .fetch_one(connection)
    .await
}

/// Drops the shadow, if there is one.
pub(super) async fn drop_shadow(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let shadow = Target::Shadow.name(table.name);
    run(connection, format!("drop table if exists {shadow}")).await
}

struct Index {
    name: String,
    /// Of the constraint that it serves.
    constraint: Option<String>,
    unique: bool,
    /// What stands behind the table's name.
    definition: String,
    primary: bool,
}

async fn indexes(connection: &mut PgConnection, table: Described) -> Result<Vec<Index>, sqlx::Error> {
    let rows = sqlx::query(
        "select c.relname::text, pg_get_constraintdef(k.oid), i.indisunique,
                substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ')),
                i.indisprimary
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
            })
        })
        .collect()
}

/// Gives the shadow its key, if it has none yet. Of rows with the same key, the one that came last stays.
pub(super) async fn add_key(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let shadow = Target::Shadow.name(table.name);
    let there = sqlx::query_scalar::<_, bool>(
        "select exists (select from pg_index where indrelid = $1::regclass and indisprimary)",
    );
    if there.bind(&shadow).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    let key = table.identity("");
    run(
        &mut *connection,
        format!(
            "delete from {shadow} a using (select {key} as key, max(ctid) as last from {shadow}
                                           group by {key} having count(*) > 1) d
             where {of_row} = d.key and a.ctid <> d.last",
            of_row = table.identity("a."),
        ),
    )
    .await?;
    for index in indexes(&mut *connection, table).await? {
        if let (true, Some(constraint)) = (index.primary, &index.constraint) {
            let name = Target::Shadow.name(&index.name);
            run(
                &mut *connection,
                format!("alter table {shadow} add constraint \"{name}\" {constraint}"),
            )
            .await?;
        }
    }
    Ok(())
}

/// Gives the shadow all indexes of the live table that it lacks, and figures for the planner.
pub(super) async fn add_indexes(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let shadow = Target::Shadow.name(table.name);
    run(&mut *connection, "set maintenance_work_mem = '64MB'".to_owned()).await?;
    add_key(&mut *connection, table).await?;
    for index in indexes(&mut *connection, table).await? {
        let name = Target::Shadow.name(&index.name);
        let there = sqlx::query_scalar::<_, bool>("select to_regclass(quote_ident($1)) is not null");
        if there.bind(&name).fetch_one(&mut *connection).await? {
            continue;
        }
        let statement = match index.constraint {
            Some(constraint) => format!("alter table {shadow} add constraint \"{name}\" {constraint}"),
            None => format!(
                "create {}index \"{name}\" on {shadow}{}",
                if index.unique { "unique " } else { "" },
                index.definition
            ),
        };
        run(&mut *connection, statement).await?;
    }
    run(connection, format!("analyze {shadow}")).await
}

/// Puts the shadow in place of the live table, which must be locked.
pub(super) async fn replace(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let (live, shadow) = (table.name, Target::Shadow.name(table.name));
    run(
        &mut *connection,
        format!("drop table {live}; alter table {shadow} rename to {live}"),
    )
    .await?;
    for index in indexes(&mut *connection, table).await? {
        if let Some(name) = index.name.strip_suffix(SHADOW) {
            run(
                &mut *connection,
                format!("alter index \"{}\" rename to \"{name}\"", index.name),
            )
            .await?;
        }
    }
    Ok(())
}
