//! What serde was told about a type, as far as it decides the form of a payload.
//!
//! One rule: what is not understood here is refused, so that no form is guessed.

use syn::{Attribute, Error, LitStr, Result, Token, meta::ParseNestedMeta};

/// What `#[serde(…)]` says of a type.
#[derive(Debug, Default)]
pub(crate) struct OfType {
    pub(crate) tag: Option<String>,
    pub(crate) content: Option<String>,
    pub(crate) transparent: bool,
    snake_case: bool,
}

/// What `#[serde(…)]` says of a field or variant.
#[derive(Debug, Default)]
pub(crate) struct OfPart {
    pub(crate) flatten: bool,
    /// Absent instead of null.
    pub(crate) absent: bool,
    rename: Option<String>,
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<String> {
    meta.value()?.parse::<LitStr>().map(|text| text.value())
}

fn each(attributes: &[Attribute], mut take: impl FnMut(&ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
        .try_for_each(|attribute| attribute.parse_nested_meta(|meta| take(&meta)))
}

fn unknown(meta: &ParseNestedMeta<'_>) -> Error {
    meta.error("events do not know what this does to the form of a payload; see event-derive/src/serde_attributes.rs")
}

impl OfType {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        each(attributes, |meta| {
            if meta.path.is_ident("tag") {
                found.tag = Some(text(meta)?);
            } else if meta.path.is_ident("content") {
                found.content = Some(text(meta)?);
            } else if meta.path.is_ident("transparent") {
                found.transparent = true;
            } else if meta.path.is_ident("rename_all") && text(meta)? == "snake_case" {
                found.snake_case = true;
            } else {
                return Err(unknown(meta));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The name of a variant as serde writes it.
    pub(crate) fn variant(&self, ident: &syn::Ident, part: &OfPart) -> String {
        part.rename.clone().unwrap_or_else(|| match self.snake_case {
            true => snake_case(&ident.to_string()),
            false => ident.to_string(),
        })
    }
}

impl OfPart {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        each(attributes, |meta| {
            if meta.path.is_ident("flatten") {
                found.flatten = true;
            } else if meta.path.is_ident("rename") {
                found.rename = Some(text(meta)?);
            } else if meta.path.is_ident("skip_serializing_if") {
                found.absent = text(meta)? == "Option::is_none";
            } else if meta.path.is_ident("with") {
                let with = text(meta)?;
                if !with.starts_with("time::serde::") {
                    return Err(unknown(meta));
                }
            } else if meta.path.is_ident("default") {
                // How it is read, not how it is written.
                if meta.input.peek(Token![=]) {
                    text(meta)?;
                }
            } else {
                return Err(unknown(meta));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The name of a field as serde writes it.
    pub(crate) fn field(&self, ident: &syn::Ident) -> String {
        let plain = || ident.to_string().trim_start_matches("r#").to_owned();
        self.rename.clone().unwrap_or_else(plain)
    }
}

/// As serde does it: a new word at every capital.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
