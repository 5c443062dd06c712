//! AC-3: what the queries let through is what the access decision allows, for every read model and random states.
//!
//! One rule: nothing here knows a read model by name. Each is taken from the list, with the scope that it declares; so one
//! that is new cannot escape.

mod population;

use std::collections::{BTreeSet, HashMap};

use domain::event_store::BoxFuture;
use projections::{
    Visitor,
    history::AsOf,
    paging::{Column, Page, PageRequest},
    read_model::{self, Access, ReadModel, RowFilter, Scope, Viewer, row_json},
};
use sqlx::PgPool;
use time::{OffsetDateTime, macros::datetime};
use uuid::Uuid;

use self::population::{Population, key_of, parties, put, template};
use super::{fixture::Fixture, histories::fold_one_of_each};

const NOW: OffsetDateTime = datetime!(2026-11-30 12:00 UTC);
/// Random populations, each with fresh founders, parties and roles.
const POPULATIONS: u64 = 60;
/// Rows of each read model.
const ROWS: u128 = 5;

type Keys = BTreeSet<String>;
type Ask = for<'a> fn(&'a PgPool, &'a Viewer, AsOf) -> BoxFuture<'a, (Keys, i64)>;
type Find = for<'a> fn(&'a PgPool, &'a Viewer, AsOf, String) -> BoxFuture<'a, bool>;

/// A read model, as this test sees it.
struct Listed {
    table: &'static str,
    key: &'static str,
    text_key: bool,
    scope: Scope,
    page: Ask,
    find: Find,
}

#[derive(Default)]
struct List(Vec<Listed>);

impl Visitor for List {
    fn visit<M: ReadModel>(&mut self) {
        self.0.push(Listed {
            table: M::TABLE,
            key: M::KEY,
            text_key: M::KEY_TYPE == "text",
            scope: M::SCOPE,
            page: |pool, viewer, as_of| Box::pin(page::<M>(pool, viewer, as_of)),
            find: |pool, viewer, as_of, key| {
                Box::pin(async move {
                    let found = read_model::find::<M>(pool, viewer, as_of, key).await;
                    found.expect("readable").is_some()
                })
            },
        });
    }
}

/// The keys of all rows that `viewer` sees, page by page, and how many there are said to be.
async fn page<M: ReadModel>(pool: &PgPool, viewer: &Viewer, as_of: AsOf) -> (Keys, i64) {
    let (mut keys, mut after, all) = (Keys::new(), None, RowFilter::all());
    loop {
        let request = PageRequest::newest(2, after.take());
        let page = read_model::page::<M>(pool, viewer, as_of, &all, &request).await;
        let page = page.expect("readable");
        for row in &page.rows {
            let key = key_of(&row_json(row).expect("encoded")[M::KEY]);
            assert!(keys.insert(key.clone()), "{} is there twice: {key}", M::TABLE);
            after = Some(key);
        }
        if !page.has_next {
            let counted = read_model::count::<M>(pool, viewer, as_of, &all).await;
            if matches!(M::SCOPE, Scope::Shared { .. }) && !viewer.sees_everything() {
                assert_eq!(told_apart::<M>(pool, viewer, as_of).await, keys, "{}", M::TABLE);
            }
            by_things::<M>(pool, viewer, as_of).await;
            return (keys, counted.expect("readable"));
        }
    }
}

/// GQ-7: a page of what is in each thing, read for all things at once, is the page of each alone, in every place of the
/// list; and so is the count.
async fn by_things<M: ReadModel>(pool: &PgPool, viewer: &Viewer, as_of: AsOf) {
    let (Scope::Within { column, .. } | Scope::Own { owner: column, .. }) = M::SCOPE else {
        return;
    };
    let column = Column::new(column, "uuid");
    let request = PageRequest::newest(100, None);
    let all = read_model::page::<M>(pool, &Viewer::everything(NOW), as_of, &RowFilter::all(), &request).await;
    let encoded = all.expect("readable").rows;
    let encoded: Vec<_> = encoded
        .iter()
        .map(|row| row_json(row).expect("encoded"))
        .collect();
    let things = encoded
        .iter()
        .map(|row| key_of(&row[column.name]).parse().expect("an id"));
    let things: BTreeSet<Uuid> = things.chain([Uuid::nil()]).collect();
    let things: Vec<Uuid> = things.into_iter().collect();
    let last = encoded
        .iter()
        .map(|row| key_of(&row[M::KEY]))
        .nth(encoded.len() / 2);
    for after in [None, last] {
        let request = PageRequest::newest(2, after);
        let of = (column, things.as_slice());
        let all = RowFilter::all();
        let pages = read_model::pages::<M>(pool, viewer, as_of, of, &all, &request).await;
        let pages: HashMap<Uuid, _> = pages.expect("readable").into_iter().collect();
        let counts = read_model::counts::<M>(pool, viewer, as_of, of, &all).await;
        let counts: HashMap<Uuid, i64> = counts.expect("readable").into_iter().collect();
        for thing in &things {
            let only = RowFilter::all().is(column, thing);
            let alone = read_model::page::<M>(pool, viewer, as_of, &only, &request).await;
            let alone = alone.expect("readable");
            let rows = |page: &Page<M::Row>| -> Vec<String> {
                let rows = page.rows.iter().map(|row| row_json(row).expect("encoded"));
                rows.map(|row| key_of(&row[M::KEY])).collect()
            };
            let page = pages.get(thing).map(|page| (rows(page), page.has_next));
            let expected = (rows(&alone), alone.has_next);
            assert_eq!(page.unwrap_or_default(), expected, "{} in {thing}", M::TABLE);
            let counted = read_model::count::<M>(pool, viewer, as_of, &only).await;
            let found = counts.get(thing).copied().unwrap_or_default();
            assert_eq!(found, counted.expect("readable"), "{} in {thing}", M::TABLE);
        }
    }
}

