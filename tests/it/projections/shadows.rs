//! Shadows while they are filled: what stays in memory, what of rows that come twice, and that nobody else touches them.

use std::collections::BTreeSet;

use domain::{
    aggregate::DecodeError,
    event_store::{EventStore as _, Filter, Position, RecordedEvent},
    id::{Ids, SystemIds},
};
use projections::{
    audit::entry::{Entries, EntryRow},
    projects::project::Projects,
    read_model::{Projector as _, ReadModel, Rows, Scope, Table, Target},
    rebuild::{Limits, RebuildOptions},
};

use super::fixture::{Fixture, Projectors, project};

const SWAP: RebuildOptions = RebuildOptions {
    compare: false,
    swap: true,
    discard: false,
};

/// Audit entries, of which every second event puts the one before again.
#[derive(Default)]
struct Again;

impl ReadModel for Again {
    type Row = EntryRow;
    const NAME: &'static str = Entries::NAME;
    const VERSION: i32 = Entries::VERSION;
    const TABLE: &'static str = Entries::TABLE;
    const KEY: &'static str = Entries::KEY;
    const KEY_TYPE: &'static str = Entries::KEY_TYPE;
    const APPEND_ONLY: bool = true;
    const SCOPE: Scope = Scope::Internal("a read model of this test");
    const CATEGORIES: &'static [&'static str] = &[];

    fn keys(_: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(Vec::new())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<EntryRow>) -> Result<(), DecodeError> {
        let mut entries = Rows::default();
        Entries::fold(event, &mut entries)?;
        if let Some(row) = entries.get(&event.position.0.to_string()) {
            let mut row = row.clone();
            row.position = row.position.div_euclid(2);
            rows.put(row.position, row);
        }
        Ok(())
    }
}

const AGAIN: Projectors = || vec![Box::new(Table::<Again>::default())];

/// Rows of a table that is only added to, put again in the same batch, in a later one, and in a table with its key.
#[tokio::test]
async fn of_rows_that_are_put_again_the_last_stays() {
    let fixture = Fixture::new().await;
    // The events of the numbers of 1 to 99 share rows by two, and 100 is alone.
    fixture.projects(100).await;
    let keep = RebuildOptions { swap: false, ..SWAP };
    fixture.rebuild(AGAIN, keep, Limits { page: 3, memory: 0 }).await;
    let rows = fixture.rows_put_last("audit_entry__shadow").await;
    assert_eq!(rows, (51, 51), "rows, and those of the last event of each");
    // The table has its key now: 101 puts the row of 100 again, the others come twice in a page.
    fixture.projects(6).await;
    assert!(fixture.rebuild(AGAIN, SWAP, Limits::default()).await[0].swapped);
    assert_eq!(fixture.rows_put_last("audit_entry").await, (54, 54));
}

/// Autovacuum would hold locks that a swap needs: it is off for the shadow, and what it was in the table that takes its place.
#[tokio::test]
async fn autovacuum_waits_until_a_shadow_is_in_its_place() {
    let fixture = Fixture::new().await;
    fixture.projects(5).await;
    let projects: Projectors = || vec![Box::new(Table::<Projects>::default())];
    let owner = sqlx::PgPool::connect(&fixture.database.url)
        .await
        .expect("as the owner");
    let setting = async |table: &str| -> Option<String> {
        sqlx::query_scalar(
            "select o from pg_class, unnest(reloptions) o where relname = $1 and o like 'autovacuum_enabled=%'",
        )
        .bind(table)
        .fetch_optional(&owner)
        .await
        .expect("described")
    };
    let keep = RebuildOptions { swap: false, ..SWAP };
    fixture.rebuild(projects, keep, Limits::default()).await;
    let off = Some("autovacuum_enabled=off".to_owned());
    assert_eq!(setting("projects_project__shadow").await, off);
    assert_eq!(setting("projects_project_history__shadow").await, off);
    assert!(fixture.rebuild(projects, SWAP, Limits::default()).await[0].swapped);
    assert_eq!(setting("projects_project").await, None);
    assert_eq!(setting("projects_project_history").await, None);
    // An operator's own setting is kept.
    sqlx::query("alter table projects_project set (autovacuum_enabled = false)")
        .execute(&owner)
        .await
        .expect("set");
    assert!(fixture.rebuild(projects, SWAP, Limits::default()).await[0].swapped);
    let own = Some("autovacuum_enabled=false".to_owned());
    assert_eq!(setting("projects_project").await, own);
}

/// When memory is full those rows leave that no event touched of late; they are asked for when one does.
#[tokio::test]
async fn rows_that_events_touch_stay_in_memory() {
    let fixture = Fixture::new().await;
    let ids: Vec<uuid::Uuid> = (0..10).map(|_| SystemIds.next()).collect();
    let made = ids.iter().map(|id| project(*id, "P")).collect();
    fixture.record(made).await;
    let page = fixture.store.read_all(Position::START, &Filter::all(), 100).await;
    let mut events = page.expect("the log").events;
    assert_eq!(events.len(), 10);
    let mut builder = Table::<Projects>::default().builder(Target::Shadow, true);
    for event in &events {
        builder.fold(event).expect("folded");
    }
    let full = builder.size();
    builder.take(false, false).expect("written");
    // As if they had changed once more.
    events.iter_mut().for_each(|event| event.revision = 1);
    let missing = |builder: &dyn projections::read_model::Builder| -> BTreeSet<String> {
        let each = events
            .iter()
            .map(|event| builder.missing(event).expect("its keys"));
        each.flatten().collect()
    };
    assert_eq!(missing(&*builder), BTreeSet::new(), "all were touched since");
    builder.fold(&events[3]).expect("folded");
    builder.take(false, false).expect("written");
    let left = missing(&*builder);
    assert_eq!(left.len(), 9);
    assert!(!left.contains(&ids[3].to_string()), "it stays");
    assert!(
        builder.size() < full / 5,
        "{} of {full} bytes are kept for one of ten",
        builder.size()
    );
}
