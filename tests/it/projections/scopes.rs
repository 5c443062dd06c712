//! AC-3: what the queries let through is what the access decision allows, for every read model and random states.
//!
//! One rule: nothing here knows a read model by name. Each is taken from the list, with the scope that it declares; so one
//! that is new cannot escape.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    access::quota::Quotas,
    authz::{
        AccountState, Action, Circumstances, Membership, Party, PartyRole, Principal, Resource, Share,
        UserPrincipal, Visibility, decide,
    },
    event_store::BoxFuture,
    id::{OrganizationId, ProjectId, UserId},
};
use projections::{
    Visitor,
    history::AsOf,
    paging::PageRequest,
    read_model::{self, Access, ReadModel, RowFilter, Scope, Viewer},
};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use tests::harness::row_json::row_json;
use time::{Duration, OffsetDateTime, macros::datetime};
use uuid::Uuid;

use super::{fixture::Fixture, histories::fold_one_of_each};

const NOW: OffsetDateTime = datetime!(2026-11-30 12:00 UTC);
/// Random populations, each with fresh founders, parties and roles.
const POPULATIONS: u64 = 60;
/// Users, organisations, and rows of each read model.
const USERS: u128 = 5;
const ORGANIZATIONS: u128 = 2;
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
            let key = key_of(&row_json(row)[M::KEY]);
            assert!(keys.insert(key.clone()), "{} is there twice: {key}", M::TABLE);
            after = Some(key);
        }
        if !page.has_next {
            let counted = read_model::count::<M>(pool, viewer, as_of, &all).await;
            if matches!(M::SCOPE, Scope::Shared { .. }) && !viewer.sees_everything() {
                assert_eq!(told_apart::<M>(pool, viewer, as_of).await, keys, "{}", M::TABLE);
            }
            return (keys, counted.expect("readable"));
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
            let key = key_of(&row_json(row)[M::KEY]);
            assert!(keys.insert(key), "{} by {access:?}", M::TABLE);
        }
    }
    keys
}

fn key_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(0xa000 + number))
}

fn organization(number: u128) -> OrganizationId {
    OrganizationId(Uuid::from_u128(0xb000 + number))
}

/// Row `number` of the read model at `index` of the list.
fn thing(index: usize, number: u128) -> Uuid {
    Uuid::from_u128((0xc000 + u128::try_from(index).expect("small")) * 0x1_0000 + number)
}

/// Random numbers that are the same in every run: splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u128) -> u128 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(mixed ^ (mixed >> 31)) % limit
    }
}

/// A random population: who is who, and who has which part in what.
struct Population {
    random: Random,
    viewers: Vec<UserPrincipal>,
    /// By read model and row: its founder or owner, its visibility, and the thing that it is in.
    rows: BTreeMap<(usize, u128), (UserId, Visibility, u128)>,
    shares: BTreeMap<Uuid, Vec<Share>>,
    /// The place of projects in the list.
    projects: usize,
}

impl Population {
    fn one_in(&mut self, of: u128) -> bool {
        self.random.below(of) == 0
    }

    fn any_user(&mut self) -> UserId {
        user(self.random.below(USERS))
    }

    fn any_party(&mut self) -> Party {
        match self.random.below(4) {
            0 => Party::Organization(organization(self.random.below(ORGANIZATIONS))),
            1 => {
                let number = self.random.below(ROWS);
                Party::Project(ProjectId(thing(self.projects, number)))
            }
            _ => Party::User(self.any_user()),
        }
    }

    fn random(seed: u64, list: &[Listed]) -> Self {
        let projects = list.iter().position(|one| one.table == "projects_project");
        let mut population = Self {
            viewers: Vec::new(),
            rows: BTreeMap::new(),
            shares: BTreeMap::new(),
            projects: projects.expect("there are projects"),
            random: Random(seed),
        };
        population.viewers = (0..USERS)
            .map(|number| population.any_viewer(user(number)))
            .collect();
        for (index, one) in list.iter().enumerate() {
            for number in 0..ROWS {
                let visibility = match population.one_in(4) {
                    true => Visibility::Public,
                    false => Visibility::Private,
                };
                let own_account = matches!(one.scope, Scope::OwnOr { owner, .. } if owner == one.key);
                let owner = population.any_user();
                let owner = if own_account { user(number) } else { owner };
                let row = (owner, visibility, population.random.below(ROWS));
                population.rows.insert((index, number), row);
                if matches!(one.scope, Scope::Shared { .. }) {
                    let shares = population.any_shares();
                    population.shares.insert(thing(index, number), shares);
                }
            }
        }
        population
    }

