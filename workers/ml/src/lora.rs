//! LoRA (Hu et al., arXiv:2106.09685): low-rank updates of selected matrices of a frozen model, as in Hugging Face's
//! PEFT.
//!
//! Rule: the base is never modified; an adapter is a [`ParameterSet`] of pairs `A` `[in, rank]`, `B` `[rank, out]`,
//! which add `scale · x · A · B`, and of tensors of the base that are trained in full (biases, saved modules) under
//! the names that they have there.

pub mod peft;
mod plan;

use burn::tensor::backend::Backend;
use rand::Rng;

pub use self::plan::Plan;
use crate::{
    failure::Failure,
    model::{
        Adapter,
        config::{HEAD, ModelConfig},
        ops::precision::to_f32,
    },
    parameters::{ParameterSet, matrix},
    random::{Purpose, stream},
};

/// A new adapter of `plan`, initialised as by PEFT: `A` uniform in ±1/√in (Kaiming with a = √5), `B` zero, full
/// tensors as in `base`, so that it has no effect yet.
///
/// # Errors
/// An internal failure when `base` lacks a tensor.
pub fn initialize<B: Backend>(
    plan: &Plan,
    base: &ParameterSet<B>,
    config: &ModelConfig,
    seed: u64,
    device: &B::Device,
) -> Result<ParameterSet<B>, Failure> {
    let mut set = ParameterSet::default();
    for (index, (name, [rows, columns])) in plan.low_rank_tensors().into_iter().enumerate() {
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
    for (name, _) in plan.full_tensors() {
        let from = if name == HEAD && config.has_tied_embeddings() {
            config.embedding()
        } else {
            name
        };
        // Trained in 32-bit floats, whatever the precision of the base.
        set.insert(name, to_f32(base.get(from)?));
    }
    Ok(set)
}

/// The adapter of `plan` over `parameters`, whose tensors are shared.
///
/// # Errors
/// An internal failure when a tensor is missing.
pub fn adapter<B: Backend>(plan: &Plan, parameters: &ParameterSet<B>) -> Result<Adapter<B>, Failure> {
    let pair = |name: Option<&str>| match name {
        Some(name) => Ok(Some((
            parameters.get(&format!("{name}.lora_A"))?,
            parameters.get(&format!("{name}.lora_B"))?,
        ))),
        None => Ok(None),
    };
    let pairs = plan.layers().map(pair).collect::<Result<_, Failure>>()?;
    Ok(Adapter::new(pairs, plan.scale()))
}
