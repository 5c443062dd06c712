//! Tokenized samples.

/// A tokenized sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The tokens in order.
    pub tokens: Vec<u32>,
    /// For each token, whether it contributes to the loss.
    pub loss_mask: Vec<bool>,
    /// Whether a window may begin anywhere (text) or only at the start (conversations and prompts).
    pub splittable: bool,
}