    fn any_shares(&mut self) -> Vec<Share> {
        let mut shares: BTreeMap<Party, Share> = BTreeMap::new();
        for _ in 0..self.random.below(5) {
            let share = Share {
                party: self.any_party(),
                role: [
                    PartyRole::Viewer,
                    PartyRole::Member,
                    PartyRole::Editor,
                    PartyRole::Owner,
                ][usize::try_from(self.random.below(4)).expect("small")],
                until: [
                    None,
                    Some(NOW),
                    Some(NOW - Duration::HOUR),
                    Some(NOW + Duration::SECOND),
                ][usize::try_from(self.random.below(4)).expect("small")],
                by: self.any_user(),
            };
            shares.insert(share.party, share);
        }
        shares.into_values().collect()
    }

    fn any_viewer(&mut self, user: UserId) -> UserPrincipal {
        let administrator = self.one_in(10);
        let reading = [
            Action::UsersRead,
            Action::RolesRead,
            Action::QuotasManage,
            Action::TrainingRead,
        ];
        let mut permissions: BTreeSet<Action> = reading.into_iter().filter(|_| self.one_in(2)).collect();
        permissions.extend(administrator.then_some(Action::SystemAdmin));
        let organization = (!self.one_in(3)).then(|| organization(self.random.below(ORGANIZATIONS)));
        UserPrincipal {
            user,
            session: None,
            organization,
            account: AccountState::Active,
            roles: BTreeSet::new(),
            permissions,
            may_grant: BTreeSet::new(),
            quotas: Quotas::NOTHING,
        }
    }

    /// What the access decision is told of a shared row.
    fn shared(&self, list: &[Listed], index: usize, number: u128) -> (Action, Resource) {
        let Scope::Shared { visibility, read, .. } = list[index].scope else {
            panic!("{} is not shared", list[index].table);
        };
        let (founder, seen_by, _) = self.rows[&(index, number)];
        let members = (0..ROWS).map(|number| {
            let project = thing(self.projects, number);
            let members = Membership {
                founder: Some(self.rows[&(self.projects, number)].0),
                shares: self.shares[&project].clone(),
            };
            (ProjectId(project), members)
        });
        let id = thing(index, number);
        let resource = Resource::of(read.resource(), id, Some(founder))
            .shared_with(self.shares[&id].iter().copied())
            .seen_by(if visibility.is_some() {
                seen_by
            } else {
                Visibility::Private
            });
        let resource = Resource {
            memberships: members.collect(),
            ..resource
        };
        (read, resource)
    }

    /// Whether the access decision lets `viewer` read the row.
    fn allowed(&self, list: &[Listed], index: usize, number: u128, viewer: &UserPrincipal) -> bool {
        let principal = Principal::User(Box::new(viewer.clone()));
        let may = |action: Action, resource: &Resource| {
            decide(&principal, action, resource, &Circumstances::at(NOW)).is_ok()
        };
        let (owner, _, parent) = self.rows[&(index, number)];
        match list[index].scope {
            Scope::Shared { .. } => {
                let (read, resource) = self.shared(list, index, number);
                may(read, &resource)
            }
            Scope::Own { read, .. } => may(read, &Resource::of(read.resource(), "thing", Some(owner))),
            Scope::OwnOr { permission, .. } => {
                let own = Resource::of("users", "thing", Some(owner));
                may(Action::UsersRead, &own) || may(permission, &Resource::kind(permission.resource()))
            }
            Scope::Within { parent: things, .. } => {
                let place = list.iter().position(|one| one.table == things.table);
                let (read, resource) = self.shared(list, place.expect("it is in the list"), parent);
                may(read, &resource)
            }
            Scope::Permission(action) => may(action, &Resource::kind(action.resource())),
            Scope::Internal(_) => false,
        }
    }

