//! The Jinja environment of chat templates, as `transformers` sets it up.
//!
//! Rule: where `transformers` changes Jinja's defaults (`tojson`, whitespace around blocks), so does this. The only
//! difference is the clock, which is fixed.

use std::io;

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Kwargs,
};
use serde::Serialize;
use time::{OffsetDateTime, format_description, macros::datetime};

use super::markers;

/// Name of the environment's only template.
pub(super) const NAME: &str = "chat";
/// Instructions that one rendering may execute.
pub(super) const FUEL: u64 = 1 << 20;

/// The time that `strftime_now` returns: the date that Llama 3's template uses by default. A training that is resumed
/// on another day must get the same tokens.
const NOW: OffsetDateTime = datetime!(2024-07-26 00:00 UTC);

/// Carries the argument of `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// The message that the template raised, if `error` comes from `raise_exception`.
pub(super) fn raised(error: &Error) -> Option<&str> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(Raised(reason)) = inner.downcast_ref() {
            return Some(reason);
        }
        source = inner.source();
    }
    None
}

/// The environment with the template `source`.
pub(super) fn of(source: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(64);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_filter(markers::FILTER, markers::generated);
    environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(reason)))
    });
    environment.add_function("strftime_now", |format: &str| strftime(format));
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

fn strftime(format: &str) -> Result<String, Error> {
    let refuse = |error: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now({format:?}): {error}"),
        )
    };
    let format = format_description::parse_strftime_owned(format).map_err(|error| refuse(&error))?;
    NOW.format(&format).map_err(|error| refuse(&error))
}

/// Python's `json.dumps` with `ensure_ascii=False` and without HTML's escapes.
#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands the options of a filter over by value"
)]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let (_, _): (Option<bool>, Option<bool>) = (options.get("ensure_ascii")?, options.get("sort_keys")?);
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| {
        Error::new(ErrorKind::BadSerialization, "cannot write JSON").with_source(error)
    };
    let mut text = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(64));
            let layout = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, layout))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced)),
    }
    .map_err(failed)?;
    let text = String::from_utf8(text)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "cannot write JSON").with_source(error))?;
    Ok(Value::from_safe_string(text))
}

/// Python's separators, `, ` and `: `.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
