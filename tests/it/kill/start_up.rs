//! What a start refuses: a database that could lose events, and a log that was cut.

use std::path::Path;

use anneal::postgres::{Cluster, Options};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    scenario::Scenario,
    server::{anneal, last_words},
};

/// Runs a statement on the embedded database while the system is down.
async fn at_rest(data: &Path, statement: &str) {
    let folder = data.to_owned();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&folder, &Options::default()))
        .await
        .expect("no panic")
        .expect("it starts");
    let mut connection = PgConnection::connect(&cluster.url("anneal"))
        .await
        .expect("a connection");
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(statement.to_owned())))
        .await
        .expect("done");
    connection.close().await.expect("closed");
    tokio::task::spawn_blocking(move || cluster.stop())
        .await
        .expect("no panic")
        .expect("it stops");
}

fn refusal(scenario: &Scenario) -> String {
    let status = scenario.start("").err().expect("it does not start");
    assert_eq!(status.code(), Some(1));
    last_words(&scenario.data)
}

/// `fsync = off` by the operator's own settings, and a log without its end: neither is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_refuses_what_could_lose_events_or_has() {
    let mut scenario = Scenario::new();
    let server = scenario.start_unarmed();
    scenario.round(&server.url, None).await.expect("it works");
    assert!(server.stop().success());

    let local = scenario.data.join("postgres/cluster/local.conf");
    std::fs::write(&local, "fsync = off\n").expect("written");
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&local, readable).expect("readable");
    let said = refusal(&scenario);
    assert!(
        said.contains("fsync = off") && said.contains("set it to on"),
        "{said}"
    );
    std::fs::remove_file(&local).expect("removed");

    let cut = "alter table event disable trigger event_is_append_only; \
               create table kept as select * from event where pos > (select pos - 2 from event_head); \
               delete from event where pos in (select pos from kept); \
               alter table event enable always trigger event_is_append_only";
    at_rest(&scenario.data, cut).await;
    let said = refusal(&scenario);
    assert!(said.contains("restore it whole from a backup"), "{said}");
    let verified = anneal(&["verify"], &scenario.data).output().expect("it runs");
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(3), "{said}");
    assert!(
        said.contains("FAULT") && said.contains("the head of the event log says"),
        "{said}"
    );

    at_rest(
        &scenario.data,
        "insert into event select * from kept; drop table kept",
    )
    .await;
    scenario.settle().await;
}
