//! The leader's handle on a projection: its checkpoint and state.
//!
//! The rule: the handle mirrors the checkpoint table and is read again whenever they may differ.

use std::{collections::HashMap, time::Duration};

use domain::event_store::Position;
use sqlx::{PgConnection, Row as _};
use tokio::time::Instant;

use crate::position::position;
use crate::read_model::{Builder, Projector, Target};

/// The first wait before a stopped projection is tried again, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Whether a projection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is folded.
    Going,
    /// An event stopped it; it is tried again at that moment.
    Stopped { again: Instant, wait: Duration },
    /// Its first rebuild is not swapped in yet.
    Building,
    /// A newer build has folded it.
    Newer,
}

/// A projection and its checkpoint.
pub(super) struct ProjectionHandle {
    pub(super) projector: Box<dyn Projector>,
    pub(super) checkpoint: Position,
    /// Grows with each swap.
    pub(super) generation: i64,
    /// The table was folded by an older version of this code, and is being rebuilt.
    pub(super) outdated: bool,
    pub(super) state: State,
    /// The fold up to the checkpoint, with the rows that were needed of late.
    pub(super) folding: Box<dyn Builder>,
}

impl ProjectionHandle {
    pub(super) fn new(projector: Box<dyn Projector>) -> Self {
        Self {
            folding: projector.builder(Target::Live, false),
            projector,
            checkpoint: Position::START,
            generation: 0,
            outdated: false,
            state: State::Building,
        }
    }

    /// Forgets the rows in memory: they may be ahead of the table, or the table is another one.
    pub(super) fn forget(&mut self) {
        self.folding = self.projector.builder(Target::Live, false);
    }

    pub(super) fn going(&self) -> bool {
        self.state == State::Going
    }

    /// Whether it is to be folded now.
    pub(super) fn due(&self) -> bool {
        match self.state {
            State::Going => true,
            State::Stopped { again, .. } => again <= Instant::now(),
            State::Building | State::Newer => false,
        }
    }

    /// Stops it until some time from now; each time in a row longer.
    pub(super) fn stop(&mut self, waited: Option<Duration>) {
        let wait = waited.map_or(FIRST_WAIT, |wait| (wait * 2).min(LONGEST_WAIT));
        self.state = State::Stopped {
            again: Instant::now() + wait,
            wait,
        };
    }
}

/// What the checkpoint table says of one projection.
pub(super) struct Recorded {
    version: i32,
    position: Position,
    generation: i64,
    state: String,
}

/// Reads the checkpoint table.
pub(super) async fn recorded(
    connection: &mut PgConnection,
) -> Result<HashMap<String, Recorded>, sqlx::Error> {
    let rows = sqlx::query("select name, version, position, generation, state from projection_checkpoint")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let recorded = Recorded {
                version: row.try_get(1)?,
                position: position(row.try_get(2)?),
                generation: row.try_get(3)?,
                state: row.try_get(4)?,
            };
            Ok((row.try_get(0)?, recorded))
        })
        .collect()
}

impl Recorded {
    /// Takes over what is recorded. A stopped projection keeps the moment of its next try, if it has one.
    pub(super) fn apply_to(&self, handle: &mut ProjectionHandle) {
        let swapped = handle.generation != self.generation;
        if swapped || handle.checkpoint != self.position {
            handle.forget();
        }
        handle.checkpoint = self.position;
        handle.generation = self.generation;
        handle.outdated = self.version < handle.projector.version();
        handle.state = match (self.version > handle.projector.version(), self.state.as_str()) {
            (true, _) => State::Newer,
            (false, "building") => State::Building,
            (false, "stopped") if !swapped => match handle.state {
                stopped @ State::Stopped { .. } => stopped,
                _ => State::Going,
            },
            _ => State::Going,
        };
    }
}
