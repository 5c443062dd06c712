//! The operations composed of those every backend has: their meaning, and the oracle of the tests.
//!
//! Rules: differentiated by burn's own rules, these give the gradients that [`super::gradients`] works by hand. Of
//! matrices in fewer than 32 bits (bfloat16 on a GPU), means, sums and softmax are worked out in 32 bits and
//! rounded once, at the end, as PyTorch's kernels do it.

use burn::tensor::{Bool, DType, FloatDType, Int, Tensor, TensorData, activation, backend::Backend};

use super::{Dropout, LowRank, Orientation, Sight, TransformerOps};

/// √(2/π), of the tanh form of GELU.
pub const ROOT: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient of the tanh form of GELU.
pub const CUBIC: f64 = 0.044_715;

/// `x` in 32-bit floats.
pub(crate) fn wide<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match x.dtype() {
        DType::F32 => x,
        _ => x.cast(FloatDType::F32),
    }
}

/// `x` in the floats that `model` has.
pub(crate) fn like<B: Backend, const D: usize>(x: Tensor<B, D>, model: DType) -> Tensor<B, D> {
    match x.dtype() == model {
        true => x,
        false => x.cast(model),
    }
}

/// See [`super::TransformerOps::layer_norm_rows`].
pub fn layer_norm_rows<B: Backend>(
    x: Tensor<B, 2>,
    gain: Tensor<B, 2>,
    bias: Tensor<B, 2>,
    epsilon: f64,
) -> Tensor<B, 2> {
    let model = x.dtype();
    let (normed, _) = normalised(wide(x), epsilon);
    like(normed * wide(gain) + wide(bias), model)
}

/// Rows with mean 0 and variance 1, and the 1 / deviation `[n, 1]` of each.
pub(super) fn normalised<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centred = x.clone() - x.mean_dim(1);
    let (_, scale) = unit(centred.clone(), epsilon);
    (centred * scale.clone(), scale)
}

/// See [`super::TransformerOps::rms_norm_rows`].
pub fn rms_norm_rows<B: Backend>(x: Tensor<B, 2>, gain: Tensor<B, 2>, epsilon: f64) -> Tensor<B, 2> {
    let model = x.dtype();
    let (normed, _) = unit(wide(x), epsilon);
    like(normed * wide(gain), model)
}

/// Rows with mean square 1, and what each was multiplied by, `[n, 1]`.
pub(super) fn unit<B: Backend>(x: Tensor<B, 2>, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let scale = (x.clone() * x.clone())
        .mean_dim(1)
        .add_scalar(epsilon)
        .sqrt()
        .recip();
    (x * scale.clone(), scale)
}

/// See [`super::TransformerOps::gelu_new`]. Written with the sigmoid, for `(1 + tanh u) / 2 = sigmoid(2u)`.
pub fn gelu_new<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let model = x.dtype();
    let x = wide(x);
    let gate = gelu_gate(&x);
    like(x * gate, model)
}

/// What GELU multiplies its input by.
pub(super) fn gelu_gate<B: Backend>(x: &Tensor<B, 2>) -> Tensor<B, 2> {
    let square = x.clone() * x.clone();
    activation::sigmoid(x.clone() * square.mul_scalar(2.0 * ROOT * CUBIC).add_scalar(2.0 * ROOT))
}

/// See [`super::TransformerOps::swiglu`].
pub fn swiglu<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>) -> Tensor<B, 2> {
    let model = up.dtype();
    let gate = wide(gate);
    like(gate.clone() * activation::sigmoid(gate) * wide(up), model)
}

/// See [`super::TransformerOps::rotate`].
pub fn rotate<B: Backend>(
    x: Tensor<B, 2>,
    cos: Tensor<B, 2>,
    sin: Tensor<B, 2>,
    heads: usize,
) -> Tensor<B, 2> {
    let [rows, width] = x.dims();
    let half = width / heads / 2;
    let model = x.dtype();
    let x = wide(x).reshape([rows, heads, 2 * half]);
    let (low, high) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let (cos, sin) = (cos.unsqueeze_dim::<3>(1), sin.unsqueeze_dim::<3>(1));
    let turned = vec![
        low.clone() * cos.clone() - high.clone() * sin.clone(),
        high * cos + low * sin,
    ];
    like(Tensor::cat(turned, 2), model).reshape([rows, width])
}

/// See [`super::TransformerOps::attention`].
pub fn attention<B: TransformerOps>(
    queries: Tensor<B, 2>,
    keys: Tensor<B, 2>,
    values: Tensor<B, 2>,
    sight: &Sight,
    heads: usize,
    key_heads: usize,
) -> Tensor<B, 2> {
    let [rows, width] = queries.dims();
    let (length, _) = sight.lengths(rows, keys.dims()[0]);
    let queries = split(queries, sight.batch, heads);
    let keys = split(keys, sight.batch, key_heads);
    let values = split(values, sight.batch, key_heads);
    let weights = attention_weights(queries, keys, sight);
    let size = width / heads;
    let group = heads / key_heads;
    weights
        .reshape([sight.batch as i32, key_heads as i32, (group * length) as i32, -1])
        .matmul(values)
        .reshape([sight.batch, heads, length, size])
        .swap_dims(1, 2)
        .reshape([rows, width])
}

