//! The log of acknowledgements that clients received: one a line.
//!
//! ```text
//! # empty lines and those that begin so are skipped
//! 4711                                        a position
//! 4711 projects.project-prj_…                 a position, and a stream that must exist by then
//! 0192f0c1-3b5e-7000-8000-2f6d7f1f9a10        an event's id
//! ```

use std::path::Path;

use anyhow::{Context as _, bail};
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::{Invariant, Report};

/// Lines looked up at a time.
const BATCH: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Acknowledgement {
    Position(i64, Option<String>),
    Event(Uuid),
}

/// The most that is read, in bytes: some million lines.
const LARGEST: u64 = 1 << 30;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcknowledgementLog(Vec<Acknowledgement>);

impl AcknowledgementLog {
    /// Reads the acknowledgement log at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or a line is none; the line is named.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = small_files::read_text(path, LARGEST)?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().map(str::trim).enumerate();
        lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| acknowledgement(line).with_context(|| format!("line {}", number + 1)))
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// Looks every line up in the log.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn check(&self, log: &PgPool, report: &mut Report) -> anyhow::Result<()> {
        for lines in self.0.chunks(BATCH) {
            positions(lines, log, report).await?;
            events(lines, log, report).await?;
        }
        report.done(Invariant::Acknowledged);
        Ok(())
    }
}

fn acknowledgement(line: &str) -> anyhow::Result<Acknowledgement> {
    let mut words = line.split_whitespace();
    let (Some(first), stream, None) = (words.next(), words.next(), words.next()) else {
        bail!("expected a position, a position and a stream, or an event's id");
    };
    if let (Ok(id), None) = (first.parse::<Uuid>(), stream) {
        return Ok(Acknowledgement::Event(id));
    }
    let position: i64 = first
        .parse()
        .map_err(|_| anyhow::anyhow!("{first} is neither a position nor an event's id"))?;
    Ok(Acknowledgement::Position(position, stream.map(str::to_owned)))
}

async fn positions(lines: &[Acknowledgement], log: &PgPool, report: &mut Report) -> anyhow::Result<()> {
    let acknowledged = lines.iter().filter_map(|line| match line {
        Acknowledgement::Position(position, stream) => Some((*position, stream.clone())),
        Acknowledgement::Event(_) => None,
    });
    let (positions, streams): (Vec<i64>, Vec<Option<String>>) = acknowledged.unzip();
    let rows = sqlx::query(
        "select t.pos, t.stream,
                (select count(*) from event e where e.pos = t.pos) as here,
                (select count(*) from event e
                 where e.stream = t.stream and e.revision = 0 and e.pos <= t.pos) as begun
         from unnest($1::bigint[], $2::text[]) as t(pos, stream)",
    )
    .bind(&positions)
    .bind(&streams)
    .fetch_all(log)
    .await?;
    for row in rows {
        let (position, stream): (i64, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let (here, begun): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        if here != 1 {
            let what = format!("position {position} was acknowledged and is recorded {here} times");
            report.fault(Invariant::Acknowledged, what);
        }
        if let Some(stream) = stream.filter(|_| begun != 1) {
            let what = format!(
                "{stream} was acknowledged at position {position} and has begun {begun} times by then"
            );
            report.fault(Invariant::Acknowledged, what);
        }
    }
    Ok(())
}

async fn events(lines: &[Acknowledgement], log: &PgPool, report: &mut Report) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = lines
        .iter()
        .filter_map(|line| match line {
            Acknowledgement::Event(id) => Some(*id),
            Acknowledgement::Position(..) => None,
        })
        .collect();
    let rows = sqlx::query(
        "select t.id, (select count(*) from event e where e.id = t.id) as found from unnest($1::uuid[]) as t(id)",
    )
    .bind(&ids)
    .fetch_all(log)
    .await?;
    for row in rows {
        let (id, found): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
        if found != 1 {
            let what = format!("event {id} was acknowledged and is recorded {found} times");
            report.fault(Invariant::Acknowledged, what);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Acknowledgement, AcknowledgementLog};

    #[test]
    fn lines_are_positions_streams_and_ids() {
        let text = "# begun\n\n 12 \n13 projects.project-prj_1\n00000000-0000-7000-8000-000000000001\n";
        let acknowledgements = AcknowledgementLog::parse(text).expect("a journal");
        let id = "00000000-0000-7000-8000-000000000001".parse().expect("an id");
        let acknowledged = vec![
            Acknowledgement::Position(12, None),
            Acknowledgement::Position(13, Some("projects.project-prj_1".to_owned())),
            Acknowledgement::Event(id),
        ];
        assert_eq!(acknowledgements, AcknowledgementLog(acknowledged));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for bad in ["x", "1 2 3", "12 a b", "1.5"] {
            let error = AcknowledgementLog::parse(&format!("1\n{bad}\n")).expect_err("no line");
            assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        }
    }
}
