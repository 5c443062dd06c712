//! The schema's arguments: each field answers with what has arrived.

use async_graphql::{Enum, ID, InputObject, MaybeUndefined, Object};

fn optional(value: &MaybeUndefined<i32>) -> String {
    match value {
        MaybeUndefined::Undefined => "absent".to_owned(),
        MaybeUndefined::Null => "null".to_owned(),
        MaybeUndefined::Value(value) => value.to_string(),
    }
}

fn item(value: Option<i32>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(","))
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub enum Kind {
    Red,
    Green,
}

#[derive(InputObject)]
pub struct Filter {
    least: i32,
    most: MaybeUndefined<i32>,
    #[graphql(default = 5)]
    step: i32,
    kinds: Option<Vec<Kind>>,
    inner: Option<Box<Filter>>,
}

impl Filter {
    fn text(&self) -> String {
        let kinds = self.kinds.as_ref().map_or_else(
            || "none".to_owned(),
            |kinds| list(kinds.iter().copied().map(kind)),
        );
        let inner = self
            .inner
            .as_ref()
            .map_or_else(|| "none".to_owned(), |inner| inner.text());
        format!(
            "{}-{}-{} {kinds} {inner}",
            self.least,
            optional(&self.most),
            self.step
        )
    }
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Red => "RED",
        Kind::Green => "GREEN",
    }
    .to_owned()
}

/// What arguments arrive as; a text each.
pub struct Echo;

#[Object]
impl Echo {
    async fn int(&self, value: MaybeUndefined<i32>) -> String {
        optional(&value)
    }
    async fn required(&self, value: i32) -> String {
        value.to_string()
    }
    async fn defaulted(&self, #[graphql(default = 7)] value: Option<i32>) -> String {
        item(value)
    }
    async fn required_defaulted(&self, #[graphql(default = 7)] value: i32) -> String {
        value.to_string()
    }
    async fn ints(&self, values: Option<Vec<i32>>) -> String {
        values.map_or_else(
            || "none".to_owned(),
            |values| list(values.iter().map(i32::to_string)),
        )
    }
    async fn loose_ints(&self, values: Vec<Option<i32>>) -> String {
        list(values.into_iter().map(item))
    }
    async fn matrix(&self, values: Option<Vec<Option<Vec<Option<i32>>>>>) -> String {
        let row = |row: Option<Vec<Option<i32>>>| {
            row.map_or_else(|| "null".to_owned(), |row| list(row.into_iter().map(item)))
        };
        values.map_or_else(|| "none".to_owned(), |values| list(values.into_iter().map(row)))
    }
    async fn filter(&self, value: Option<Filter>) -> String {
        value.map_or_else(|| "none".to_owned(), |value| value.text())
    }
    async fn filters(&self, values: Vec<Filter>) -> String {
        list(values.iter().map(Filter::text))
    }
    async fn kind(&self, #[graphql(default_with = "Kind::Green")] value: Kind) -> String {
        kind(value)
    }
    async fn text(&self, value: Option<String>) -> Option<String> {
        value
    }
    async fn id(&self, value: ID) -> String {
        value.0
    }
    async fn flag(&self, value: Option<bool>) -> Option<bool> {
        value
    }
    async fn float(&self, value: Option<f64>) -> Option<String> {
        value.map(|value| value.to_string())
    }
}
