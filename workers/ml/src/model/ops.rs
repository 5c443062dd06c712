//! The three operations of a transformer that are worth more than their parts.
//!
//! Rule: each has one meaning, given by the composed form here; a backend may override the way, never the
//! result beyond rounding.

mod differentiable;

use burn::tensor::{Bool, Tensor, TensorPrimitive, activation, backend::Backend};

/// √(2/π), of the tanh form of GELU.
const ROOT: f64 = 0.797_884_560_802_865_4;
/// The cubic coefficient of the tanh form of GELU.
const CUBIC: f64 = 0.044_715;

/// What a backend must be able to do for [`super::Gpt2`].
pub trait TransformerOps: Backend {
    /// Layer normalisation of each row of `x` `[n, c]` with `gain` and `bias` `[1, c]` (arXiv:1607.06450).
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        let centred = x.clone() - x.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        centred * variance.add_scalar(epsilon).sqrt().recip() * gain + bias
    }

    /// GELU in its tanh form, Hugging Face's `gelu_new` (arXiv:1606.08415, section 2), element by element.
    ///
    /// Written with the sigmoid, for `(1 + tanh u) / 2 = sigmoid(2u)`.
    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let square = x.clone() * x.clone();
        let doubled = x.clone() * square.mul_scalar(2.0 * ROOT * CUBIC).add_scalar(2.0 * ROOT);
        x * activation::sigmoid(doubled)
    }

    /// Causal self-attention of `packed` `[batch · length, 3 · width]` (queries, keys, values side by side,
    /// each of `heads` heads side by side): `[batch · length, width]`.
    fn causal_attention(packed: Tensor<Self, 2>, batch: usize, heads: usize) -> Tensor<Self, 2> {
        let (queries, keys, values) = split_heads(&packed, batch, heads);
        attend(queries, keys, values, 0)
    }
}

impl TransformerOps for burn_flex::Flex {
    // Flex has it in one pass.
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        use burn::tensor::ops::ModuleOps;
        let width = x.dims()[1];
        let vector = |row: Tensor<Self, 2>| row.reshape([width]).into_primitive().tensor();
        let normed = Self::layer_norm(
            x.into_primitive().tensor(),
            vector(gain),
            Some(vector(bias)),
            epsilon,
        );
        Tensor::from_primitive(TensorPrimitive::Float(normed))
    }
}

/// Queries, keys and values of `packed` `[batch · length, 3 · width]`, each
/// `[batch, heads, length, width / heads]`.
pub fn split_heads<B: Backend>(
    packed: &Tensor<B, 2>,
    batch: usize,
    heads: usize,
) -> (Tensor<B, 4>, Tensor<B, 4>, Tensor<B, 4>) {
    let [rows, columns] = packed.dims();
    let (length, width) = (rows / batch, columns / 3);
    let part = |index: usize| {
        let columns = index * width..(index + 1) * width;
        packed
            .clone()
            .slice([0..rows, columns])
            .reshape([batch, length, heads, width / heads])
            .swap_dims(1, 2)
    };
    (part(0), part(1), part(2))
}

/// Softmax attention in which query `i` sees the keys `0..=seen + i`; heads are joined again:
/// `[batch · length, width]`.
pub fn attend<B: Backend>(
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    values: Tensor<B, 4>,
    seen: usize,
) -> Tensor<B, 2> {
    let [batch, heads, length, size] = queries.dims();
    let weights = attention_weights(queries, keys, seen);
    weights
        .matmul(values)
        .swap_dims(1, 2)
        .reshape([batch * length, heads * size])
}

/// The softmax of scaled, masked scores: `[batch, heads, length, seen + length]`.
pub(crate) fn attention_weights<B: Backend>(
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    seen: usize,
) -> Tensor<B, 4> {
    let [_, _, length, size] = queries.dims();
    let device = queries.device();
    let mut scores = queries
        .mul_scalar(1.0 / (size as f64).sqrt())
        .matmul(keys.swap_dims(2, 3));
    if length > 1 {
        let hidden = Tensor::<B, 2, Bool>::tril_mask([length, seen + length], seen as i64, &device);
        scores = scores
            .clone()
            .mask_fill(hidden.unsqueeze::<4>().expand(scores.dims()), f32::NEG_INFINITY);
    }
    activation::softmax(scores, 3)
}
