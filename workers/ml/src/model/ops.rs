//! The operations of a transformer that are worth more than their parts.
//!
//! Rule: each has one meaning, given by its composed form ([`composed`], gradients [`by_hand`]); a backend may override
//! the way, never the result beyond rounding. Rows are tokens: `n` is always `batch · length`.

pub mod by_hand;
pub mod composed;
#[cfg(feature = "cube")]
mod cube;
mod differentiable;
pub mod dropout;
mod flex;
pub mod gradients;
pub mod head;
pub mod sight;
#[cfg(test)]
mod tests;

use burn::tensor::{Tensor, activation, backend::Backend};

pub use self::{
    dropout::Dropout,
    gradients::{LinearGradients, LinearInputs, TransformerGradients, Wanted},
    head::{HeadLosses, HeadWanted},
    sight::Sight,
};

/// How a matrix of a linear layer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// `[in, out]`: GPT-2's `Conv1D`.
    InOut,
    /// `[out, in]`: `torch.nn.Linear`.
    OutIn,
}

/// A low-rank update beside a matrix (LoRA, arXiv:2106.09685): it adds `scale · drop(x) · down · up`.
#[derive(Clone, Debug)]
pub struct LowRank<B: Backend> {
    /// `[in, rank]`, LoRA's A.
    pub down: Tensor<B, 2>,
    /// `[rank, out]`, LoRA's B.
    pub up: Tensor<B, 2>,
    /// `alpha / rank`, or `alpha / √rank` for rsLoRA (arXiv:2312.03732).
    pub scale: f64,
    /// What is dropped of its input; nothing outside of training.
    pub dropout: Option<Dropout>,
}

/// What a backend must be able to do for a transformer.
pub trait TransformerOps: Backend {
    /// Layer normalisation of each row of `x` `[n, c]` with `gain` and `bias` `[1, c]` (arXiv:1607.06450).
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        composed::layer_norm_rows(x, gain, bias, epsilon)
    }

    /// Root-mean-square normalisation of each row of `x` `[n, c]` with `gain` `[1, c]` (arXiv:1910.07467):
    /// `gain · x / √(mean(x²) + epsilon)`, as Hugging Face's `LlamaRMSNorm` computes it.
    fn rms_norm_rows(x: Tensor<Self, 2>, gain: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        composed::rms_norm_rows(x, gain, epsilon)
    }

    /// GELU in its tanh form, Hugging Face's `gelu_new` (arXiv:1606.08415, section 2), element by element.
    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composed::gelu_new(x)
    }

    /// GELU by the error function, `torch.nn.GELU()`, element by element.
    fn gelu_erf(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        activation::gelu(x)
    }

    /// `silu(gate) · up`, element by element, of `gate` and `up` `[n, f]` (SwiGLU, arXiv:2002.05202).
    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composed::swiglu(gate, up)
    }

    /// Rotary positions (arXiv:2104.09864) in Hugging Face's `rotate_half` form: of each of `heads` heads of `x`
    /// `[n, heads · size]`, number `i` and number `i + size / 2` are turned by the angle whose `cos` and `sin`
    /// stand in column `i` of `[n, size / 2]`. The angles are data: no gradient flows to them.
    fn rotate(
        x: Tensor<Self, 2>,
        cos: Tensor<Self, 2>,
        sin: Tensor<Self, 2>,
        heads: usize,
    ) -> Tensor<Self, 2> {
        composed::rotate(x, cos, sin, heads)
    }

    /// Softmax attention (arXiv:1706.03762) of `queries` `[batch · q, heads · size]` over `keys` and `values`
    /// `[batch · k, key_heads · size]`, each limited to its `sight`: `[batch · q, heads · size]`.
    ///
    /// `heads / key_heads` neighbouring heads share one key head (arXiv:2305.13245). With fewer queries than
    /// keys (a cache), the queries stand for the last `q` of the `k` positions.
    fn attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        sight: &Sight,
        heads: usize,
        key_heads: usize,
    ) -> Tensor<Self, 2> {
        composed::attention(queries, keys, values, sight, heads, key_heads)
    }

    /// Softmax attention in which all see all: sequences of one length in rows, `[batch · length, heads · size]`
    /// each, of which the first `lengths[sequence]` keys (at least 1) are seen and the rest is padding.
    fn whole_attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        lengths: &[usize],
        heads: usize,
    ) -> Tensor<Self, 2> {
        composed::whole_attention(queries, keys, values, lengths, heads)
    }

    /// Self-attention of `packed` `[n, 3 · width]`: queries, keys and values side by side, each of `heads`
    /// heads, as GPT-2's `c_attn` gives them: `[n, width]`.
    fn packed_attention(packed: Tensor<Self, 2>, heads: usize, sight: &Sight) -> Tensor<Self, 2> {
        composed::packed_attention(&packed, heads, sight)
    }

    /// `x · weight + bias`, with the update of `adapter` where there is one: `[n, in]` → `[n, out]`.
    ///
    /// `bias` is `[1, out]`.
    fn linear(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        orientation: Orientation,
        bias: Option<Tensor<Self, 2>>,
        adapter: Option<LowRank<Self>>,
    ) -> Tensor<Self, 2> {
        composed::linear(x, weight, orientation, bias, adapter)
    }

    /// The weights of attention: of each row of `factor · scores` `[batch, heads, queries, keys]` the softmax over
    /// the keys within `sight`, and 0 for the others.
    fn softmax_in_sight(scores: Tensor<Self, 4>, sight: &Sight, factor: f64) -> Tensor<Self, 4> {
        composed::softmax_in_sight(scores, sight, factor)
    }

    /// `x` with the elements that `dropout` drops set to 0 and the others scaled up.
    fn dropped(x: Tensor<Self, 2>, dropout: Dropout) -> Tensor<Self, 2> {
        composed::dropped(x, dropout)
    }
}
