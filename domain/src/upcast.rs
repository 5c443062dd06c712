//! Upcasters: payloads of earlier versions, lifted version by version into the one that this build reads.
//!
//! The rule: what was recorded never changes, so every version ever written stays readable. An upcaster is
//! pure and knows one step, from version `n` of a kind to `n + 1`; steps are applied in order, before
//! decoding. A payload of the current version is not touched.

use serde_json::Value;

/// One step of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// `<context>.<Event>`.
    pub kind: &'static str,
    /// The version that it reads; it writes the next one.
    pub from: u16,
    /// What it does.
    ///
    /// # Errors
    /// When the payload is not one of version `from`: in words without its content.
    pub lift: fn(Value) -> Result<Value, String>,
}

/// Why a payload could not be lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpcastError {
    /// There is no step from this version: a defect of the event type.
    #[error("there is no upcaster from version {from}")]
    Missing {
        /// The version.
        from: u16,
    },
    /// The payload is not of the version that it says.
    #[error("it is not a payload of version {from}: {reason}")]
    Refused {
        /// The version.
        from: u16,
        /// The reason.
        reason: String,
    },
}

/// Lifts `data` of `kind` from version `from` to version `to`; when they are equal, `data` comes back as it is.
///
/// # Errors
/// [`UpcastError`], with the version whose step is missing or failed.
pub fn lift(
    upcasters: &[Upcaster],
    kind: &str,
    from: u16,
    to: u16,
    data: Value,
) -> Result<Value, UpcastError> {
    (from..to).try_fold(data, |data, version| {
        let step = upcasters
            .iter()
            .find(|one| one.kind == kind && one.from == version)
            .ok_or(UpcastError::Missing { from: version })?;
        (step.lift)(data).map_err(|reason| UpcastError::Refused {
            from: version,
            reason,
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy as _, any, prop_assert_eq, proptest};
    use serde_json::{Value, json, value::RawValue};
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::{UpcastError, lift};
    use crate::{
        aggregate::{DecodeError, Event as _, decode, encode, event},
        event_store::{Metadata, Position, RecordedEvent, StreamId},
    };

    /// Version 1 had `seconds`, version 2 `millis`, version 3 has `millis` and a `unit`.
    #[event(context = "test", subject = nobody)]
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Measured {
        #[event(version = 3)]
        #[earlier(version = 1, lift = to_millis)]
        #[earlier(version = 2, lift = with_unit)]
        Measured {
            millis: u64,
            #[plain]
            unit: String,
        },
    }

    fn to_millis(data: Value) -> Result<Value, String> {
        let Value::Object(fields) = data else {
            return Err("no object".to_owned());
        };
        let seconds = fields.get("seconds").and_then(Value::as_u64);
        let seconds = seconds.ok_or("no seconds")?;
        Ok(json!({ "millis": seconds * 1_000 }))
    }

    fn with_unit(mut data: Value) -> Result<Value, String> {
        data["unit"] = Value::from("ms");
        Ok(data)
    }

    fn recorded(kind: &str, schema_version: u16, data: &Value) -> RecordedEvent {
        RecordedEvent {
            id: Uuid::nil(),
            stream: StreamId::new("test", "a"),
            revision: 0,
            position: Position(9),
            kind: kind.to_owned(),
            schema_version,
            at: OffsetDateTime::UNIX_EPOCH,
            data: RawValue::from_string(data.to_string()).expect("JSON"),
            meta: Metadata::default(),
        }
    }

    proptest! {
        /// Every version reads as the current one would have been recorded.
        #[test]
        fn every_version_reads_the_same(seconds in 0_u64..1_000_000) {
            let millis = seconds * 1_000;
            let wanted = Measured::Measured { millis, unit: "ms".to_owned() };
            let payloads = [json!({ "seconds": seconds }), json!({ "millis": millis }), json!({ "millis": millis, "unit": "ms" })];
            for (version, payload) in (1..).zip(&payloads) {
                let read: Measured = decode(&recorded("test.Measured", version, payload)).expect("readable");
                prop_assert_eq!(&read, &wanted);
            }
        }

        /// A payload of the current version is not touched, whatever it holds.
        #[test]
        fn the_current_version_is_left_alone(text in any::<String>(), number in any::<i64>()) {
            let data = json!({ "text": text, "number": number });
            prop_assert_eq!(lift(Measured::UPCASTERS, "test.Measured", 3, 3, data.clone()), Ok(data));
        }

        /// Lifting in two goes is lifting in one.
        #[test]
        fn steps_add_up(seconds in 0_u64..1_000_000, half in 1_u16..=3) {
            let up = |from, to, data| lift(Measured::UPCASTERS, "test.Measured", from, to, data).expect("total");
            let data = json!({ "seconds": seconds });
            prop_assert_eq!(up(half, 3, up(1, half, data.clone())), up(1, 3, data));
        }

        /// Whatever comes: an answer, never a panic.
        #[test]
        fn rubbish_is_refused(version in any::<u16>(), text in ".*", kind in "test\\.(Measured|Other)".prop_map(String::from)) {
            let event = recorded(&kind, version, &json!({ "seconds": text }));
            prop_assert_eq!(decode::<Measured>(&event).is_ok(), false);
        }
    }

    #[test]
    fn what_is_written_carries_the_current_version() {
        let event = Measured::Measured {
            millis: 1,
            unit: "ms".into(),
        };
        assert_eq!(encode(Uuid::nil(), &event).expect("encoded").schema_version, 3);
    }

    #[test]
    fn a_newer_version_says_which_build_is_needed() {
        let error = decode::<Measured>(&recorded("test.Measured", 4, &json!({}))).expect_err("newer");
        assert!(matches!(
            error,
            DecodeError::NewerVersion {
                version: 4,
                known: 3,
                ..
            }
        ));
        assert_eq!(
            error.to_string(),
            "event test.Measured at position 9 has schema version 4, and this build reads versions up to 3: \
             run the build that recorded it, or a newer one"
        );
        let error = decode::<Measured>(&recorded("test.Other", 1, &json!({}))).expect_err("unknown");
        assert!(error.to_string().contains("test.Other at position 9"), "{error}");
        assert!(error.to_string().contains("newer"), "{error}");
    }

    #[test]
    fn a_missing_step_is_named() {
        let missing = lift(&Measured::UPCASTERS[1..], "test.Measured", 1, 3, json!({}));
        assert_eq!(missing, Err(UpcastError::Missing { from: 1 }));
        let refused = lift(Measured::UPCASTERS, "test.Measured", 1, 3, json!({}));
        assert!(matches!(refused, Err(UpcastError::Refused { from: 1, .. })));
    }
}
