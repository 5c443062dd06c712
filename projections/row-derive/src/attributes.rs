//! What `#[column(…)]` says of a field.

use syn::{Attribute, LitStr, Result};

/// How a value is stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Form {
    /// As its type says.
    #[default]
    Value,
    /// An enum, by the name of its variant.
    Text,
    /// As `jsonb`.
    Json,
}

/// What is said of a field.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) form: Form,
    /// Of the column, where it is not that of the field.
    pub(crate) name: Option<String>,
}

impl Attributes {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|one| one.path().is_ident("column")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("text") {
                    found.form = Form::Text;
                } else if meta.path.is_ident("json") {
                    found.form = Form::Json;
                } else if meta.path.is_ident("name") {
                    found.name = Some(meta.value()?.parse::<LitStr>()?.value());
                } else {
                    return Err(meta.error("a column is `text`, `json`, or has a `name`"));
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}