    /// What differs from the template in a row.
    fn row(&self, list: &[Listed], index: usize, number: u128) -> (String, Map<String, Value>) {
        let (one, (owner, visibility, parent)) = (&list[index], self.rows[&(index, number)]);
        let own_account = matches!(one.scope, Scope::OwnOr { owner, .. } if owner == one.key);
        let id = match (one.text_key, own_account) {
            (_, true) => json!(user(number)),
            (true, _) => json!(format!("{number}")),
            (false, _) if one.table == "audit_entry" => {
                json!(1_000_000 + u64::try_from(number).expect("small"))
            }
            (false, _) => json!(thing(index, number)),
        };
        let mut row = Map::from_iter([(one.key.to_owned(), id.clone())]);
        match one.scope {
            Scope::Shared {
                founder,
                visibility: column,
                ..
            } => {
                row.insert(founder.to_owned(), json!(owner));
                row.extend(column.map(|column| (column.to_owned(), json!(visibility))));
            }
            Scope::Own { owner: column, .. } => drop(row.insert(column.to_owned(), json!(owner))),
            Scope::OwnOr { owner: column, .. } if !own_account => {
                row.insert(column.to_owned(), json!(owner));
            }
            Scope::Within {
                column,
                parent: things,
            } => {
                let place = list.iter().position(|one| one.table == things.table);
                row.insert(column.to_owned(), json!(thing(place.expect("listed"), parent)));
            }
            Scope::OwnOr { .. } | Scope::Permission(_) | Scope::Internal(_) => {}
        }
        (key_of(&id), row)
    }
}

/// Puts copies of `template` into `table`, with what differs.
async fn put(pool: &PgPool, table: &str, template: &Value, rows: &[Map<String, Value>]) {
    for statement in [
        format!("delete from {table}"),
        format!(
            "insert into {table} select r.* from jsonb_array_elements($1::jsonb) e(v), \
             lateral jsonb_populate_record(null::{table}, e.v) r"
        ),
    ] {
        let query = sqlx::query(AssertSqlSafe(statement.clone()));
        let rows: Vec<Value> = rows.iter().map(|row| merged(template, row)).collect();
        let query = if statement.starts_with("insert") {
            query.bind(json!(rows).to_string())
        } else {
            query
        };
        query
            .execute(pool)
            .await
            .unwrap_or_else(|error| panic!("{table}: {error}"));
    }
}

fn merged(template: &Value, over: &Map<String, Value>) -> Value {
    let mut row = template.clone();
    for (name, value) in over {
        row[name] = value.clone();
    }
    row
}

async fn template(pool: &PgPool, table: &str) -> Value {
    let statement = format!("select to_jsonb(t)::text from {table} t limit 1");
    let row = sqlx::query(AssertSqlSafe(statement))
        .fetch_optional(pool)
        .await
        .expect("readable");
    let row = row.unwrap_or_else(|| panic!("no event of the samples makes a row of {table}"));
    serde_json::from_str(row.get(0)).expect("JSON")
}

/// The parties of all things, and as many rows of revoked and repeated ones, which count for nothing.
fn parties(population: &mut Population) -> Vec<Map<String, Value>> {
    let mut rows = Vec::new();
    let shares = population.shares.clone();
    for (resource, share) in shares
        .iter()
        .flat_map(|(id, shares)| shares.iter().map(move |share| (id, share)))
    {
        rows.push(party(*resource, share, false));
    }
    for resource in shares.keys() {
        let party_of = population.any_party();
        if shares[resource].iter().all(|share| share.party != party_of) {
            let share = Share {
                party: party_of,
                role: PartyRole::Owner,
                until: None,
                by: user(0),
            };
            rows.push(party(*resource, &share, true));
        }
    }
    rows
}

fn party(resource: Uuid, share: &Share, revoked: bool) -> Map<String, Value> {
    let row =
        json!({ "entry": format!("{resource}/{}", share.party), "resource": resource, "revoked": revoked });
    let columns = json!(share);
    let columns = columns.as_object().into_iter().chain(row.as_object()).flatten();
    columns
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
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
