//! The forward operations of a transformer.
//!
//! Rule: each is defined by its form in [`super::composite`]; a backend may change how it is computed, never the result
//! beyond rounding. Rows are tokens: `n` is always `batch · length`.

use burn::tensor::{Tensor, activation};

use super::{
    attention_mask::AttentionMask,
    composite,
    linear::{LowRank, Orientation},
    primitive::PrimitiveOps,
};

/// The forward operations of a transformer.
pub trait TransformerOps: PrimitiveOps {
    /// Layer normalisation of each row of `x` `[n, c]` with `gain` and `bias` `[1, c]` (arXiv:1607.06450).
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        composite::layer_norm_rows(x, gain, bias, epsilon)
    }

    /// Root-mean-square normalisation of each row of `x` `[n, c]` with `gain` `[1, c]` (arXiv:1910.07467):
    /// `gain · x / √(mean(x²) + epsilon)`, as Hugging Face's `LlamaRMSNorm` computes it.
    fn rms_norm_rows(x: Tensor<Self, 2>, gain: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        composite::rms_norm_rows(x, gain, epsilon)
    }

    /// GELU in its tanh form, Hugging Face's `gelu_new` (arXiv:1606.08415, section 2), element by element.
    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composite::gelu_new(x)
    }

    /// GELU by the error function, `torch.nn.GELU()`, element by element.
    fn gelu_erf(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        activation::gelu(x)
    }

    /// `silu(gate) · up`, element by element, of `gate` and `up` `[n, f]` (SwiGLU, arXiv:2002.05202).
    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composite::swiglu(gate, up)
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
        composite::rotate(x, cos, sin, heads)
    }

    /// Softmax attention (arXiv:1706.03762) of `queries` `[batch · q, heads · size]` over `keys` and `values`
    /// `[batch · k, key_heads · size]`, each limited to its `mask`: `[batch · q, heads · size]`.
    ///
    /// `heads / key_heads` neighbouring heads share one key head (arXiv:2305.13245). With fewer queries than
    /// keys (a cache), the queries stand for the last `q` of the `k` positions.
    fn attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        mask: &AttentionMask,
        heads: usize,
        key_heads: usize,
    ) -> Tensor<Self, 2> {
        composite::attention(queries, keys, values, mask, heads, key_heads)
    }

    /// Softmax attention in which all see all: sequences of one length in rows, `[batch · length, heads · size]`
    /// each, of which the first `lengths[sequence]` keys (at least 1) are seen and the rest is padding.
    fn bidirectional_attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        lengths: &[usize],
        heads: usize,
    ) -> Tensor<Self, 2> {
        composite::bidirectional_attention(queries, keys, values, lengths, heads)
    }

    /// Self-attention of `packed` `[n, 3 · width]`: queries, keys and values side by side, each of `heads`
    /// heads, as GPT-2's `c_attn` gives them: `[n, width]`.
    fn packed_attention(packed: Tensor<Self, 2>, heads: usize, mask: &AttentionMask) -> Tensor<Self, 2> {
        composite::packed_attention(&packed, heads, mask)
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
        composite::linear(x, weight, orientation, bias, adapter)
    }
}
