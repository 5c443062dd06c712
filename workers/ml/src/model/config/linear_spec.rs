//! Names and shapes of linear layers.

/// A linear layer of a block, `x · W (+ b)`, which an adapter can update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearSpec {
    /// Its name, without `.weight` and `.bias`.
    pub name: String,
    /// Number of inputs and outputs.
    pub shape: [usize; 2],
    /// Whether it has a bias.
    pub bias: bool,
}
