//! The operations of [`super::transformer`] as compositions of tensor operations: their definition, and the reference in
//! tests.
//!
//! Rules: differentiated by burn's autodiff, they have the gradients that [`super::backward`] computes. Tensors of fewer
//! than 32 bits are handled as [`super::precision`] says.

use burn::tensor::{Bool, Tensor, TensorData, activation, backend::Backend};

use super::{
    attention_mask::AttentionMask,
    linear::{LowRank, Orientation},
    precision::{cast_to, to_f32},
    primitive::PrimitiveOps,
};

/// √(2/π), of the tanh form of GELU.
pub const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient of the tanh form of GELU.
pub const GELU_CUBIC: f64 = 0.044_715;

/// See [`super::transformer::TransformerOps::layer_norm_rows`].
pub fn layer_norm_rows<B: Backend>(
    x: Tensor<B, 2>,
    gain: Tensor<B, 2>,
    bias: Tensor<B, 2>,
    epsilon: f64,
) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let (normalized, _) = normalize(to_f32(x), epsilon);
    cast_to(normalized * to_f32(gain) + to_f32(bias), dtype)
}

/// Rows with mean 0 and variance 1, and the reciprocal standard deviations `[n, 1]`.
pub(super) fn normalize<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centred = x.clone() - x.mean_dim(1);
    let (_, scale) = rms_normalize(centred.clone(), epsilon);
    (centred * scale.clone(), scale)
}

/// See [`super::transformer::TransformerOps::rms_norm_rows`].
pub fn rms_norm_rows<B: Backend>(x: Tensor<B, 2>, gain: Tensor<B, 2>, epsilon: f64) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let (normalized, _) = rms_normalize(to_f32(x), epsilon);
    cast_to(normalized * to_f32(gain), dtype)
}

/// Rows with mean square 1, and their scale factors `[n, 1]`.
pub(super) fn rms_normalize<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let scale = (x.clone() * x.clone())
        .mean_dim(1)
        .add_scalar(epsilon)
        .sqrt()
        .recip();
    (x * scale.clone(), scale)
}

/// See [`super::transformer::TransformerOps::gelu_new`]. Written with the sigmoid, for `(1 + tanh u) / 2 = sigmoid(2u)`.
pub fn gelu_new<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let x = to_f32(x);
    let gate = gelu_sigmoid(&x);
    cast_to(x * gate, dtype)
}

/// The sigmoid that GELU multiplies its input by.
pub(super) fn gelu_sigmoid<B: Backend>(x: &Tensor<B, 2>) -> Tensor<B, 2> {
    let square = x.clone() * x.clone();
    activation::sigmoid(
        x.clone()
            * square
                .mul_scalar(2.0 * SQRT_2_OVER_PI * GELU_CUBIC)
                .add_scalar(2.0 * SQRT_2_OVER_PI),
    )
}

/// See [`super::transformer::TransformerOps::swiglu`].
pub fn swiglu<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>) -> Tensor<B, 2> {
    let dtype = up.dtype();
    let gate = to_f32(gate);
    cast_to(gate.clone() * activation::sigmoid(gate) * to_f32(up), dtype)
}

/// See [`super::transformer::TransformerOps::rotate`].
pub fn rotate<B: Backend>(
    x: Tensor<B, 2>,
    cos: Tensor<B, 2>,
    sin: Tensor<B, 2>,
    heads: usize,
) -> Tensor<B, 2> {
    let [rows, width] = x.dims();
    let half = width / heads / 2;
    let dtype = x.dtype();
    let x = to_f32(x).reshape([rows, heads, 2 * half]);
    let (low, high) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let (cos, sin) = (cos.unsqueeze_dim::<3>(1), sin.unsqueeze_dim::<3>(1));
    let turned = vec![
        low.clone() * cos.clone() - high.clone() * sin.clone(),
        high * cos + low * sin,
    ];
    cast_to(Tensor::cat(turned, 2), dtype).reshape([rows, width])
}

/// See [`super::transformer::TransformerOps::attention`].
pub fn attention<B: PrimitiveOps>(
    queries: Tensor<B, 2>,
    keys: Tensor<B, 2>,
    values: Tensor<B, 2>,
    mask: &AttentionMask,
    heads: usize,
    key_heads: usize,
) -> Tensor<B, 2> {
    let [rows, width] = queries.dims();
    let (length, _) = mask.lengths(rows, keys.dims()[0]);
    let queries = split_heads(queries, mask.batch, heads);
    let keys = split_heads(keys, mask.batch, key_heads);
    let values = split_heads(values, mask.batch, key_heads);
    let weights = attention_weights(queries, keys, mask);
    let size = width / heads;
    let group = heads / key_heads;
    weights
        .reshape([mask.batch as i32, key_heads as i32, (group * length) as i32, -1])
        .matmul(values)
        .reshape([mask.batch, heads, length, size])
        .swap_dims(1, 2)
        .reshape([rows, width])
}

