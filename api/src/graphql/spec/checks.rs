//! What reads the inputs of a schema: the types' own code, by name.
//!
//! One rule: a value is checked by the very `InputType::parse` that gives it to the resolver, so the check before
//! execution and the reading within it cannot differ. The definition of a schema knows only names.

use std::collections::HashMap;
use std::fmt;

use async_graphql::{InputType, Pos, Value};

/// Reads a value as a type and says what is wrong with it, in the words of the type.
pub(super) type Check = fn(Value) -> Result<(), String>;

/// The custom scalars and input objects of a schema.
#[derive(Clone, Default)]
pub struct InputChecks(HashMap<String, Check>);

impl InputChecks {
    /// With `T`, under its GraphQL name.
    #[must_use]
    pub fn with<T: InputType>(mut self) -> Self {
        self.0.insert(T::type_name().into_owned(), read::<T>);
        self
    }

    /// Whether a type of that name can be read.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What reads the type of that name.
    pub(super) fn get(&self, name: &str) -> Option<Check> {
        self.0.get(name).copied()
    }
}

impl fmt::Debug for InputChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn read<T: InputType>(value: Value) -> Result<(), String> {
    T::parse(Some(value))
        .map(drop)
        .map_err(|error| error.into_server_error(Pos::default()).message)
}
