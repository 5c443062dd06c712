//! Who may do what, as a table to be read by people: `schema/permissions.txt` (AC-7).
//!
//! One rule: the second table is asked of the access decision itself, never computed beside it.

use std::{fmt::Write as _, sync::Arc};

use domain::{
    access::{builtin, quota::Quotas, role::RoleDefinition},
    authz::{
        self, AccountState, Action, Circumstances, Concealment, Party, PartyRole, Principal, Resource, Share,
        UserPrincipal, Visibility,
    },
    id::UserId,
};
use time::OffsetDateTime;
use uuid::Uuid;

const INTRODUCTION: &str = "\
Permissions
Generated from the source; `cargo xtask bless` writes it.

";

const MATRIX: &str = "\
1. What each built-in role holds (x), and which roles its holders may grant
";

const RULES: &str = "
2. What one's part in a thing adds to the permission
   For an active account. Left: a role holds the permission; right: none does.
   founder: created the thing. owner, editor, member, viewer: one's part in it, by oneself, as member of a project or of
   an organization. public: no part in it, but it is public. stranger: none at all. nobody's: things without founders, and
   making new ones. The permission is about the thing itself; an owner of a project may also delete the experiments in it.
   yes: allowed. no: refused. hidden: refused as if there were no such thing.
   system.admin allows everything. Unverified accounts may only change their own profile and sessions;
   deactivated ones and callers who are not signed in may do nothing.
";

const USER: UserId = UserId(Uuid::from_u128(1));
const OTHER: UserId = UserId(Uuid::from_u128(2));

/// Both tables.
pub(super) fn table() -> String {
    let mut out = String::from(INTRODUCTION);
    matrix(&mut out, &builtin::roles());
    rules(&mut out);
    out
}

fn line(out: &mut String, head: &str, cells: &[String], widths: &[usize]) {
    let cells = cells
        .iter()
        .zip(widths)
        .fold(String::new(), |mut row, (cell, width)| {
            let _ = write!(row, "  {cell:<width$}");
            row
        });
    let row = format!("{head:<28}{cells}");
    let _ = writeln!(out, "{}", row.trim_end());
}

fn matrix(out: &mut String, roles: &[RoleDefinition]) {
    out.push_str(MATRIX);
    out.push('\n');
    let names: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
    let widths: Vec<usize> = names.iter().map(String::len).collect();
    let mark = |held: bool| if held { "x" } else { "." }.to_owned();
    line(out, "", &names, &widths);
    for action in Action::ALL {
        let held: Vec<String> = roles
            .iter()
            .map(|role| mark(role.permissions.contains(action.name())))
            .collect();
        line(out, action.name(), &held, &widths);
    }
    out.push('\n');
    for name in &names {
        let may: Vec<String> = roles
            .iter()
            .map(|role| mark(role.may_grant.contains(name)))
            .collect();
        line(out, &format!("may grant {name}"), &may, &widths);
    }
}

fn rules(out: &mut String) {
    out.push_str(RULES);
    out.push('\n');
    let titles: Vec<String> = PARTS
        .iter()
        .chain(&PARTS)
        .enumerate()
        .map(|(index, title)| column(index, title))
        .collect();
    let widths: Vec<usize> = titles.iter().map(|title| title.len().max(6)).collect();
    line(out, "", &titles, &widths);
    for action in Action::ALL {
        let answers = [true, false].into_iter().flat_map(|held| {
            PARTS
                .iter()
                .map(move |part| (held, resource(action.resource(), part)))
        });
        let answers: Vec<String> = answers
            .enumerate()
            .map(|(index, (held, part))| column(index, answer(*action, held, &part)))
            .collect();
        line(out, action.name(), &answers, &widths);
    }
}

/// One's parts in a thing.
const PARTS: [&str; 8] = [
    "founder", "owner", "editor", "member", "viewer", "public", "stranger", "nobody's",
];

/// A thing of `kind` that the user has `part` in.
fn resource(kind: &'static str, part: &str) -> Resource {
    let of = |founder| Resource::of(kind, "thing", Some(founder));
    let shared = |role| {
        of(OTHER).shared_with([Share {
            party: Party::User(USER),
            role,
            until: None,
            by: OTHER,
        }])
    };
    match part {
        "founder" => of(USER),
        "owner" => shared(PartyRole::Owner),
        "editor" => shared(PartyRole::Editor),
        "member" => shared(PartyRole::Member),
        "viewer" => shared(PartyRole::Viewer),
        "public" => of(OTHER).seen_by(Visibility::Public),
        "stranger" => of(OTHER),
        _ => Resource::kind(kind),
    }
}

/// The right half of the table begins with a bar.
fn column(index: usize, text: &str) -> String {
    if index == PARTS.len() {
        format!("| {text}")
    } else {
        text.to_owned()
    }
}

fn answer(action: Action, held: bool, part: &Resource) -> &'static str {
    let principal = Principal::User(Box::new(UserPrincipal {
        user: USER,
        session: None,
        organization: None,
        account: AccountState::Active,
        roles: Arc::new(["role".to_owned()].into()),
        permissions: Arc::new(held.then_some(action).into_iter().collect()),
        may_grant: Arc::default(),
        quotas: Quotas::NOTHING,
    }));
    match authz::decide(
        &principal,
        action,
        part,
        &Circumstances::at(OffsetDateTime::UNIX_EPOCH),
    )
    .map_err(|denied| denied.concealment)
    {
        Ok(_) => "yes",
        Err(Concealment::NotFound) => "hidden",
        Err(Concealment::Forbidden | Concealment::Unauthenticated) => "no",
    }
}
