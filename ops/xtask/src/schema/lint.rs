//! What every schema of ours keeps to (GQ-1, GQ-3, GQ-8).
//!
//! One rule: an exception stands here with its reason.

use async_graphql_parser::types::{BaseType, Type};

use super::model::{Kind, Member, Schema, TypeModel, named};

/// Ids beside which no object stands: `Type.field` and why.
const LONE_IDS: [(&str, &str); 5] = [
    ("AuditEntry.requestId", "requests are in the process's log only"),
    ("AuditEntry.sessionId", "sessions of others are not readable"),
    ("Erasure.keyId", "keys are not readable"),
    (
        "SessionPayload.sessionId",
        "the session's token is what the client asked for",
    ),
    ("User.organizationId", "organizations are not readable yet"),
];

/// Objects with an `id` that is none of `Node`: the type and why.
const NOT_NODES: [(&str, &str); 2] = [
    ("AuditEntry", "events are found by their position"),
    ("DeadLetter", "gone once it is redriven; found in its list only"),
];

/// Fields of one name and several types in `Node`, whose objects clients seldom select together.
const DIFFERENT_IN_NODE: [(&str, &str); 1] = [(
    "state",
    "an enum of its own in Job and Worker; select one by an alias",
)];

/// Connections without `filter` or `order`: `Type.field` and why.
const UNFILTERED: [(&str, &str); 1] = [(
    "Query.permissionHolders",
    "the permission is its filter; it gives no rows but who holds that, so there is no column to order by",
)];

/// What is wrong with a schema; nothing when it keeps to all rules.
pub(super) fn lint(schema: &Schema) -> Vec<String> {
    let mut lint = Lint {
        schema,
        found: Vec::new(),
    };
    for (name, ty) in &schema.types {
        lint.ty(name, ty);
    }
    lint.query();
    lint.mutations();
    lint.found
}

struct Lint<'a> {
    schema: &'a Schema,
    found: Vec<String>,
}