/// See [`super::transformer::TransformerOps::bidirectional_attention`].
pub fn bidirectional_attention<B: Backend>(
    queries: Tensor<B, 2>,
    keys: Tensor<B, 2>,
    values: Tensor<B, 2>,
    lengths: &[usize],
    heads: usize,
) -> Tensor<B, 2> {
    let ([rows, width], batch) = (queries.dims(), lengths.len());
    let (length, size) = (rows / batch, width / heads);
    let queries = split_heads(queries, batch, heads).mul_scalar(1.0 / (size as f64).sqrt());
    let mut scores = queries.matmul(split_heads(keys, batch, heads).swap_dims(2, 3));
    if lengths.iter().any(|read| *read < length) {
        let row = |read: &usize| {
            let read = *read;
            (0..length).map(move |place| place >= read)
        };
        let padding: Vec<bool> = lengths.iter().flat_map(row).collect();
        let padding = TensorData::new(padding, [batch, 1, 1, length]);
        let padding = Tensor::<B, 4, Bool>::from_data(padding, &scores.device());
        scores = scores
            .clone()
            .mask_fill(padding.expand(scores.dims()), f32::NEG_INFINITY);
    }
    activation::softmax(scores, 3)
        .matmul(split_heads(values, batch, heads))
        .swap_dims(1, 2)
        .reshape([rows, width])
}

/// `[batch · length, heads · size]` → `[batch, heads, length, size]`.
pub(super) fn split_heads<B: Backend>(x: Tensor<B, 2>, batch: usize, heads: usize) -> Tensor<B, 4> {
    let [rows, width] = x.dims();
    x.reshape([batch, rows / batch, heads, width / heads])
        .swap_dims(1, 2)
}

/// The masked softmax of scaled scores: `[batch, heads, queries, keys]` for `queries` `[batch, heads, q, size]` and
/// `keys` `[batch, key_heads, k, size]`.
pub(super) fn attention_weights<B: PrimitiveOps>(
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    mask: &AttentionMask,
) -> Tensor<B, 4> {
    let [batch, heads, length, size] = queries.dims();
    let [_, key_heads, seen, _] = keys.dims();
    let group = heads / key_heads;
    let scores = queries
        .reshape([batch, key_heads, group * length, size])
        .matmul(keys.swap_dims(2, 3))
        .reshape([batch, heads, length, seen]);
    B::masked_softmax(scores, mask, 1.0 / (size as f64).sqrt())
}

/// See [`super::transformer::TransformerOps::packed_attention`].
pub fn packed_attention<B: PrimitiveOps>(
    packed: &Tensor<B, 2>,
    heads: usize,
    mask: &AttentionMask,
) -> Tensor<B, 2> {
    let [queries, keys, values] = unpack_qkv(packed);
    attention(queries, keys, values, mask, heads, heads)
}

/// Queries, keys and values of `[n, 3 · width]`.
pub(super) fn unpack_qkv<B: Backend>(packed: &Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let width = packed.dims()[1] / 3;
    [0, 1, 2].map(|part| packed.clone().narrow(1, part * width, width))
}

/// See [`super::transformer::TransformerOps::linear`].
pub fn linear<B: PrimitiveOps>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    orientation: Orientation,
    bias: Option<Tensor<B, 2>>,
    adapter: Option<LowRank<B>>,
) -> Tensor<B, 2> {
    let mut output = x.clone().matmul(as_in_out(weight, orientation));
    if let Some(bias) = bias {
        output = output + bias;
    }
    let Some(LowRank {
        down,
        up,
        scale,
        dropout,
    }) = adapter
    else {
        return output;
    };
    let input = match dropout {
        Some(dropout) => B::apply_dropout(x, dropout),
        None => x,
    };
    output + input.matmul(down).mul_scalar(scale).matmul(up)
}

/// A weight as `[in, out]`.
pub(super) fn as_in_out<B: Backend>(weight: Tensor<B, 2>, orientation: Orientation) -> Tensor<B, 2> {
    match orientation {
        Orientation::InOut => weight,
        Orientation::OutIn => weight.transpose(),
    }
}
