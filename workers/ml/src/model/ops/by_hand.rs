//! The gradients of the composed operations, worked by hand in tensor operations that every backend has.
//!
//! Rule: a gradient is a function of the operation's inputs and of the gradient of its output; what a forward
//! pass knew besides (statistics, attention's weights, masks of dropout) is computed again, not kept.

use burn::tensor::{Tensor, backend::Backend};

use super::{
    LinearGradients, LinearInputs, LowRank, Orientation, Sight, TransformerGradients, TransformerOps, Wanted,
    composed::{self, CUBIC, ROOT, like, wide},
    gradients::{AdamState, AdamStep},
};

/// See [`super::TransformerGradients::layer_norm_gradient`].
pub fn layer_norm_gradient<B: Backend>(
    dy: Tensor<B, 2>,
    x: Tensor<B, 2>,
    gain: Tensor<B, 2>,
    epsilon: f64,
    affine: bool,
) -> (Tensor<B, 2>, Option<[Tensor<B, 2>; 2]>) {
    let model = x.dtype();
    let (x, dy) = (wide(x), wide(dy));
    let (normed, scale) = composed::normalised(x, epsilon);
    let affine = affine.then(|| {
        let found = [(dy.clone() * normed.clone()).sum_dim(0), dy.clone().sum_dim(0)];
        found.map(|gradient| like(gradient, model))
    });
    let scaled = dy * wide(gain);
    let along = (scaled.clone() * normed.clone()).mean_dim(1);
    let dx = (scaled.clone() - scaled.mean_dim(1) - normed * along) * scale;
    (like(dx, model), affine)
}

/// See [`super::TransformerGradients::rms_norm_gradient`].
pub fn rms_norm_gradient<B: Backend>(
    dy: Tensor<B, 2>,
    x: Tensor<B, 2>,
    gain: Tensor<B, 2>,
    epsilon: f64,
    affine: bool,
) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
    let model = x.dtype();
    let (x, dy) = (wide(x), wide(dy));
    let (normed, scale) = composed::unit(x, epsilon);
    let affine = affine.then(|| like((dy.clone() * normed.clone()).sum_dim(0), model));
    let scaled = dy * wide(gain);
    let along = (scaled.clone() * normed.clone()).mean_dim(1);
    (like((scaled - normed * along) * scale, model), affine)
}

/// See [`super::TransformerGradients::gelu_new_gradient`].
pub fn gelu_new_gradient<B: Backend>(dy: Tensor<B, 2>, x: Tensor<B, 2>) -> Tensor<B, 2> {
    let model = x.dtype();
    let (x, dy) = (wide(x), wide(dy));
    let gate = composed::gelu_gate(&x);
    // d/dx x·σ(p(x)) = σ + x·σ·(1 − σ)·p′(x), with p′(x) = 2·ROOT·(1 + 3·CUBIC·x²)
    let slope = (x.clone() * x.clone())
        .mul_scalar(6.0 * ROOT * CUBIC)
        .add_scalar(2.0 * ROOT);
    let bend = x * slope * gate.clone().neg().add_scalar(1.0);
    like(dy * gate * bend.add_scalar(1.0), model)
}

/// See [`super::TransformerGradients::swiglu_gradient`].
pub fn swiglu_gradient<B: Backend>(
    dy: Tensor<B, 2>,
    gate: Tensor<B, 2>,
    up: Tensor<B, 2>,
) -> [Tensor<B, 2>; 2] {
    let model = up.dtype();
    let [dy, gate, up] = [dy, gate, up].map(wide);
    let sigmoid = burn::tensor::activation::sigmoid(gate.clone());
    let silu = gate * sigmoid.clone();
    // silu′ = σ + silu·(1 − σ)
    let slope = sigmoid.clone() + silu.clone() * sigmoid.neg().add_scalar(1.0);
    [dy.clone() * up * slope, dy * silu].map(|gradient| like(gradient, model))
}