impl Lint<'_> {
    fn fault(&mut self, at: &str, what: &str) {
        self.found.push(format!("{at}: {what}"));
    }

    fn check(&mut self, holds: bool, at: &str, what: &str) {
        if !holds {
            self.fault(at, what);
        }
    }

    fn ty(&mut self, name: &str, ty: &TypeModel) {
        self.check(ty.described, name, "has no description");
        self.check(is_pascal(name), name, "a type's name is in PascalCase");
        if ty.kind == Kind::Scalar {
            self.check(ty.specified_by.is_some(), name, "a scalar needs @specifiedBy");
        }
        for (member, of) in &ty.members {
            self.member(&format!("{name}.{member}"), ty.kind, member, of);
        }
        match ty.kind {
            Kind::Object => self.object(name, ty),
            Kind::Interface | Kind::Union => self.conflicts(name),
            Kind::Scalar | Kind::Enum | Kind::Input => {}
        }
    }

    fn member(&mut self, at: &str, kind: Kind, name: &str, member: &Member) {
        self.check(member.described, at, "has no description");
        if let Some(reason) = &member.deprecated {
            let given = !reason.trim().is_empty() && reason != "No longer supported";
            self.check(
                given,
                at,
                "a deprecation needs its reason, and what to use instead",
            );
        }
        match kind {
            Kind::Enum => self.check(is_screaming(name), at, "an enum's value is in UPPER_CASE"),
            _ => self.check(
                is_camel(name),
                at,
                "a name is in camelCase, and does not begin with get",
            ),
        }
        self.check(is_id(name, member), at, "an id is of type ID");
        for (name, argument) in &member.arguments {
            self.member(&format!("{at}({name}:)"), Kind::Input, name, argument);
        }
        self.paged(at, member);
    }

    /// A field that gives a connection is paged, and may fail alone.
    fn paged(&mut self, at: &str, member: &Member) {
        let Some(ty) = member.ty.as_ref().filter(|ty| named(ty).ends_with("Connection")) else {
            return;
        };
        for (argument, of) in [("first", "Int"), ("after", "String")] {
            let given = member.arguments.get(argument).and_then(|one| one.ty.as_ref());
            let right = given.is_some_and(|ty| ty.to_string() == of);
            self.check(right, at, &format!("a connection takes {argument}: {of}"));
        }
        self.check(ty.nullable, at, "a connection may fail alone: it is nullable");
        for (argument, ending) in [("filter", "Filter"), ("order", "Order")] {
            let given = member.arguments.get(argument).and_then(|one| one.ty.as_ref());
            let right = given.is_some_and(|ty| named(ty).ends_with(ending));
            let excepted = UNFILTERED.iter().any(|(one, _)| *one == at);
            let what =
                format!("a connection takes {argument} of a type …{ending}, or is an exception in the lint");
            self.check(right != excepted, at, &what);
        }
    }

    fn object(&mut self, name: &str, ty: &TypeModel) {
        if name.ends_with("Connection") {
            self.connection(name, ty);
        }
        let is_node = ty.related.iter().any(|one| one == "Node");
        let excepted = NOT_NODES.iter().any(|(one, _)| *one == name);
        let has_id = ty.members.contains_key("id");
        self.check(
            has_id == (is_node || excepted),
            name,
            "what has an id implements Node",
        );
        for member in ty.members.keys() {
            let at = format!("{name}.{member}");
            let Some(object) = member.strip_suffix("Id").filter(|object| !object.is_empty()) else {
                continue;
            };
            let beside = ty.members.contains_key(object);
            let excepted = LONE_IDS.iter().any(|(one, _)| *one == at);
            self.check(
                beside != excepted,
                &at,
                &format!("{object} stands beside it, or an exception in the lint"),
            );
        }
    }

    /// GraphQL Cursor Connections Specification, with `nodes` and `totalCount`.
    fn connection(&mut self, name: &str, ty: &TypeModel) {
        let of = name.trim_end_matches("Connection");
        let wanted = [
            ("edges", format!("[{of}Edge!]!")),
            ("nodes", format!("[{of}!]!")),
            ("pageInfo", "PageInfo!".to_owned()),
            ("totalCount", "Int".to_owned()),
        ];
        for (field, wanted) in wanted {
            let right = type_of(ty, field).is_some_and(|ty| ty.to_string() == wanted);
            self.check(right, name, &format!("{field} is of type {wanted}"));
        }
        let edge = format!("{of}Edge");
        let Some(ty) = self.schema.types.get(&edge) else {
            return self.fault(name, "has no type of edges");
        };
        for (field, wanted) in [("cursor", "String!".to_owned()), ("node", format!("{of}!"))] {
            let right = type_of(ty, field).is_some_and(|ty| ty.to_string() == wanted);
            self.check(right, &edge, &format!("{field} is of type {wanted}"));
        }
    }

    /// Fields that two objects of an interface or union share are of one type: clients select them together
    /// (GraphQL 5.3.2, "Field Selection Merging").
    fn conflicts(&mut self, name: &str) {
        let mut known: std::collections::BTreeMap<&str, (&str, String)> = std::collections::BTreeMap::new();
        for object in self.schema.possible(name) {
            for (field, member) in self
                .schema
                .types
                .get(object)
                .into_iter()
                .flat_map(|ty| &ty.members)
            {
                let Some(ty) = &member.ty else { continue };
                let excepted = name == "Node" && DIFFERENT_IN_NODE.iter().any(|(one, _)| one == field);
                let ty = self.shape(ty);
                match known.get(field.as_str()) {
                    Some((other, as_there)) if *as_there != ty && !excepted => {
                        let what = format!("{object}.{field} is {ty}, {other}.{field} is {as_there}");
                        self.found.push(format!("{name}: {what}"));
                    }
                    Some(_) => {}
                    None => {
                        known.insert(field, (object, ty));
                    }
                }
            }
        }
    }

    /// What has to agree when responses are merged: lists, nulls and leaves. Objects are merged field by field.
    fn shape(&self, ty: &Type) -> String {
        let base = match &ty.base {
            BaseType::List(item) => format!("[{}]", self.shape(item)),
            BaseType::Named(name) => match self.schema.types.get(name.as_str()).map(|ty| ty.kind) {
                Some(Kind::Object | Kind::Interface | Kind::Union) => "an object".to_owned(),
                _ => name.to_string(),
            },
        };
        if ty.nullable { base } else { format!("{base}!") }
    }

    /// One failing field of a query leaves its siblings.
    fn query(&mut self) {
        let fields: Vec<_> = self.schema.root(self.schema.query.as_ref()).collect();
        for (name, member) in fields {
            let nullable = member.ty.as_ref().is_some_and(|ty| ty.nullable);
            self.check(
                nullable,
                &format!("Query.{name}"),
                "a field of the root is nullable",
            );
        }
    }

    fn mutations(&mut self) {
        let fields: Vec<_> = self.schema.root(self.schema.mutation.as_ref()).collect();
        for (name, member) in fields {
            let at = format!("Mutation.{name}");
            let arguments: Vec<_> = member.arguments.iter().collect();
            let input = match arguments.as_slice() {
                [(name, input)] if *name == "input" => input.ty.as_ref(),
                _ => None,
            };
            let right = input.is_some_and(|ty| !ty.nullable && named(ty).ends_with("Input"));
            self.check(right, &at, "takes one argument, `input`, of a type …Input!");
            let payload = member.ty.as_ref().map(named).unwrap_or_default();
            self.check(payload.ends_with("Payload"), &at, "gives a type …Payload");
            if let Some(ty) = self.schema.types.get(payload) {
                self.payload(payload, ty);
            }
        }
    }

    fn payload(&mut self, name: &str, ty: &TypeModel) {
        let wanted = [("position", "Long"), ("userErrors", "[UserError!]!")];
        for (field, wanted) in wanted {
            let right = type_of(ty, field).is_some_and(|ty| ty.to_string() == wanted);
            self.check(right, name, &format!("{field} is of type {wanted}"));
        }
        for (field, member) in &ty.members {
            let nullable = member.ty.as_ref().is_some_and(|ty| ty.nullable);
            let at = format!("{name}.{field}");
            self.check(
                nullable || field == "userErrors",
                &at,
                "is null when the input is wrong",
            );
        }
    }
}

fn type_of<'a>(ty: &'a TypeModel, field: &str) -> Option<&'a Type> {
    ty.members.get(field).and_then(|member| member.ty.as_ref())
}

/// Whether a field that is called an id is one.
fn is_id(name: &str, member: &Member) -> bool {
    let called = name == "id" || name.ends_with("Id");
    let ty = member.ty.as_ref().map(named);
    !called || matches!(ty, None | Some("ID" | "UUID"))
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase()) && !name.contains('_')
}

fn is_camel(name: &str) -> bool {
    let getter = name
        .strip_prefix("get")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.contains('_') && !getter
}

fn is_screaming(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
