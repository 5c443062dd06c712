//! Exporting the log from the database.
//!
//! The rule: only what is under a signed checkpoint is exported, and pages are written as they come, so that
//! a log of any length needs no memory of its size.

use std::path::Path;

use domain::event_store::StoreError;
use sqlx::{PgConnection, PgPool, Row as _};
use time::OffsetDateTime;

use super::{
    super::failure::{unavailable, within},
    STATEMENT,
    audit::PAGE_LIMIT,
    events::{self, EventRows},
    nodes, rows,
    state::{SigningError, tip},
};
use crate::integrity::{
    ChainedEvent, Checkpoint, Digest, Signer, Span, Tip, consistency_spans,
    export::{Beginning, ExportError, ExportWriter, Manifest},
    root_of, tiles_for,
};

/// Positions that are asked for at a time.
const PAGE: u64 = 4_096;
/// Events in one file.
const FILE_EVENTS: u64 = 1_000_000;

/// What is exported, and where to.
#[derive(Clone, Copy, Debug)]
pub struct ExportOrder<'a> {
    /// The folder, which must not exist.
    pub target: &'a Path,
    /// Position of the first event; 1 if `None`.
    pub from: Option<u64>,
    /// Position of the last event; the last signed one if `None`.
    pub to: Option<u64>,
    /// Signs the manifest: the key of the log.
    pub signer: &'a Signer,
    /// Written into the manifest.
    pub now: OffsetDateTime,
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err wants")]
fn failed(error: sqlx::Error) -> ExportError {
    ExportError::Store(unavailable(&error))
}

/// See the module.
pub(crate) async fn export(pool: &PgPool, order: ExportOrder<'_>) -> Result<Manifest, ExportError> {
    let mut connection = pool.acquire().await.map_err(failed)?;
    let newest = within(STATEMENT, rows::newest(&mut connection))
        .await
        .map_err(failed)?;
    let unsigned = || {
        ExportError::Range("no checkpoint is signed yet; start the system with `anneal up` once".to_owned())
    };
    let newest = newest.ok_or_else(unsigned)?;
    let checkpoint = Checkpoint::open(&newest.note, order.signer.verifier())
        .map_err(|error| ExportError::Range(format!("the newest checkpoint does not count: {error}")))?;
    let (from, to) = (order.from.unwrap_or(1), order.to.unwrap_or(checkpoint.size));
    if from == 0 || from > to || to > checkpoint.size {
        let size = checkpoint.size;
        return Err(ExportError::Range(format!(
            "from {from} to {to} is no range that can be proved: positions 1 to {size} are signed"
        )));
    }
    let beginning = beginning(&mut connection, from - 1).await?;
    let mut writer = Writing {
        writer: ExportWriter::begin(order.target, beginning, FILE_EVENTS)?,
        failure: None,
    };
    let mut after = from - 1;
    while after < to && writer.failure.is_none() {
        let until = (after + PAGE).min(to);
        within(
            PAGE_LIMIT,
            events::read(&mut connection, after, until, &mut writer),
        )
        .await
        .map_err(failed)?;
        after = until;
    }
    if let Some(error) = writer.failure {
        return Err(error);
    }
    if writer.writer.position() != to {
        let why = format!("position {} is missing", writer.writer.position() + 1);
        return Err(StoreError::Corrupt(why).into());
    }
    let spans = consistency_spans(to, checkpoint.size).unwrap_or_default();
    let proof = roots(&mut connection, &spans).await?;
    writer.writer.finish(&checkpoint, &proof, order.signer, order.now)
}

/// Chain and tree after the first `size` events.
async fn beginning(connection: &mut PgConnection, size: u64) -> Result<Beginning, ExportError> {
    let id = sqlx::query("select store_id from event_head").fetch_one(&mut *connection);
    let store_id = within(STATEMENT, id)
        .await
        .and_then(|row| row.try_get("store_id"))
        .map_err(failed)?;
    let tip = match size {
        0 => Tip::genesis(store_id),
        size => tip(connection, size).await.map_err(|hindrance| match hindrance {
            SigningError::Database(error) => failed(error),
            SigningError::Alarm(why) => StoreError::Corrupt(why).into(),
            SigningError::Folder(why) => StoreError::Unavailable(why).into(),
        })?,
    };
    let mut spans: Vec<Span> = Vec::new();
    let mut first = 0;
    for height in (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1) {
        spans.push(first..first + (1 << height));
        first += 1 << height;
    }
    Ok(Beginning {
        store_id,
        tip,
        peaks: roots(connection, &spans).await?,
    })
}

async fn roots(connection: &mut PgConnection, spans: &[Span]) -> Result<Vec<Digest>, ExportError> {
    let tiles = within(STATEMENT, nodes::tiles(connection, &tiles_for(spans)))
        .await
        .map_err(failed)?;
    let roots = spans.iter().map(|span| root_of(span, &tiles));
    let roots: Option<_> = roots.collect();
    roots.ok_or_else(|| StoreError::Corrupt("the stored tree is not whole".to_owned()).into())
}

/// What the pages go to; after a failure nothing more is written.
struct Writing {
    writer: ExportWriter,
    failure: Option<ExportError>,
}

impl EventRows for Writing {
    async fn take(&mut self, batch: Vec<ChainedEvent>) -> Result<(), sqlx::Error> {
        for event in &batch {
            if self.failure.is_none() {
                self.failure = self.writer.add(event).err();
            }
        }
        Ok(())
    }
}