/// See [`super::TransformerGradients::attention_gradient`].
pub fn attention_gradient<B: TransformerGradients>(
    dy: Tensor<B, 2>,
    queries: Tensor<B, 2>,
    keys: Tensor<B, 2>,
    values: Tensor<B, 2>,
    sight: &Sight,
    heads: usize,
    key_heads: usize,
) -> [Tensor<B, 2>; 3] {
    let (batch, [rows, width], [key_rows, key_width]) = (sight.batch, queries.dims(), keys.dims());
    let (length, seen) = sight.lengths(rows, key_rows);
    let (size, group) = (width / heads, heads / key_heads);
    let queries = composed::split(queries, batch, heads);
    let keys = composed::split(keys, batch, key_heads);
    let values = composed::split(values, batch, key_heads);
    let weights = composed::attention_weights(queries.clone(), keys.clone(), sight).reshape([
        batch,
        key_heads,
        group * length,
        seen,
    ]);
    let shared = |x: Tensor<B, 4>| x.reshape([batch, key_heads, group * length, size]);
    let (queries, dy) = (shared(queries), shared(composed::split(dy, batch, heads)));
    let d_values = weights.clone().swap_dims(2, 3).matmul(dy.clone());
    let d_weights = dy.matmul(values.swap_dims(2, 3));
    let d_scores = B::softmax_gradient(d_weights, weights, 1.0 / (size as f64).sqrt());
    let d_queries = d_scores.clone().matmul(keys);
    let d_keys = d_scores.swap_dims(2, 3).matmul(queries);
    let join = |x: Tensor<B, 4>| x.swap_dims(1, 2).reshape([key_rows, key_width]);
    [
        d_queries
            .reshape([batch, heads, length, size])
            .swap_dims(1, 2)
            .reshape([rows, width]),
        join(d_keys),
        join(d_values),
    ]
}

/// See [`super::TransformerGradients::softmax_gradient`].
pub fn softmax_gradient<B: Backend>(dy: Tensor<B, 4>, weights: Tensor<B, 4>, factor: f64) -> Tensor<B, 4> {
    let model = weights.dtype();
    let (weights, dy) = (wide(weights), wide(dy));
    let along = (dy.clone() * weights.clone()).sum_dim(3);
    like((weights * (dy - along)).mul_scalar(factor), model)
}

/// See [`super::TransformerGradients::packed_attention_gradient`].
pub fn packed_attention_gradient<B: TransformerGradients>(
    dy: Tensor<B, 2>,
    packed: &Tensor<B, 2>,
    heads: usize,
    sight: &Sight,
) -> Tensor<B, 2> {
    let [queries, keys, values] = composed::unpack(packed);
    let parts = attention_gradient(dy, queries, keys, values, sight, heads, heads);
    Tensor::cat(parts.into(), 1)
}

/// See [`super::TransformerGradients::linear_gradient`].
pub fn linear_gradient<B: TransformerOps>(
    dy: Tensor<B, 2>,
    inputs: LinearInputs<B>,
    wanted: Wanted,
) -> LinearGradients<B> {
    let LinearInputs {
        x,
        weight,
        orientation,
        adapter,
    } = inputs;
    let mut found = LinearGradients {
        x: None,
        weight: None,
        bias: None,
        down: None,
        up: None,
    };
    if wanted.bias {
        found.bias = Some(like(wide(dy.clone()).sum_dim(0), dy.dtype()));
    }
    if wanted.weight {
        found.weight = Some(match orientation {
            Orientation::InOut => x.clone().transpose().matmul(dy.clone()),
            Orientation::OutIn => dy.clone().transpose().matmul(x.clone()),
        });
    }
    if wanted.x {
        let back = composed::in_out(weight, orientation).transpose();
        found.x = Some(dy.clone().matmul(back));
    }
    let Some(LowRank {
        down,
        up,
        scale,
        dropout,
    }) = adapter
    else {
        return found;
    };
    let dropped = |x| match dropout {
        Some(dropout) => B::dropped(x, dropout),
        None => x,
    };
    let input = dropped(x);
    if wanted.up {
        let low = input.clone().matmul(down.clone()).mul_scalar(scale);
        found.up = Some(low.transpose().matmul(dy.clone()));
    }
    let d_low = dy.matmul(up.transpose()).mul_scalar(scale);
    if wanted.down {
        found.down = Some(input.transpose().matmul(d_low.clone()));
    }
    if let Some(dx) = found.x.take() {
        let update = dropped(d_low.matmul(down.transpose()));
        found.x = Some(dx + update);
    }
    found
}

/// See [`super::TransformerGradients::adam`]; the order of operations is that of `torch.optim.AdamW`.
pub fn adam<B: Backend>(state: AdamState<B>, gradient: Tensor<B, 2>, step: &AdamStep) -> AdamState<B> {
    let gradient = wide(gradient);
    let mean = state.mean.mul_scalar(step.beta_1) + gradient.clone().mul_scalar(1.0 - step.beta_1);
    let square =
        state.square.mul_scalar(step.beta_2) + (gradient.clone() * gradient).mul_scalar(1.0 - step.beta_2);
    let denominator = square
        .clone()
        .sqrt()
        .mul_scalar(step.square_factor)
        .add_scalar(step.epsilon);
    let update = (mean.clone() / denominator).mul_scalar(step.rate);
    let kept = match step.kept == 1.0 {
        true => state.parameter,
        false => state.parameter.mul_scalar(step.kept),
    };
    AdamState {
        parameter: kept - update,
        mean,
        square,
    }
}
