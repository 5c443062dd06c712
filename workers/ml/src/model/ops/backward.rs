//! The gradients of [`super::composite`], derived by hand, in tensor operations that every backend has.
//!
//! Rule: a gradient is a function of the operation's inputs and of the gradient of its output; intermediate results of
//! the forward pass (statistics, attention weights, dropout masks) are recomputed, not stored.

use burn::tensor::{Tensor, backend::Backend};

use super::{
    attention_mask::AttentionMask,
    composite::{self, GELU_CUBIC, SQRT_2_OVER_PI},
    linear::{LinearGradients, LinearInputs, LowRank, Orientation, RequiredGradients},
    precision::{cast_to, to_f32},
    primitive::PrimitiveOps,
};

/// See [`super::gradients::TransformerGradients::layer_norm_gradient`].
pub fn layer_norm_gradient<B: Backend>(
    dy: Tensor<B, 2>,
    x: Tensor<B, 2>,
    gain: Tensor<B, 2>,
    epsilon: f64,
    affine: bool,
) -> (Tensor<B, 2>, Option<[Tensor<B, 2>; 2]>) {
    let dtype = x.dtype();
    let (x, dy) = (to_f32(x), to_f32(dy));
    let (normalized, scale) = composite::normalize(x, epsilon);
    let affine = affine.then(|| {
        let found = [
            (dy.clone() * normalized.clone()).sum_dim(0),
            dy.clone().sum_dim(0),
        ];
        found.map(|gradient| cast_to(gradient, dtype))
    });
    let scaled = dy * to_f32(gain);
    let projection = (scaled.clone() * normalized.clone()).mean_dim(1);
    let dx = (scaled.clone() - scaled.mean_dim(1) - normalized * projection) * scale;
    (cast_to(dx, dtype), affine)
}

/// See [`super::gradients::TransformerGradients::rms_norm_gradient`].
pub fn rms_norm_gradient<B: Backend>(
    dy: Tensor<B, 2>,
    x: Tensor<B, 2>,
    gain: Tensor<B, 2>,
    epsilon: f64,
    affine: bool,
) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
    let dtype = x.dtype();
    let (x, dy) = (to_f32(x), to_f32(dy));
    let (normalized, scale) = composite::rms_normalize(x, epsilon);
    let affine = affine.then(|| cast_to((dy.clone() * normalized.clone()).sum_dim(0), dtype));
    let scaled = dy * to_f32(gain);
    let projection = (scaled.clone() * normalized.clone()).mean_dim(1);
    (cast_to((scaled - normalized * projection) * scale, dtype), affine)
}

/// See [`super::gradients::TransformerGradients::gelu_new_gradient`].
pub fn gelu_new_gradient<B: Backend>(dy: Tensor<B, 2>, x: Tensor<B, 2>) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let (x, dy) = (to_f32(x), to_f32(dy));
    let gate = composite::gelu_sigmoid(&x);
    // d/dx x·σ(p(x)) = σ + x·σ·(1 − σ)·p′(x), with p′(x) = 2·ROOT·(1 + 3·CUBIC·x²)
    let slope = (x.clone() * x.clone())
        .mul_scalar(6.0 * SQRT_2_OVER_PI * GELU_CUBIC)
        .add_scalar(2.0 * SQRT_2_OVER_PI);
    let bend = x * slope * gate.clone().neg().add_scalar(1.0);
    cast_to(dy * gate * bend.add_scalar(1.0), dtype)
}

/// See [`super::gradients::TransformerGradients::swiglu_gradient`].
pub fn swiglu_gradient<B: Backend>(
    dy: Tensor<B, 2>,
    gate: Tensor<B, 2>,
    up: Tensor<B, 2>,
) -> [Tensor<B, 2>; 2] {
    let dtype = up.dtype();
    let [dy, gate, up] = [dy, gate, up].map(to_f32);
    let sigmoid = burn::tensor::activation::sigmoid(gate.clone());
    let silu = gate * sigmoid.clone();
    // silu′ = σ + silu·(1 − σ)
    let slope = sigmoid.clone() + silu.clone() * sigmoid.neg().add_scalar(1.0);
    [dy.clone() * up * slope, dy * silu].map(|gradient| cast_to(gradient, dtype))
}

/// See [`super::gradients::TransformerGradients::attention_gradient`].
pub fn attention_gradient<B: PrimitiveOps>(
    dy: Tensor<B, 2>,
    queries: Tensor<B, 2>,
    keys: Tensor<B, 2>,
    values: Tensor<B, 2>,
    mask: &AttentionMask,
    heads: usize,
    key_heads: usize,
) -> [Tensor<B, 2>; 3] {
    let (batch, [rows, width], [key_rows, key_width]) = (mask.batch, queries.dims(), keys.dims());
    let (length, seen) = mask.lengths(rows, key_rows);
    let (size, group) = (width / heads, heads / key_heads);
    let queries = composite::split_heads(queries, batch, heads);
    let keys = composite::split_heads(keys, batch, key_heads);
    let values = composite::split_heads(values, batch, key_heads);
    let weights = composite::attention_weights(queries.clone(), keys.clone(), mask).reshape([
        batch,
        key_heads,
        group * length,
        seen,
    ]);
    let shared = |x: Tensor<B, 4>| x.reshape([batch, key_heads, group * length, size]);
    let (queries, dy) = (shared(queries), shared(composite::split_heads(dy, batch, heads)));
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

/// See [`super::gradients::TransformerGradients::packed_attention_gradient`].
pub fn packed_attention_gradient<B: PrimitiveOps>(
    dy: Tensor<B, 2>,
    packed: &Tensor<B, 2>,
    heads: usize,
    mask: &AttentionMask,
) -> Tensor<B, 2> {
    let [queries, keys, values] = composite::unpack_qkv(packed);
    let parts = attention_gradient(dy, queries, keys, values, mask, heads, heads);
    Tensor::cat(parts.into(), 1)
}

/// See [`super::gradients::TransformerGradients::linear_gradient`].
pub fn linear_gradient<B: PrimitiveOps>(
    dy: Tensor<B, 2>,
    inputs: LinearInputs<B>,
    required: RequiredGradients,
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
    if required.bias {
        found.bias = Some(cast_to(to_f32(dy.clone()).sum_dim(0), dy.dtype()));
    }
    if required.weight {
        found.weight = Some(match orientation {
            Orientation::InOut => x.clone().transpose().matmul(dy.clone()),
            Orientation::OutIn => dy.clone().transpose().matmul(x.clone()),
        });
    }
    if required.x {
        let back = composite::as_in_out(weight, orientation).transpose();
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
    let apply_dropout = |x| match dropout {
        Some(dropout) => B::apply_dropout(x, dropout),
        None => x,
    };
    let input = apply_dropout(x);
    if required.up {
        let low = input.clone().matmul(down.clone()).mul_scalar(scale);
        found.up = Some(low.transpose().matmul(dy.clone()));
    }
    let d_low = dy.matmul(up.transpose()).mul_scalar(scale);
    if required.down {
        found.down = Some(input.transpose().matmul(d_low.clone()));
    }
    if let Some(dx) = found.x.take() {
        let update = apply_dropout(d_low.matmul(down.transpose()));
        found.x = Some(dx + update);
    }
    found
}