/// See [`super::TransformerOps::whole_attention`].
pub fn whole_attention<B: Backend>(
    queries: Tensor<B, 2>,
    keys: Tensor<B, 2>,
    values: Tensor<B, 2>,
    lengths: &[usize],
    heads: usize,
) -> Tensor<B, 2> {
    let ([rows, width], batch) = (queries.dims(), lengths.len());
    let (length, size) = (rows / batch, width / heads);
    let queries = split(queries, batch, heads).mul_scalar(1.0 / (size as f64).sqrt());
    let mut scores = queries.matmul(split(keys, batch, heads).swap_dims(2, 3));
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
        .matmul(split(values, batch, heads))
        .swap_dims(1, 2)
        .reshape([rows, width])
}

/// `[batch · length, heads · size]` → `[batch, heads, length, size]`.
pub(super) fn split<B: Backend>(x: Tensor<B, 2>, batch: usize, heads: usize) -> Tensor<B, 4> {
    let [rows, width] = x.dims();
    x.reshape([batch, rows / batch, heads, width / heads])
        .swap_dims(1, 2)
}

/// The softmax of scaled scores within sight: `[batch, heads, queries, keys]` of `queries`
/// `[batch, heads, q, size]` and `keys` `[batch, key_heads, k, size]`.
pub(super) fn attention_weights<B: TransformerOps>(
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    sight: &Sight,
) -> Tensor<B, 4> {
    let [batch, heads, length, size] = queries.dims();
    let [_, key_heads, seen, _] = keys.dims();
    let group = heads / key_heads;
    let scores = queries
        .reshape([batch, key_heads, group * length, size])
        .matmul(keys.swap_dims(2, 3))
        .reshape([batch, heads, length, seen]);
    B::softmax_in_sight(scores, sight, 1.0 / (size as f64).sqrt())
}

/// See [`super::TransformerOps::softmax_in_sight`].
pub fn softmax_in_sight<B: Backend>(scores: Tensor<B, 4>, sight: &Sight, factor: f64) -> Tensor<B, 4> {
    let [_, _, queries, keys] = scores.dims();
    let model = scores.dtype();
    let scores = wide(scores).mul_scalar(factor);
    let scores = match hidden(sight, queries, keys, &scores.device()) {
        Some(hidden) => {
            let hidden = hidden.expand(scores.dims());
            scores.mask_fill(hidden, f32::NEG_INFINITY)
        }
        None => scores,
    };
    like(activation::softmax(scores, 3), model)
}

/// True where a query does not see a key, `[batch or 1, 1, queries, keys]`; `None` where all see all.
fn hidden<B: Backend>(
    sight: &Sight,
    queries: usize,
    keys: usize,
    device: &B::Device,
) -> Option<Tensor<B, 4, Bool>> {
    let after = || Tensor::<B, 2, Bool>::tril_mask([queries, keys], (keys - queries) as i64, device);
    if sight.first.is_none() {
        return (queries > 1).then(|| after().unsqueeze::<4>());
    }
    let first: Vec<i32> = (0..sight.batch * queries)
        .map(|row| sight.range(row / queries, row % queries, queries, keys).start as i32)
        .collect();
    let shape = [sight.batch, 1, queries, 1];
    let first = Tensor::<B, 4, Int>::from_data(TensorData::new(first, shape), device);
    let place = Tensor::<B, 1, Int>::arange(0..keys as i64, device).unsqueeze::<4>();
    let full = [sight.batch, 1, queries, keys];
    let before = place.expand(full).lower(first.expand(full));
    Some(before.bool_or(after().unsqueeze::<4>().expand(full)))
}

/// See [`super::TransformerOps::packed_attention`].
pub fn packed_attention<B: TransformerOps>(
    packed: &Tensor<B, 2>,
    heads: usize,
    sight: &Sight,
) -> Tensor<B, 2> {
    let [queries, keys, values] = unpack(packed);
    attention(queries, keys, values, sight, heads, heads)
}

/// Queries, keys and values of `[n, 3 · width]`.
pub(super) fn unpack<B: Backend>(packed: &Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let width = packed.dims()[1] / 3;
    [0, 1, 2].map(|part| packed.clone().narrow(1, part * width, width))
}

/// See [`super::TransformerOps::linear`].
pub fn linear<B: TransformerOps>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    orientation: Orientation,
    bias: Option<Tensor<B, 2>>,
    adapter: Option<LowRank<B>>,
) -> Tensor<B, 2> {
    let mut output = x.clone().matmul(in_out(weight, orientation));
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
        Some(dropout) => B::dropped(x, dropout),
        None => x,
    };
    output + input.matmul(down).mul_scalar(scale).matmul(up)
}

/// A weight as `[in, out]`.
pub(super) fn in_out<B: Backend>(weight: Tensor<B, 2>, orientation: Orientation) -> Tensor<B, 2> {
    match orientation {
        Orientation::InOut => weight,
        Orientation::OutIn => weight.transpose(),
    }
}

/// See [`super::TransformerOps::dropped`]: the mask is drawn by the processor.
pub fn dropped<B: Backend>(x: Tensor<B, 2>, dropout: Dropout) -> Tensor<B, 2> {
    let [rows, columns] = x.dims();
    let mut factors = vec![0.0; rows * columns];
    dropout.factors(0, &mut factors);
    let factors = Tensor::from_data(TensorData::new(factors, [rows, columns]), &x.device());
    let model = x.dtype();
    x * like(factors, model)
}
