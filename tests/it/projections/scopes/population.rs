//! Random populations: people, things, and who has which part in what.
//!
//! One rule: a number makes the same population in every run, and what the decision says of it is asked of `decide` alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{
    access::quota::Quotas,
    authz::{
        AccountState, Action, Circumstances, Membership, Party, PartyRole, Principal, Resource, Share,
        UserPrincipal, Visibility, decide,
    },
    id::{OrganizationId, ProjectId, UserId},
};
use projections::read_model::Scope;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use time::Duration;
use uuid::Uuid;

use super::{Listed, NOW, ROWS};

/// Users and organizations.
const USERS: u128 = 5;
const ORGANIZATIONS: u128 = 2;

pub(super) fn key_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(0xa000 + number))
}

fn organization(number: u128) -> OrganizationId {
    OrganizationId(Uuid::from_u128(0xb000 + number))
}

/// Row `number` of the read model at `index` of the list.
pub(super) fn thing(index: usize, number: u128) -> Uuid {
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
pub(super) struct Population {
    random: Random,
    pub(super) viewers: Vec<UserPrincipal>,
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

    pub(super) fn random(seed: u64, list: &[Listed]) -> Self {
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
            roles: Arc::default(),
            permissions: Arc::new(permissions),
            may_grant: Arc::default(),
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
    pub(super) fn allowed(
        &self,
        list: &[Listed],
        index: usize,
        number: u128,
        viewer: &UserPrincipal,
    ) -> bool {
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
    pub(super) fn row(&self, list: &[Listed], index: usize, number: u128) -> (String, Map<String, Value>) {
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
pub(super) async fn put(pool: &PgPool, table: &str, template: &Value, rows: &[Map<String, Value>]) {
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

pub(super) async fn template(pool: &PgPool, table: &str) -> Value {
    let statement = format!("select to_jsonb(t)::text from {table} t limit 1");
    let row = sqlx::query(AssertSqlSafe(statement))
        .fetch_optional(pool)
        .await
        .expect("readable");
    let row = row.unwrap_or_else(|| panic!("no event of the samples makes a row of {table}"));
    serde_json::from_str(row.get(0)).expect("JSON")
}

/// The parties of all things, and as many rows of revoked and repeated ones, which count for nothing.
pub(super) fn parties(population: &mut Population) -> Vec<Map<String, Value>> {
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
