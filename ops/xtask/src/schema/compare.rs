//! What a change of the schema does to those who use the released one (GQ-8).
//!
//! One rule: what may go has carried `@deprecated` in the last two releases; everything else that clients relied on
//! stays. What only some clients trip over, as a new value of an enum, is dangerous and said apart.

use async_graphql_parser::types::{BaseType, Type};

use super::model::{Kind, Member, Schema, TypeModel};

/// Impact since a release, worst first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Impact {
    /// They break clients.
    pub(super) breaking: Vec<String>,
    /// They may surprise clients.
    pub(super) dangerous: Vec<String>,
}

/// Compares `new` with the last release. `before` is the release before that, if there was one.
pub(super) fn compare(before: Option<&Schema>, released: &Schema, new: &Schema) -> Impact {
    let mut compare = Compare {
        before,
        changes: Impact::default(),
    };
    for (name, old) in &released.types {
        match new.types.get(name) {
            None => compare.breaking(format!("the type {name} is gone")),
            Some(new) if new.kind != old.kind => {
                compare.breaking(format!(
                    "the type {name} was a {:?} and is a {:?}",
                    old.kind, new.kind
                ));
            }
            Some(new) => compare.ty(name, old, new),
        }
    }
    compare.changes
}

struct Compare<'a> {
    before: Option<&'a Schema>,
    changes: Impact,
}

impl Compare<'_> {
    fn breaking(&mut self, change: String) {
        self.changes.breaking.push(change);
    }

    fn dangerous(&mut self, change: String) {
        self.changes.dangerous.push(change);
    }

    fn ty(&mut self, name: &str, old: &TypeModel, new: &TypeModel) {
        if old.specified_by != new.specified_by {
            self.dangerous(format!("the scalar {name} is specified elsewhere"));
        }
        for gone in old.related.iter().filter(|one| !new.related.contains(one)) {
            self.breaking(format!("{name} has lost {gone}"));
        }
        for come in new.related.iter().filter(|one| !old.related.contains(one)) {
            self.dangerous(format!("{name} has got {come}: clients may not know it"));
        }
        for (member, was) in &old.members {
            match new.members.get(member) {
                Some(is) => self.member(&format!("{name}.{member}"), old.kind, was, is),
                None => self.gone(name, member, was),
            }
        }
        for (member, is) in &new.members {
            if !old.members.contains_key(member) {
                self.come(name, member, old.kind, is);
            }
        }
    }

    /// A member that is no longer there.
    fn gone(&mut self, name: &str, member: &str, was: &Member) {
        let before = self
            .before
            .and_then(|before| before.types.get(name)?.members.get(member));
        let announced = before.is_some_and(|before| before.deprecated.is_some());
        if was.deprecated.is_none() || !announced {
            self.breaking(format!(
                "{name}.{member} is gone, and was not deprecated in the last two releases"
            ));
        }
    }

    /// A member that was not there.
    fn come(&mut self, name: &str, member: &str, kind: Kind, is: &Member) {
        match kind {
            Kind::Enum => self.dangerous(format!("{name}.{member} is a new value: clients may not know it")),
            Kind::Input if required(is) => self.breaking(format!("{name}.{member} is new and required")),
            Kind::Input => self.dangerous(format!("{name}.{member} is a new input")),
            Kind::Interface => self.dangerous(format!("{name}.{member} is new in an interface")),
            Kind::Scalar | Kind::Object | Kind::Union => {}
        }
    }

    fn member(&mut self, at: &str, kind: Kind, was: &Member, is: &Member) {
        if let (Some(old), Some(new)) = (&was.ty, &is.ty) {
            let fits = match kind {
                Kind::Input => accepts(new, old),
                _ => accepts(old, new),
            };
            if !fits {
                self.breaking(format!("{at} was of type {old} and is of type {new}"));
            }
        }
        if was.default != is.default {
            let said = |default: &Option<String>| default.clone().unwrap_or_else(|| "none".to_owned());
            self.dangerous(format!(
                "the default of {at} was {} and is {}",
                said(&was.default),
                said(&is.default)
            ));
        }
        self.arguments(at, was, is);
    }

    fn arguments(&mut self, at: &str, was: &Member, is: &Member) {
        for (argument, old) in &was.arguments {
            let at = format!("{at}({argument}:)");
            match is.arguments.get(argument) {
                Some(new) => self.member(&at, Kind::Input, old, new),
                None => self.breaking(format!("{at} is gone")),
            }
        }
        for (argument, new) in &is.arguments {
            let at = format!("{at}({argument}:)");
            match (was.arguments.contains_key(argument), required(new)) {
                (true, _) => {}
                (false, true) => self.breaking(format!("{at} is new and required")),
                (false, false) => self.dangerous(format!("{at} is a new argument")),
            }
        }
    }
}

/// Whether an input has to be given.
fn required(input: &Member) -> bool {
    input.default.is_none() && input.ty.as_ref().is_some_and(|ty| !ty.nullable)
}

/// Whether who takes values of `wanted` takes those of `given`: null may not come where it did not.
fn accepts(wanted: &Type, given: &Type) -> bool {
    let base = match (&wanted.base, &given.base) {
        (BaseType::Named(wanted), BaseType::Named(given)) => wanted == given,
        (BaseType::List(wanted), BaseType::List(given)) => accepts(wanted, given),
        _ => false,
    };
    base && (wanted.nullable || !given.nullable)
}
