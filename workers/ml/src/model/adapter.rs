//! Low-rank updates of a model's linear layers (LoRA, arXiv:2106.09685) in a forward pass.
//!
//! Rule: a model knows nothing of where its adapter comes from; [`crate::lora`] builds it from named parameters.

use burn::tensor::{Tensor, backend::Backend};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::ops::{dropout::Dropout, linear::LowRank};

/// `A` `[in, rank]` and `B` `[rank, out]` of one linear layer.
type Pair<B> = (Tensor<B, 2>, Tensor<B, 2>);

/// The low-rank updates of a model. Tensors that are trained in full belong to the network instead
/// ([`super::CausalModel::with_replaced`]).
#[derive(Clone, Debug)]
pub struct Adapter<B: Backend> {
    /// Indexed as [`super::config::ModelConfig::linear_layers`].
    pairs: Vec<Option<Pair<B>>>,
    scale: f64,
}

impl<B: Backend> Adapter<B> {
    /// An adapter with one entry per linear layer: `A` `[in, rank]` and `B` `[rank, out]`, or `None` for layers without
    /// an update. Updates are scaled by `scale`.
    #[must_use]
    pub fn new(pairs: Vec<Option<(Tensor<B, 2>, Tensor<B, 2>)>>, scale: f64) -> Self {
        Self { pairs, scale }
    }
}

/// One forward pass through an adapter, with the state of its dropout.
#[derive(Debug)]
pub struct AdapterPass<'a, B: Backend> {
    adapter: &'a Adapter<B>,
    dropout: Option<(f64, ChaCha8Rng)>,
}

impl<'a, B: Backend> AdapterPass<'a, B> {
    /// A pass without dropout, as for evaluation and generation.
    #[must_use]
    pub fn without_dropout(adapter: &'a Adapter<B>) -> Self {
        Self {
            adapter,
            dropout: None,
        }
    }

    /// A pass that drops each input of an update with `probability`; the masks are drawn from `rng`.
    #[must_use]
    pub fn with_dropout(adapter: &'a Adapter<B>, probability: f64, rng: ChaCha8Rng) -> Self {
        Self {
            adapter,
            dropout: (probability > 0.0).then_some((probability, rng)),
        }
    }

    /// The update of linear layer `layer`; `None` where it has none. Each call draws a new dropout mask.
    pub fn low_rank(&mut self, layer: usize) -> Option<LowRank<B>> {
        let (down, up) = self.adapter.pairs.get(layer)?.clone()?;
        let dropout = self.dropout.as_mut().map(|(probability, rng)| Dropout {
            probability: *probability,
            key: rng.random(),
        });
        Some(LowRank {
            down,
            up,
            scale: self.adapter.scale,
            dropout,
        })
    }
}
