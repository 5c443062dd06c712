//! The last chapter: what the log recorded, with positions, times and actors.

use serde::Deserialize;
use serde_json::json;

use super::{accounts::People, show::Show};

const LOG: &str = "query($subject: String!, $after: String) { answer: auditLog(filter: { subject: $subject }, \
     order: OLDEST_FIRST, first: 100, after: $after) { edges { node { position at kind actor } } \
     pageInfo { hasNextPage endCursor } } }";

#[derive(Clone, Deserialize)]
struct Raw {
    position: String,
    at: String,
    kind: String,
    actor: String,
}

/// Entries of the same kind in a row are one line.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    count: usize,
    at: String,
    kind: String,
    actor: String,
}

/// Prints what is recorded about `subjects`, the oldest first.
pub(super) async fn print(people: &People, subjects: &[&str], show: &Show) -> anyhow::Result<()> {
    let mut entries: Vec<Raw> = Vec::new();
    for subject in subjects {
        let found: Vec<Raw> = people
            .administrator
            .list(LOG, json!({ "subject": subject }))
            .await?;
        entries.extend(found);
    }
    show.line(&format!(
        "  {:>11}  {:8}  {:<32} actor",
        "position", "time", "event"
    ))?;
    for run in runs(entries)? {
        let position = if run.first == run.last {
            run.first.to_string()
        } else {
            format!("{}–{}", run.first, run.last)
        };
        let kind = if run.count == 1 {
            run.kind
        } else {
            format!("{} × {}", run.kind, run.count)
        };
        // RFC 3339: the time of day is what stands after the T.
        let time = run.at.get(11..19).unwrap_or(&run.at);
        show.line(&format!(
            "  {position:>11}  {time}  {kind:<32} {}",
            named(&run.actor, &people.names)
        ))?;
    }
    Ok(())
}

fn runs(mut entries: Vec<Raw>) -> anyhow::Result<Vec<Run>> {
    entries.sort_by_key(|entry| entry.position.parse::<u64>().unwrap_or(u64::MAX));
    let mut runs: Vec<Run> = Vec::new();
    for entry in entries {
        let position: u64 = entry.position.parse()?;
        match runs
            .last_mut()
            .filter(|run| run.kind == entry.kind && run.actor == entry.actor)
        {
            Some(run) => {
                run.last = position;
                run.count += 1;
            }
            None => runs.push(Run {
                first: position,
                last: position,
                count: 1,
                at: entry.at,
                kind: entry.kind,
                actor: entry.actor,
            }),
        }
    }
    Ok(runs)
}

fn named(actor: &str, names: &[(String, String)]) -> String {
    let known = names
        .iter()
        .find(|(id, _)| actor.strip_prefix("user:") == Some(id));
    known.map_or_else(|| actor.to_owned(), |(_, name)| format!("user:{name}"))
}

#[cfg(test)]
mod tests {
    use super::{Raw, named, runs};

    fn entry(position: u64, kind: &str) -> Raw {
        Raw {
            position: position.to_string(),
            at: String::new(),
            kind: kind.to_owned(),
            actor: "worker:w".to_owned(),
        }
    }

    #[test]
    fn entries_are_in_order_and_equal_neighbours_are_one_line() {
        let entries = vec![entry(12, "c"), entry(9, "a"), entry(10, "b"), entry(11, "b")];
        let found: Vec<(u64, u64, usize)> = runs(entries)
            .expect("numbers")
            .iter()
            .map(|run| (run.first, run.last, run.count))
            .collect();
        assert_eq!(found, vec![(9, 9, 1), (10, 11, 2), (12, 12, 1)]);
    }

    #[test]
    fn people_are_named_and_others_stay() {
        let names = vec![("usr_1".to_owned(), "ada".to_owned())];
        assert_eq!(named("user:usr_1", &names), "user:ada");
        assert_eq!(named("worker:wrk_1", &names), "worker:wrk_1");
    }
}
