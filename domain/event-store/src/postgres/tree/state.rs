//! Taking up the tree where the last signer left it.
//!
//! The rule: nothing is signed on top of a checkpoint that was not verified: its signature, its root against
//! the stored tiles, its place in the present log, and the newest exported one against the same tree. What
//! does not fit is an alarm, never repaired. A file that cannot be read contradicts nothing: it is written anew.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};

use super::{
    super::session::{hash, unsigned},
    nodes, rows,
};
use crate::integrity::{
    Checkpoint, CheckpointFolder, CheckpointFolderError, Digest, Newest, TILE_WIDTH, TilePlace, Tip, Tree,
    Verifier, root_of, tiles_for,
};

/// Why signing is not possible.
#[derive(Debug)]
pub(super) enum SigningError {
    /// The database; it passes.
    Database(sqlx::Error),
    /// The folder of exported checkpoints cannot be used; it passes.
    Folder(String),
    /// The log is not the one that was signed; it does not pass.
    Alarm(String),
}

impl From<sqlx::Error> for SigningError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Alarm(format!(
                "the tree in the database cannot be read: {}",
                super::describe(&error)
            )),
            other => Self::Database(other),
        }
    }
}

/// Everything that has been signed, ready to be added to.
pub(super) struct Signed {
    pub(super) tip: Tip,
    pub(super) tree: Tree,
    /// `None` while nothing was signed.
    pub(super) newest: Option<Checkpoint>,
    /// What the folder has as newest.
    pub(super) exported: u64,
}

/// Reads and verifies it, see the module.
pub(super) async fn take_up(
    connection: &mut PgConnection,
    verifier: &Verifier,
    folder: &CheckpointFolder,
) -> Result<Signed, SigningError> {
    let head = sqlx::query("select pos, store_id from event_head")
        .fetch_one(&mut *connection)
        .await?;
    let end = unsigned(head.try_get("pos")?)?;
    let Newest {
        found: exported,
        faulty,
    } = folder.newest(verifier).map_err(|error| match error {
        contradiction @ CheckpointFolderError::Checkpoint { .. } => {
            SigningError::Alarm(contradiction.to_string())
        }
        other => SigningError::Folder(other.to_string()),
    })?;
    if let Some(faulty) = &faulty {
        tracing::warn!(
            %faulty,
            "the file of the newest exported checkpoint cannot be read; it says nothing about the log, and is written \
             anew from the database"
        );
    }
    let exported_size = exported.as_ref().map_or(0, |checkpoint| checkpoint.size);
    let Some(row) = rows::newest(connection).await? else {
        check_nothing_exported(exported_size)?;
        return Ok(Signed {
            tip: Tip::genesis(head.try_get("store_id")?),
            tree: Tree::default(),
            newest: None,
            exported: 0,
        });
    };
    let newest = opened(&row, verifier)?;
    check_extent(newest.size, end, exported_size)?;
    let tree = signed_tree(connection, &newest).await?;
    if let Some(exported) = exported
        && root_at(connection, exported.size).await? != Some(exported.root)
    {
        return Err(SigningError::Alarm(format!(
            "the exported checkpoint of {exported_size} events is of another history than the tree in the database"
        )));
    }
    Ok(Signed {
        tip: tip(connection, newest.size).await?,
        tree,
        newest: Some(newest),
        exported: if faulty.is_some() { 0 } else { exported_size },
    })
}

/// Checks that nothing was exported from a database that records no checkpoint.
fn check_nothing_exported(exported_size: u64) -> Result<(), SigningError> {
    if exported_size == 0 {
        return Ok(());
    }
    Err(SigningError::Alarm(format!(
        "the checkpoint folder holds one of {exported_size} events, but none is recorded in the database: they were removed \
         there, or it is another database"
    )))
}

/// Checks that the log, which ends at `end`, holds all that is `signed`, and that reaches as far as the exported.
fn check_extent(signed: u64, end: u64, exported_size: u64) -> Result<(), SigningError> {
    if signed > end {
        return Err(SigningError::Alarm(format!(
            "the log ends at {end}, but {signed} events are signed: it was cut off or restored from an older state"
        )));
    }
    if exported_size > signed {
        return Err(SigningError::Alarm(format!(
            "the checkpoint folder holds one of {exported_size} events, the database only up to {signed}: it was cut off or \
             restored from an older state"
        )));
    }
    Ok(())
}

/// The stored tree, which has the root that `newest` signs.
async fn signed_tree(connection: &mut PgConnection, newest: &Checkpoint) -> Result<Tree, SigningError> {
    let tree = tree(connection, newest.size).await?;
    tree.filter(|tree| tree.root() == newest.root).ok_or_else(|| {
        SigningError::Alarm(format!(
            "the stored tree of {} events does not have the root that was signed",
            newest.size
        ))
    })
}

/// A recorded checkpoint, verified, and the same as the columns beside it.
fn opened(row: &rows::HeadRow, verifier: &Verifier) -> Result<Checkpoint, SigningError> {
    let checkpoint = Checkpoint::open(&row.note, verifier);
    let why = match checkpoint {
        Ok(checkpoint) if checkpoint.size == row.size && checkpoint.root == row.root => {
            return Ok(checkpoint);
        }
        Ok(_) => "it is not the one that its row says".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(SigningError::Alarm(format!(
        "the recorded checkpoint of {} events does not count: {why}",
        row.size
    )))
}

/// The tree of `size` leaves from tiles and last events; `None` when they are not as many as there should be.
async fn tree(connection: &mut PgConnection, size: u64) -> Result<Option<Tree>, sqlx::Error> {
    let mut wanted: BTreeMap<TilePlace, usize> = BTreeMap::new();
    let (mut level, mut nodes) = (0, size);
    while nodes > 0 {
        wanted.insert(
            (level, nodes / TILE_WIDTH as u64),
            (nodes % TILE_WIDTH as u64) as usize,
        );
        nodes /= TILE_WIDTH as u64;
        level += 1;
    }
    let mut tiles = nodes::tiles(connection, &wanted).await?;
    let unfinished = wanted.into_iter().map(|(place, width)| {
        let mut hashes = tiles.remove(&place).unwrap_or_default();
        hashes.truncate(width);
        hashes
    });
    Ok(Tree::resume(size, unfinished.collect()))
}

/// The root of the first `size` leaves by the stored tree.
pub(super) async fn root_at(connection: &mut PgConnection, size: u64) -> Result<Option<Digest>, sqlx::Error> {
    let span = 0..size;
    let wanted = tiles_for(std::slice::from_ref(&span));
    Ok(root_of(&span, &nodes::tiles(connection, &wanted).await?))
}

/// Where the chain stands at `position`.
pub(super) async fn tip(connection: &mut PgConnection, position: u64) -> Result<Tip, SigningError> {
    let row = sqlx::query("select hash, at from event where pos = $1")
        .bind(rows::signed(position)?)
        .fetch_optional(connection)
        .await?;
    let row = row.ok_or_else(|| SigningError::Alarm(format!("event {position} is signed and missing")))?;
    Ok(Tip {
        position,
        hash: hash(row.try_get("hash")?)?,
        at: row.try_get("at")?,
    })
}
