//! PostgreSQL: the programs or the server, the event log in it, and its clock.

use std::{sync::Arc, time::Duration};

use domain::{
    clock::{Clock, SystemClock},
    event_store::EventStore as _,
};
use event_store::kurrentdb::{Address, KurrentEventStore, is_kurrentdb};
use event_store::postgres::{PostgresEventStore, Settings, StartError, VerifyError, address, app_pool};
use projections::runner::{Condition, statuses};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::{Check, network::Health};
use crate::{config::Config, postgres::Programs};

/// How long the database may take for an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the log is read before we advise to do it in peace.
const VERIFY: Duration = Duration::from_secs(30);
/// Clocks further apart than this confuse people who read logs.
const SKEW: Duration = Duration::from_secs(2);

/// Everything about the database, from outside: as a client of a server, or through a running system.
pub(super) async fn all(config: &Config, health: Option<&Health>) -> Vec<Check> {
    let Some(url) = &config.database.url.0 else {
        let mut checks = vec![programs()];
        checks.push(match (&config.events.url.0, health) {
            (Some(events), _) => log(config, events).await,
            (None, Some(health)) => told("event log", "eventStore", health),
            (None, None) => Check::ok(
                "event log",
                "lies in the embedded database; `anneal audit verify` checks it whole",
            ),
        });
        checks.extend(health.into_iter().flat_map(told_apart));
        checks.extend(health.map(read_models));
        return checks;
    };
    let mut checks = Vec::new();
    match tokio::time::timeout(DEADLINE, app_pool(url, 1)).await {
        Ok(Ok(pool)) => {
            checks.push(server(&pool).await);
            checks.push(clock(&pool).await);
            checks.push(projections(&pool).await);
            pool.close().await;
        }
        Ok(Err(error)) => checks.push(Check::fail(
            "database",
            error.to_string(),
            "see database.url (DATABASE_URL)",
        )),
        Err(_) => checks.push(Check::fail(
            "database",
            "no answer in 10 s",
            "see that the server runs and is reachable",
        )),
    }
    checks.push(log(config, config.events.url.0.as_deref().unwrap_or(url)).await);
    checks.extend(health.into_iter().flat_map(told_apart));
    checks
}

fn programs() -> Check {
    match Programs::find() {
        Ok(found) => Check::ok(
            "PostgreSQL",
            format!("version {} at {}", found.major(), found.postgres().display()),
        ),
        Err(missing) => Check::fail("PostgreSQL", "not found", missing.to_string()),
    }
}

/// How recording, and the signing and export of checkpoints go. There are no checkpoints in KurrentDB, and older
/// programs do not tell of all.
fn told_apart(health: &Health) -> impl Iterator<Item = Check> {
    let all = [
        ("recording", "recording"),
        ("log time", "logTime"),
        ("checkpoints", "auditSigning"),
        ("checkpoint export", "checkpointExport"),
        ("read models", "readModels"),
        ("reactors", "reactors"),
    ];
    all.into_iter().filter_map(|(name, dependency)| {
        let told_of = health.dependencies.iter().any(|known| known.name == dependency);
        told_of.then(|| told(name, dependency, health))
    })
}

/// What a running system says about one of its dependencies.
fn told(name: &'static str, dependency: &str, health: &Health) -> Check {
    match health.dependencies.iter().find(|known| known.name == dependency) {
        Some(known) if known.ok => Check::ok(name, "works, says the running system"),
        Some(_) if dependency == "logTime" => Check::warn(
            name,
            "the log's last time is ahead of the clock, says the running system: events get that time until the \
             clock has come there",
            "let the machines take their time from NTP; rely on positions, not times, of events of this span",
        ),
        Some(_) if dependency == "reactors" => Check::warn(
            name,
            "mails or other effects of events are not done, says the running system",
            "see `anneal reactors list` for what was given up and why; then run `anneal reactors redrive`",
        ),
        Some(_) => Check::fail(
            name,
            "does not work, says the running system",
            "see the log of that process",
        ),
        None => Check::warn(
            name,
            "the running system does not mention it",
            "use the program of the same version",
        ),
    }
}

const READ_MODELS: &str = "read models";

/// What a running system says about its read models.
fn read_models(health: &Health) -> Check {
    let stopped = health.projections.iter().filter(|one| one.condition == "stopped");
    let stopped: Vec<(String, Option<u64>)> = stopped
        .map(|one| (one.name.clone(), one.failed_position))
        .collect();
    let rebuilt = health
        .projections
        .iter()
        .filter(|one| one.condition == "rebuilding");
    judged(&stopped, &rebuilt.map(|one| one.name.clone()).collect::<Vec<_>>())
}

/// The read models, as the database has them.
async fn projections(pool: &PgPool) -> Check {
    let asked = tokio::time::timeout(DEADLINE, statuses(pool)).await;
    let Ok(Ok(all)) = asked else {
        return Check::ok(READ_MODELS, "not there yet; the first start makes them");
    };
    let which = |condition| all.iter().filter(move |one| one.condition == condition);
    let stopped: Vec<(String, Option<u64>)> = which(Condition::Stopped)
        .map(|one| (one.name.clone(), one.failed_position.map(|position| position.0)))
        .collect();
    let rebuilt: Vec<String> = which(Condition::Rebuilding).map(|one| one.name.clone()).collect();
    judged(&stopped, &rebuilt)
}

