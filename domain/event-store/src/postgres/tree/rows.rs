//! Hashes as the tables hold them.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};

use super::super::session::{hash, unsigned};
use crate::integrity::{Digest, Tile, audit::StoredTile};

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
        size: unsigned(row.try_get("size")?)?,
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

/// The checkpoints of `after+1..=to` events.
pub(super) async fn heads(
    connection: &mut PgConnection,
    after: u64,
    to: u64,
) -> Result<Vec<HeadRow>, sqlx::Error> {
    let found = sqlx::query(
        "select size, root, note from event_tree_head where size > $1 and size <= $2 order by size",
    )
    .bind(signed(after)?)
    .bind(signed(to)?)
    .fetch_all(connection)
    .await?;
    found.iter().map(head).collect()
}

/// The tiles over the leaves `after..to`, on every level, that are full within them.
pub(super) async fn stored_tiles(
    connection: &mut PgConnection,
    after: u64,
    to: u64,
) -> Result<BTreeMap<(u8, u64), StoredTile>, sqlx::Error> {
    let mut bounds = (Vec::new(), Vec::new(), Vec::new());
    for level in 0..7_u8 {
        let height = 8 * (u32::from(level) + 1);
        // With the one that goes on behind `to`: the chain may break inside of it.
        let last = (to >> height) + u64::from(level == 0);
        bounds.0.push(i16::from(level));
        bounds.1.push(signed(after >> height)?);
        bounds.2.push(signed(last)?);
    }
    let found = sqlx::query(
        "select t.level, t.idx, t.root, t.hashes
         from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as b(level, first, last)
         join event_tree_tile t on t.level = b.level and t.idx >= b.first and t.idx < b.last",
    )
    .bind(bounds.0)
    .bind(bounds.1)
    .bind(bounds.2)
    .fetch_all(connection)
    .await?;
    let mut tiles = BTreeMap::new();
    for row in found {
        let level = u8::try_from(row.try_get::<i16, _>("level")?);
        let level = level.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let tile = StoredTile {
            root: hash(row.try_get("root")?)?,
            hashes: hashes(row.try_get("hashes")?)?,
        };
        tiles.insert((level, unsigned(row.try_get("idx")?)?), tile);
    }
    Ok(tiles)
}
