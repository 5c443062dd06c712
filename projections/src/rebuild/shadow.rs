//! Shadow tables: made like the live ones, filled, indexed, and put in their place.
//!
//! The rule: a shadow ends up as the live table is, in columns, defaults, checks, indexes, storage settings and
//! grants; only its rows come from the fold. Names of its indexes end with [`SHADOW`] until it takes its place.
//! Until then autovacuum leaves it alone: it would compete with the filling, and hold locks that the swap needs.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{index, statement::run};
use crate::read_model::{Described, SHADOW, Target};

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
    let mut settings = texts(
        &mut *connection,
        "select o from pg_class, unnest(reloptions) o where oid = $1::regclass and o not like 'autovacuum_enabled=%'",
        live,
    )
    .await?;
    settings.push("autovacuum_enabled=off".to_owned());
    let mut changes = texts(
        &mut *connection,
        "select format('alter column %I set statistics %s', attname, attstattarget) from pg_attribute
         where attrelid = $1::regclass and attnum > 0 and not attisdropped and attstattarget >= 0",
        live,
    )
    .await?;
    changes.push(format!("set ({})", settings.join(", ")));
    run(
        &mut *connection,
        format!("alter table {shadow} {}", changes.join(", ")),
    )
    .await?;
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

/// Puts the shadow in place of the live table, which must be locked.
pub(super) async fn replace(connection: &mut PgConnection, table: Described) -> Result<(), sqlx::Error> {
    let (live, shadow) = (table.name, Target::Shadow.name(table.name));
    let vacuumed = texts(
        &mut *connection,
        "select coalesce((select format('set (%s)', o) from pg_class, unnest(reloptions) o
                          where oid = $1::regclass and o like 'autovacuum_enabled=%'), 'reset (autovacuum_enabled)')",
        live,
    )
    .await?
    .concat();
    run(
        &mut *connection,
        format!("drop table {live}; alter table {shadow} {vacuumed}; alter table {shadow} rename to {live}"),
    )
    .await?;
    for index in index::all(&mut *connection, table).await? {
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
