//! How rows of read models are read.
//!
//! One rule: what a client is shown comes from read models that follow the log (`projections::read_model::Source`); who takes
//! the database itself is named here with its reason.

use std::collections::BTreeSet;

use super::{code, sources};

/// Queries over the database itself: the system's own work, which the write path checks against the log; and tables that
/// follow no log but are what they are, as deliveries of reactors.
const OWN_WORK: [(&str, &str); 7] = [
    ("projections/src/identity/erasure.rs", "after"),
    ("projections/src/jobs/job.rs", "open"),
    ("projections/src/jobs/job.rs", "under_way"),
    ("projections/src/notifications/delivery.rs", "count_dead"),
    ("projections/src/notifications/delivery.rs", "dead"),
    ("projections/src/notifications/delivery.rs", "is_dead"),
    ("projections/src/notifications/delivery.rs", "reactors"),
];

/// Where the api takes the database itself: for health, and for deliveries.
const DATABASE: [&str; 3] = [
    "api/src/graphql/notifications.rs",
    "api/src/http/routes/health.rs",
    "api/src/http/routes/health/reactors.rs",
];

/// Folders of `projections` that are no context.
const MECHANISM: [&str; 4] = ["read_model", "rebuild", "runner", "history"];

#[test]
fn the_api_asks_the_database_for_its_health_and_deliveries_only() {
    let (mut found, mut searched) = (BTreeSet::new(), 0);
    for source in sources()
        .into_iter()
        .filter(|source| source.path.starts_with("api/src/"))
    {
        searched += 1;
        if code(&source.text).contains(".database") {
            found.insert(source.path);
        }
    }
    assert!(searched > 100, "only {searched} files were searched");
    assert_eq!(found, BTreeSet::from(DATABASE.map(str::to_owned)));
}

#[test]
fn queries_of_contexts_name_the_read_models_that_they_read() {
    let (mut found, mut naming) = (BTreeSet::new(), 0);
    for source in sources() {
        let context = source
            .path
            .strip_prefix("projections/src/")
            .and_then(|path| path.split_once('/'));
        let Some((context, _)) = context else { continue };
        if MECHANISM.contains(&context) {
            continue;
        }
        let code = code(&source.text);
        naming += code.matches(".serving(&[").count();
        for function in code.split("async fn ").skip(1) {
            let (name, rest) = function.split_once('(').expect("parameters");
            let end = rest.split_once(") ->").or_else(|| rest.split_once(") {"));
            let (parameters, _) = end.expect("a result or a body");
            if parameters.contains("&PgPool") {
                found.insert((source.path.clone(), name.to_owned()));
            }
        }
    }
    assert!(naming > 15, "only {naming} queries name what they read");
    let allowed: BTreeSet<_> = OWN_WORK
        .map(|(path, name)| (path.to_owned(), name.to_owned()))
        .into();
    assert_eq!(found, allowed);
}
