//! Hashes as the tables hold them.

use sqlx::{PgConnection, Row as _};

use super::super::session::hash;
use crate::integrity::{Digest, Tile};

/// The hashes of a tile as stored.
pub(super) fn hashes(bytes: &[u8]) -> Result<Vec<Digest>, sqlx::Error> {
    bytes.chunks(32).map(hash).collect()
}

/// A number as a column holds it.
pub(super) fn signed(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// Adds tiles.
pub(super) async fn insert_tiles(connection: &mut PgConnection, tiles: &[Tile]) -> Result<(), sqlx::Error> {
    if tiles.is_empty() {
        return Ok(());
    }
    let (mut levels, mut indexes, mut roots, mut all) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for tile in tiles {
        levels.push(i16::from(tile.level));
        indexes.push(signed(tile.index)?);
        roots.push(tile.root.to_vec());
        all.push(tile.hashes.concat());
    }
    sqlx::query(
        "insert into event_tree_tile (level, idx, root, hashes)
         select * from unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[])",
    )
    .bind(levels)
    .bind(indexes)
    .bind(roots)
    .bind(all)
    .execute(connection)
    .await
    .map(|_| ())
}

/// A recorded checkpoint.
pub(super) struct HeadRow {
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) note: String,
}

/// Reads a row of `size, root, note`.
pub(super) fn head(row: &sqlx::postgres::PgRow) -> Result<HeadRow, sqlx::Error> {
    Ok(HeadRow {
        size: super::unsigned(row.try_get("size")?)?,
        root: hash(row.try_get("root")?)?,
        note: row.try_get("note")?,
    })
}

/// The newest recorded checkpoint.
pub(super) async fn newest(connection: &mut PgConnection) -> Result<Option<HeadRow>, sqlx::Error> {
    let row = sqlx::query("select size, root, note from event_tree_head order by size desc limit 1")
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(head).transpose()
}
