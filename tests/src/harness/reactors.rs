//! What the reactors of a running system are at.

use std::time::{Duration, Instant};

use api::app::App;
use domain::{
    aggregate::Aggregate as _,
    notifications::delivery::{Deliveries, REDRIVEN},
};
use workers::reactors::runner::NOT_DUE;

/// How long everything that is open may take.
const SETTLED: Duration = Duration::from_secs(30);

/// Waits until the reactors have answered everything that is recorded by now, and nothing is to be tried again: what waits
/// for its time is left alone.
///
/// # Panics
/// When that takes longer than half a minute.
pub async fn reacted(app: &App) {
    let head = app.ports.store.head().await.expect("a head");
    let begun = Instant::now();
    loop {
        let open = open(app, head.0).await;
        if open.is_empty() {
            return;
        }
        assert!(begun.elapsed() < SETTLED, "{open:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What is open, in words: events up to `head` that are not answered, and effects that are to be tried again.
async fn open(app: &App, head: u64) -> Vec<String> {
    let mut open = Vec::new();
    for reactor in workers::reactors::all() {
        let (kinds, name) = (reactor.kinds(), reactor.name());
        let unanswered: i64 = sqlx::query_scalar(
            "select count(*) from event where (kind = any($1) or kind = $4 and stream = $5) and pos <= $2
             and pos > (select position from reactor_checkpoint where reactor = $3)",
        )
        .bind(kinds)
        .bind(i64::try_from(head).expect("a position"))
        .bind(name)
        .bind(REDRIVEN)
        .bind(Deliveries::stream(name).as_str())
        .fetch_one(&app.database)
        .await
        .expect("a count");
        let waiting: Vec<String> = sqlx::query_scalar(
            "select failure from reactor_delivery where reactor = $1 and dead_at is null and failure <> $2",
        )
        .bind(name)
        .bind(NOT_DUE)
        .fetch_all(&app.database)
        .await
        .expect("deliveries");
        if unanswered > 0 {
            open.push(format!("{name} has {unanswered} events to answer"));
        }
        open.extend(
            waiting
                .into_iter()
                .map(|failure| format!("{name} tries again: {failure}")),
        );
    }
    open
}