fn judged(stopped: &[(String, Option<u64>)], rebuilt: &[String]) -> Check {
    if !stopped.is_empty() {
        let each = stopped.iter().map(|(name, position)| match position {
            Some(position) => format!("{name} at the event at position {position}"),
            None => name.clone(),
        });
        return Check::fail(
            READ_MODELS,
            format!("stopped: {}", each.collect::<Vec<_>>().join(", ")),
            "they are tried again by themselves; start the version of Anneal that wrote this event, or see the log \
             of the running system for the reason",
        );
    }
    match rebuilt {
        [] => Check::ok(READ_MODELS, "follow the log"),
        names => Check::ok(READ_MODELS, format!("being rebuilt: {}", names.join(", "))),
    }
}

async fn server(pool: &PgPool) -> Check {
    let work = sqlx::query_scalar::<_, String>("select current_setting('server_version')").fetch_one(pool);
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(version)) => Check::ok("database", format!("PostgreSQL {version} answers")),
        Ok(Err(error)) => Check::fail(
            "database",
            error.to_string(),
            "see the log of the database server",
        ),
        Err(_) => Check::fail(
            "database",
            "no answer in 10 s",
            "see what the server is busy with",
        ),
    }
}

async fn clock(pool: &PgPool) -> Check {
    let name = "clock";
    let before = SystemClock.now();
    let work = sqlx::query_scalar::<_, OffsetDateTime>("select clock_timestamp()").fetch_one(pool);
    let Ok(Ok(theirs)) = tokio::time::timeout(DEADLINE, work).await else {
        return Check::warn(
            name,
            "the database did not tell its time",
            "see the checks of the database",
        );
    };
    let skew = apart(before, SystemClock.now(), theirs);
    let found = format!("{:.3} s apart from the database's", skew.as_secs_f64());
    match skew <= SKEW {
        true => Check::ok(name, found),
        false => Check::warn(name, found, "let both machines take their time from NTP"),
    }
}

/// How far `theirs` lies outside of the span in which it was asked for.
fn apart(before: OffsetDateTime, after: OffsetDateTime, theirs: OffsetDateTime) -> Duration {
    let outside = if theirs < before {
        before - theirs
    } else {
        theirs - after
    };
    Duration::try_from(outside).unwrap_or_default()
}

/// The log: the checks of every start, then its chain, tree and signed checkpoints.
async fn log(config: &Config, url: &str) -> Check {
    let name = "event log";
    if is_kurrentdb(url) {
        return in_kurrentdb(url).await;
    }
    let evidence = match crate::system::evidence(config) {
        Ok(evidence) => evidence,
        Err(error) => {
            let advice = "see audit.key_file and audit.checkpoint_folder";
            return Check::fail(name, format!("{error:#}"), advice);
        }
    };
    let options = match address(url) {
        Ok(options) => options,
        Err(error) => return Check::fail(name, error.to_string(), "see events.url"),
    };
    let settings = Settings {
        readers: 1,
        ..Settings::default()
    };
    let store = match PostgresEventStore::start(options, settings, Arc::new(SystemClock)).await {
        Ok(store) => store,
        Err(StartError::NotMigrated) => return Check::ok(name, "not there yet; the first start makes it"),
        Err(error) => return Check::fail(name, "it would not start", error.to_string()),
    };
    let verified = tokio::time::timeout(VERIFY, store.audit(&evidence)).await;
    let closed = store.close(DEADLINE).await;
    match verified {
        Ok(Ok(whole)) if closed => Check::ok(
            name,
            format!(
                "{} events, unbroken to the last; {} are signed",
                whole.tip.position, whole.signed
            ),
        ),
        Ok(Ok(whole)) => Check::warn(
            name,
            format!("{} events, unbroken; closing took long", whole.tip.position),
            "try again",
        ),
        Ok(Err(VerifyError::Fault(fault))) => Check::fail(
            name,
            fault.to_string(),
            "keep everything as it is and restore the log from a backup",
        ),
        Ok(Err(error)) => Check::fail(name, error.to_string(), "see the checks of the database"),
        Err(_) => Check::warn(
            name,
            "starts; too long to verify now",
            "verify it with: anneal audit verify",
        ),
    }
}

/// The log in KurrentDB: the checks of every start. There is no hash chain to verify.
async fn in_kurrentdb(url: &str) -> Check {
    let name = "event log";
    let address = match Address::parse(url) {
        Ok(address) => address,
        Err(error) => return Check::fail(name, error.to_string(), "see events.url (EVENT_STORE_URL)"),
    };
    match KurrentEventStore::start(address, event_store::kurrentdb::Settings::default()).await {
        Ok(store) => {
            let head = store.known_head();
            store.close(DEADLINE).await;
            let state = format!("KurrentDB answers, leads and takes writes; the log ends at {head}");
            Check::ok(name, state)
        }
        Err(error) => Check::fail(name, "it would not start", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, apart, told};
    use crate::doctor::Verdict;
    use std::time::Duration;
    use time::OffsetDateTime;

    #[test]
    fn a_clock_inside_of_the_span_is_right() {
        let at = |second| OffsetDateTime::from_unix_timestamp(second).expect("a time");
        assert_eq!(apart(at(10), at(12), at(11)), Duration::ZERO);
        assert_eq!(apart(at(10), at(12), at(5)), Duration::from_secs(5));
        assert_eq!(apart(at(10), at(12), at(15)), Duration::from_secs(3));
    }

    #[test]
    fn a_failing_dependency_of_the_running_system_fails() {
        let text = r#"{"status":"unavailable","version":"0.1.0","head":"3","lagEvents":0,"workers":[],
            "dependencies":[{"name":"eventStore","ok":false}]}"#;
        let health: Health = serde_json::from_str(text).expect("a report");
        assert_eq!(told("event log", "eventStore", &health).verdict, Verdict::Fail);
    }
}
