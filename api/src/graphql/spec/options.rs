//! What a schema has to say to the layer beside its definition.

use super::{checks::InputChecks, cost::CostModel};

/// The options of a [`SpecSchema`](super::SpecSchema). The defaults bound nothing.
#[derive(Clone, Debug)]
pub struct SpecOptions {
    /// How operations are priced and what they may cost; without it they are not priced. The builder's own limit is
    /// not used: the library can neither say what was measured nor measure the one operation that runs.
    pub cost: Option<CostModel>,
    /// Whether clients may ask for the schema (`__schema`, `__type`), and get suggestions in errors.
    pub introspection: bool,
    /// How to read the custom scalars and input objects of the schema, all of them.
    pub inputs: InputChecks,
}

impl Default for SpecOptions {
    fn default() -> Self {
        Self {
            cost: None,
            introspection: true,
            inputs: InputChecks::default(),
        }
    }
}
