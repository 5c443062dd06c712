//! Which data of an event are personal, and whose: the declaration that every event type makes.
//!
//! One rule: a leaf of a payload is listed as personal or as plain, never neither and never both; a test
//! over the whole catalogue fails for a leaf that somebody forgot. What is personal is sealed under the key
//! of the person before it reaches the log ([`Subject`]), so that destroying the key erases it (AU-7).

mod declared;
mod paths;
mod subject;

use serde_json::Value;
use uuid::Uuid;

pub use paths::{leaves, names, visit};
pub use subject::{Subject, acting_person};

use crate::{
    event_store::{Metadata, StreamId},
    id::UserId,
};

/// What a personal field reads as once its person was erased.
pub const ERASED: &str = "[erased]";

/// The personal fields of an earlier version of a kind's payload, as they lie in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The version.
    pub version: u16,
    /// Its personal leaves.
    pub personal: &'static [&'static str],
}

/// What one kind of event holds. Paths name leaves: `profile.email`, `list[]` for each element of a list,
/// `map.*` for each value of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindFields {
    /// `<context>.<Event>`.
    pub kind: &'static str,
    /// The version of the payload that this build writes, from 1.
    pub version: u16,
    /// Whose the personal leaves are.
    pub subject: Subject,
    /// Leaves that are sealed. Always strings, or null.
    pub personal: &'static [&'static str],
    /// Leaves that are not.
    pub plain: &'static [&'static str],
    /// Personal leaves of earlier versions.
    pub earlier: &'static [Earlier],
    /// Whether such an event is the trace of something that was refused or failed.
    pub failure: bool,
    /// Fields that verify a secret: an auditor sees that they are there, not what they are.
    pub masked: &'static [&'static str],
}

impl KindFields {
    /// Version 1 of `kind`, about `subject`, without fields.
    #[must_use]
    pub const fn of(kind: &'static str, subject: Subject) -> Self {
        Self {
            kind,
            version: 1,
            subject,
            personal: &[],
            plain: &[],
            earlier: &[],
            failure: false,
            masked: &[],
        }
    }

    /// With these personal leaves.
    #[must_use]
    pub const fn personal(mut self, leaves: &'static [&'static str]) -> Self {
        self.personal = leaves;
        self
    }

    /// With these plain leaves.
    #[must_use]
    pub const fn plain(mut self, leaves: &'static [&'static str]) -> Self {
        self.plain = leaves;
        self
    }

    /// In this version, after `earlier` ones.
    #[must_use]
    pub const fn version(mut self, version: u16, earlier: &'static [Earlier]) -> Self {
        self.version = version;
        self.earlier = earlier;
        self
    }

    /// The personal leaves of `version`; none of a version that is not declared.
    #[must_use]
    pub fn personal_in(&self, version: u16) -> &'static [&'static str] {
        if version == self.version {
            return self.personal;
        }
        let earlier = self.earlier.iter().find(|earlier| earlier.version == version);
        earlier.map_or(&[], |earlier| earlier.personal)
    }

    /// Whose the personal leaves of one event are; `None` when no user is named there.
    #[must_use]
    pub fn person(&self, stream: &StreamId, data: &Value, meta: &Metadata) -> Option<UserId> {
        match self.subject {
            Subject::Field(path) => {
                let field = path.split('.').try_fold(data, |value, name| value.get(name))?;
                Uuid::try_parse(field.as_str()?).ok().map(UserId)
            }
            Subject::StreamKey => stream.key().parse().ok(),
            Subject::Actor => acting_person(meta),
            Subject::Nobody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{KindFields, Subject, acting_person, leaves, names, visit};
    use crate::{
        event_store::{Metadata, StreamId},
        id::UserId,
    };

    fn visited(value: &mut Value, pattern: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        visit(value, pattern, &str::to_owned, &mut |path, text| {
            found.push(format!("{path}={text}"));
            *text = "x".to_owned();
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn every_declared_leaf_is_visited_by_its_exact_path() {
        let mut value = json!({
            "profile": { "email": "a@b", "name": null },
            "list": [{ "text": "one" }, { "text": "two" }],
            "words": ["w"],
            "map": { "k": "v", "l": "u" },
        });
        assert_eq!(
            visited(&mut value, "profile.email"),
            Ok(vec!["profile.email=a@b".into()])
        );
        assert_eq!(visited(&mut value, "profile.name"), Ok(vec![]));
        assert_eq!(visited(&mut value, "profile.none.at.all"), Ok(vec![]));
        assert_eq!(
            visited(&mut value, "list[].text"),
            Ok(vec!["list[0].text=one".into(), "list[1].text=two".into()])
        );
        assert_eq!(visited(&mut value, "words[]"), Ok(vec!["words[0]=w".into()]));
        assert_eq!(
            visited(&mut value, "map.*"),
            Ok(vec!["map.k=v".into(), "map.l=u".into()])
        );
        assert_eq!(value["list"][1]["text"], "x");
        assert_eq!(
            visited(&mut json!({ "a": 1 }), "a"),
            Err("a".to_owned()),
            "not a string"
        );
    }

    #[test]
    fn leaves_are_named_as_they_are_declared() {
        let value = json!({ "a": { "b": [1, 2], "c": null }, "m": { "k": 1 } });
        let found: Vec<String> = leaves(&value).into_iter().collect();
        assert_eq!(found, ["a.b[]", "a.c", "m.k"]);
        assert!(names("m.*", "m.k") && !names("m.*", "m") && !names("m", "m.k") && names("a.b[]", "a.b[]"));
    }

    #[test]
    fn whose_an_event_is_follows_its_declaration() {
        let user = UserId(uuid::Uuid::from_u128(7));
        let meta = Metadata {
            actor: format!("user:{user}"),
            ..Metadata::default()
        };
        let data = json!({ "user": user.0.to_string(), "nobody": null });
        let of = |subject| {
            let stream = StreamId::new("identity.user", &user.to_string());
            KindFields::of("a.B", subject).person(&stream, &data, &Metadata::default())
        };
        assert_eq!(of(Subject::Field("user")), Some(user));
        assert_eq!(of(Subject::Field("nobody")), None);
        assert_eq!(of(Subject::StreamKey), Some(user));
        assert_eq!(of(Subject::Actor), None);
        assert_eq!(acting_person(&meta), Some(user));
    }
}
