//! LoRA (Hu et al., arXiv:2106.09685): a low-rank update beside each chosen matrix of a frozen model, by the
//! rules of Hugging Face's PEFT.
//!
//! Rule: the base is never touched; an adapter is a [`ParameterSet`] of pairs `A` `[in, rank]`, `B`
//! `[rank, out]`, which add `scale · x · A · B`, and of whole tensors of the base that learn too (biases, saved
//! modules) under the names they have there.

pub mod peft;
mod plan;

use burn::tensor::{Tensor, backend::Backend};
pub use plan::Plan;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    failure::Failure,
    model::{
        config::{HEAD, ModelConfig},
        ops::{Dropout, LowRank, composed::wide},
    },
    parameters::{ParameterSet, matrix},
    random::{Purpose, stream},
    spec::LoraSettings,
};

/// What an update is scaled by: alpha / rank, or alpha / √rank for rsLoRA (Kalajdzievski, arXiv:2312.03732).
#[must_use]
pub fn scale(settings: &LoraSettings) -> f64 {
    let rank = f64::from(settings.rank);
    settings.alpha / if settings.use_rslora { rank.sqrt() } else { rank }
}

/// A new adapter of `plan` as PEFT draws it: `A` uniform in ±1/√in (Kaiming with a = √5), `B` zero, whole tensors
/// as they are in `base`, so that it changes nothing yet.
///
/// # Errors
/// An internal failure when `base` lacks a tensor.
pub fn initial<B: Backend>(
    plan: &Plan,
    base: &ParameterSet<B>,
    config: &ModelConfig,
    seed: u64,
    device: &B::Device,
) -> Result<ParameterSet<B>, Failure> {
    let mut set = ParameterSet::default();
    for (index, (name, [rows, columns])) in plan.pairs().into_iter().enumerate() {
        let mut rng = stream(seed, Purpose::Initialisation, 0, index as u64);
        let bound = 1.0 / (rows as f32).sqrt();
        let down = name.ends_with("lora_A");
        let mut draw = || {
            if down {
                rng.random_range(-bound..bound)
            } else {
                0.0
            }
        };
        let numbers = (0..rows * columns).map(|_| draw()).collect();
        set.insert(name, matrix(numbers, [rows, columns], device));
    }
    for (name, _) in plan.copied() {
        let from = if name == HEAD && config.is_tied() {
            config.embedding()
        } else {
            name
        };
        // Trained in 32 bits, whatever the base is computed in.
        set.insert(name, wide(base.get(from)?));
    }
    Ok(set)
}

/// `A` `[in, rank]` and `B` `[rank, out]` of one matrix.
type Pair<B> = (Tensor<B, 2>, Tensor<B, 2>);

/// An adapter ready for the network. Its whole tensors are not here but in the network
/// ([`crate::model::CausalModel::replacing`]).
#[derive(Clone, Debug)]
pub struct Adapter<B: Backend> {
    /// By the places of [`ModelConfig::linears`].
    pairs: Vec<Option<Pair<B>>>,
    scale: f64,
}

impl<B: Backend> Adapter<B> {
    /// The adapter of `plan` over `parameters`, whose tensors are shared.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn new(plan: &Plan, parameters: &ParameterSet<B>) -> Result<Self, Failure> {
        let pair = |name: Option<&str>| match name {
            Some(name) => Ok(Some((
                parameters.get(&format!("{name}.lora_A"))?,
                parameters.get(&format!("{name}.lora_B"))?,
            ))),
            None => Ok(None),
        };
        Ok(Self {
            pairs: plan.places().map(pair).collect::<Result<_, Failure>>()?,
            scale: plan.scale(),
        })
    }
}

/// One pass of an adapter through the network, with what it drops.
#[derive(Debug)]
pub struct AdapterPass<'a, B: Backend> {
    adapter: &'a Adapter<B>,
    dropout: Option<(f64, ChaCha8Rng)>,
}

impl<'a, B: Backend> AdapterPass<'a, B> {
    /// A pass that drops nothing.
    #[must_use]
    pub fn exact(adapter: &'a Adapter<B>) -> Self {
        Self {
            adapter,
            dropout: None,
        }
    }

    /// A pass that drops a share `probability` of its inputs and scales up the others, drawing from `rng`.
    #[must_use]
    pub fn dropping(adapter: &'a Adapter<B>, probability: f64, rng: ChaCha8Rng) -> Self {
        Self {
            adapter,
            dropout: (probability > 0.0).then_some((probability, rng)),
        }
    }

    /// The update of the matrix at `place` of [`ModelConfig::linears`]; `None` where it has no pair. Each call
    /// drops others of the inputs.
    pub fn update(&mut self, place: usize) -> Option<LowRank<B>> {
        let (down, up) = self.adapter.pairs.get(place)?.clone()?;
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
