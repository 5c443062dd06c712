//! Reading nodes of the tree: full tiles as they are stored, the rest from the level below.
//!
//! The rule: what is read here is not verified; who uses it compares the root that comes out with a signed one.

use std::collections::{BTreeMap, btree_map::Entry};

use sqlx::{PgConnection, Row as _};

use super::{
    super::session::{hash, unsigned},
    events, rows,
};
use crate::integrity::{Digest, TILE_WIDTH, TilePlace, leaf, leaf_hash};

/// The tiles `wanted`, with at least so many of their first hashes as are asked for, if the log has them.
pub(super) async fn tiles(
    connection: &mut PgConnection,
    wanted: &BTreeMap<TilePlace, usize>,
) -> Result<BTreeMap<TilePlace, Vec<Digest>>, sqlx::Error> {
    let levels: Vec<i16> = wanted.keys().map(|(level, _)| i16::from(*level)).collect();
    let indexes = wanted.keys().map(|(_, index)| rows::signed(*index));
    let stored = sqlx::query(
        "select level, idx, hashes from event_tree_tile
         where (level, idx) in (select * from unnest($1::smallint[], $2::bigint[]))",
    )
    .bind(levels)
    .bind(indexes.collect::<Result<Vec<_>, _>>()?)
    .fetch_all(&mut *connection)
    .await?;
    let mut tiles = BTreeMap::new();
    for row in stored {
        let level = u8::try_from(row.try_get::<i16, _>("level")?);
        let level = level.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let index = unsigned(row.try_get("idx")?)?;
        tiles.insert((level, index), rows::hashes(row.try_get("hashes")?)?);
    }
    // At most one of each level is not full.
    for ((level, index), width) in wanted {
        if let Entry::Vacant(missing) = tiles.entry((*level, *index)) {
            missing.insert(match level {
                0 => leaves(connection, *index, *width).await?,
                level => roots_below(connection, *level, *index, *width).await?,
            });
        }
    }
    Ok(tiles)
}

/// Hashes of the leaves of tile `index`, from the events.
async fn leaves(connection: &mut PgConnection, index: u64, width: usize) -> Result<Vec<Digest>, sqlx::Error> {
    let before = index * TILE_WIDTH as u64;
    let events = events::range(connection, before, before + width as u64).await?;
    Ok(events
        .iter()
        .map(|event| leaf_hash(&leaf(&event.link(&event.prints()))))
        .collect())
}

/// Hashes of tile `index` of `level`, from the tiles below.
async fn roots_below(
    connection: &mut PgConnection,
    level: u8,
    index: u64,
    width: usize,
) -> Result<Vec<Digest>, sqlx::Error> {
    let first = index * TILE_WIDTH as u64;
    let roots = sqlx::query_scalar::<_, Vec<u8>>(
        "select root from event_tree_tile where level = $1 and idx >= $2 and idx < $3 order by idx",
    )
    .bind(i16::from(level) - 1)
    .bind(rows::signed(first)?)
    .bind(rows::signed(first + width as u64)?)
    .fetch_all(connection)
    .await?;
    roots.iter().map(|root| hash(root)).collect()
}
