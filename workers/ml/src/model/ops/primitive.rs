//! Operations that the composite forms are built from and that a backend may replace by kernels.
//!
//! Rule: the functions here define what each operation means, in tensor operations that every backend has; a backend
//! may change how it is computed, never the result beyond rounding.

use burn::tensor::{Bool, IndexingUpdateOp, Int, Tensor, TensorData, activation, backend::Backend};

use super::{
    attention_mask::AttentionMask,
    dropout::Dropout,
    optimizer::{AdamState, AdamStep},
    precision::{cast_to, to_f32},
};

/// Operations that a backend may replace by kernels.
pub trait PrimitiveOps: Backend {
    /// Attention weights: the softmax of each row of `factor · scores` `[batch, heads, queries, keys]` over the keys
    /// that `mask` makes visible, and 0 for the others.
    fn masked_softmax(scores: Tensor<Self, 4>, mask: &AttentionMask, factor: f64) -> Tensor<Self, 4> {
        masked_softmax(scores, mask, factor)
    }

    /// The gradient of the scores of [`PrimitiveOps::masked_softmax`], whose output was `weights`.
    fn softmax_gradient(dy: Tensor<Self, 4>, weights: Tensor<Self, 4>, factor: f64) -> Tensor<Self, 4> {
        softmax_gradient(dy, weights, factor)
    }

    /// `x` with the elements that `dropout` selects set to 0 and the others scaled up.
    fn apply_dropout(x: Tensor<Self, 2>, dropout: Dropout) -> Tensor<Self, 2> {
        apply_dropout(x, dropout)
    }

    /// Cross-entropies `[n, 1]` in nats, as 32-bit floats, of `tokens` (one per row) given the logits `scores`
    /// `[n, vocabulary]`, and `scale` times their gradients.
    fn cross_entropy(
        scores: Tensor<Self, 2>,
        tokens: &[i32],
        scale: f64,
    ) -> (Tensor<Self, 2>, Tensor<Self, 2>) {
        cross_entropy(scores, tokens, scale)
    }

    /// One step of AdamW (arXiv:1711.05101) along `gradient`.
    fn adam(state: AdamState<Self>, gradient: Tensor<Self, 2>, step: &AdamStep) -> AdamState<Self> {
        adam(state, gradient, step)
    }
}

/// See [`PrimitiveOps::masked_softmax`].
pub fn masked_softmax<B: Backend>(scores: Tensor<B, 4>, mask: &AttentionMask, factor: f64) -> Tensor<B, 4> {
    let [_, _, queries, keys] = scores.dims();
    let dtype = scores.dtype();
    let scores = to_f32(scores).mul_scalar(factor);
    let scores = match hidden_keys(mask, queries, keys, &scores.device()) {
        Some(hidden) => {
            let hidden = hidden.expand(scores.dims());
            scores.mask_fill(hidden, f32::NEG_INFINITY)
        }
        None => scores,
    };
    cast_to(activation::softmax(scores, 3), dtype)
}

/// True where a query does not attend to a key, `[batch or 1, 1, queries, keys]`; `None` where all keys are visible.
fn hidden_keys<B: Backend>(
    mask: &AttentionMask,
    queries: usize,
    keys: usize,
    device: &B::Device,
) -> Option<Tensor<B, 4, Bool>> {
    let after = || Tensor::<B, 2, Bool>::tril_mask([queries, keys], (keys - queries) as i64, device);
    if mask.first.is_none() {
        return (queries > 1).then(|| after().unsqueeze::<4>());
    }
    let first: Vec<i32> = (0..mask.batch * queries)
        .map(|row| mask.range(row / queries, row % queries, queries, keys).start as i32)
        .collect();
    let shape = [mask.batch, 1, queries, 1];
    let first = Tensor::<B, 4, Int>::from_data(TensorData::new(first, shape), device);
    let place = Tensor::<B, 1, Int>::arange(0..keys as i64, device).unsqueeze::<4>();
    let full = [mask.batch, 1, queries, keys];
    let before = place.expand(full).lower(first.expand(full));
    Some(before.bool_or(after().unsqueeze::<4>().expand(full)))
}

/// See [`PrimitiveOps::apply_dropout`]: the mask is drawn by the processor.
pub fn apply_dropout<B: Backend>(x: Tensor<B, 2>, dropout: Dropout) -> Tensor<B, 2> {
    let [rows, columns] = x.dims();
    let mut factors = vec![0.0; rows * columns];
    dropout.factors(0, &mut factors);
    let factors = Tensor::from_data(TensorData::new(factors, [rows, columns]), &x.device());
    let dtype = x.dtype();
    x * cast_to(factors, dtype)
}

/// See [`PrimitiveOps::softmax_gradient`].
pub fn softmax_gradient<B: Backend>(dy: Tensor<B, 4>, weights: Tensor<B, 4>, factor: f64) -> Tensor<B, 4> {
    let dtype = weights.dtype();
    let (weights, dy) = (to_f32(weights), to_f32(dy));
    let projection = (dy.clone() * weights.clone()).sum_dim(3);
    cast_to((weights * (dy - projection)).mul_scalar(factor), dtype)
}

/// See [`PrimitiveOps::cross_entropy`].
pub fn cross_entropy<B: Backend>(
    scores: Tensor<B, 2>,
    tokens: &[i32],
    scale: f64,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let dtype = scores.dtype();
    let target = Tensor::<B, 2, Int>::from_data(
        TensorData::new(tokens.to_vec(), [tokens.len(), 1]),
        &scores.device(),
    );
    let scores = to_f32(scores);
    let shifted = scores.clone() - scores.max_dim(1);
    let chosen = shifted.clone().gather(1, target.clone());
    let powers = shifted.exp();
    let sums = powers.clone().sum_dim(1);
    let losses = sums.clone().log() - chosen;
    let minus_one = Tensor::full([tokens.len(), 1], -1.0, &losses.device());
    let gradient = (powers / sums).scatter(1, target, minus_one, IndexingUpdateOp::Add);
    (losses, cast_to(gradient.mul_scalar(scale), dtype))
}

/// See [`PrimitiveOps::adam`]; the order of operations is that of `torch.optim.AdamW`.
pub fn adam<B: Backend>(state: AdamState<B>, gradient: Tensor<B, 2>, step: &AdamStep) -> AdamState<B> {
    let gradient = to_f32(gradient);
    let mean = state.mean.mul_scalar(step.beta_1) + gradient.clone().mul_scalar(1.0 - step.beta_1);
    let square =
        state.square.mul_scalar(step.beta_2) + (gradient.clone() * gradient).mul_scalar(1.0 - step.beta_2);
    let denominator = square
        .clone()
        .sqrt()
        .mul_scalar(step.square_factor)
        .add_scalar(step.epsilon);
    let update = (mean.clone() / denominator).mul_scalar(step.step_size);
    let decayed = match step.decay_factor == 1.0 {
        true => state.parameter,
        false => state.parameter.mul_scalar(step.decay_factor),
    };
    AdamState {
        parameter: decayed - update,
        mean,
        square,
    }
}