/// PR-5: the keys of the rows that `viewer` owns, has a part in, or sees because they are public: each for one reason.
async fn told_apart<M: ReadModel>(pool: &PgPool, viewer: &Viewer, as_of: AsOf) -> Keys {
    let mut keys = Keys::new();
    for access in [Access::Owner, Access::Shared, Access::Public] {
        let filter = RowFilter::all().seen_by(access);
        let page = read_model::page::<M>(pool, viewer, as_of, &filter, &PageRequest::newest(100, None)).await;
        let page = page.expect("readable");
        let counted = read_model::count::<M>(pool, viewer, as_of, &filter).await;
        let counted = usize::try_from(counted.expect("readable"));
        assert_eq!(counted, Ok(page.rows.len()), "{} by {access:?}", M::TABLE);
        for row in &page.rows {
            let key = key_of(&row_json(row).expect("encoded")[M::KEY]);
            assert!(keys.insert(key), "{} by {access:?}", M::TABLE);
        }
    }
    keys
}

/// AC-3, PR-5: at least 5,000 random states of rows, each seen by everybody, in three ways.
#[tokio::test(flavor = "multi_thread")]
async fn what_queries_let_through_is_what_the_decision_allows() {
    let fixture = Fixture::new().await;
    fold_one_of_each(&fixture).await;
    let mut list = List::default();
    projections::visit(&mut list);
    let list = list.0;
    assert_eq!(list.len(), projections::all().len());
    let mut templates = Vec::new();
    for one in &list {
        templates.push(template(&fixture.pool, one.table).await);
    }
    let (mut states, mut seen, mut hidden) = (0, 0, 0);
    for number in 0..POPULATIONS {
        let mut population = Population::random(number, &list);
        let mut keys = Vec::new();
        for (index, one) in list.iter().enumerate() {
            let rows: Vec<_> = (0..ROWS)
                .map(|number| population.row(&list, index, number))
                .collect();
            keys.push(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
            let rows: Vec<_> = match one.table {
                "sharing_party" => parties(&mut population),
                _ => rows.into_iter().map(|(_, row)| row).collect(),
            };
            put(&fixture.pool, one.table, &templates[index], &rows).await;
        }
        for (index, one) in list.iter().enumerate() {
            states += ROWS;
            for viewer in &population.viewers {
                let expected: Keys = (0..ROWS)
                    .filter(|row| population.allowed(&list, index, *row, viewer))
                    .map(|row| keys[index][usize::try_from(row).expect("small")].clone())
                    .collect();
                let scope = Viewer::of(viewer, NOW);
                let (found, counted) = (one.page)(&fixture.pool, &scope, AsOf::Now).await;
                assert_eq!(
                    found, expected,
                    "population {number}: {} for {viewer:?}",
                    one.table
                );
                assert_eq!(usize::try_from(counted), Ok(found.len()), "{}", one.table);
                let row = &keys[index][0];
                let one_found = (one.find)(&fixture.pool, &scope, AsOf::Now, row.clone()).await;
                assert_eq!(
                    one_found,
                    expected.contains(row),
                    "population {number}: {} {row}",
                    one.table
                );
                seen += found.len();
                hidden += keys[index].len() - found.len();
            }
        }
    }
    assert!(states >= 5_000, "{states} states");
    assert!(
        seen > 1_000 && hidden > 1_000,
        "{seen} rows were seen and {hidden} were not"
    );
}
