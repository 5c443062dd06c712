//! The operations on Flex, burn's CPU backend, as kernels over host memory.
//!
//! Rules: work is split by the shapes alone, never by the number of threads, and every sum has a fixed order, so
//! results are bit-identical whatever the number of threads. Vector instructions are chosen at run time (`pulp`,
//! `gemm`); unshared buffers are reused in place.

mod attention;
mod elementwise;
mod head;
mod host;
mod linear;
mod matrix;
mod norms;
mod simd;

use burn::tensor::Tensor;
use burn_flex::Flex;

use self::{
    attention::Heads,
    host::{HostMatrix, is_low_precision, tensor},
};
use super::{
    attention_mask::AttentionMask,
    backward, composite,
    gradients::TransformerGradients,
    head::{self as composite_head, HeadLossRequest, HeadLosses, MAX_SCORES},
    linear::{LinearGradients, LinearInputs, LowRank, Orientation, RequiredGradients},
    primitive::PrimitiveOps,
    transformer::TransformerOps,
};
use crate::failure::Failure;

impl PrimitiveOps for Flex {}

impl TransformerOps for Flex {
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        if is_low_precision(&x) {
            return composite::layer_norm_rows(x, gain, bias, epsilon);
        }
        let shape = x.dims();
        let (x, gain, bias) = (HostMatrix::new(x), HostMatrix::new(gain), HostMatrix::new(bias));
        tensor(
            norms::layer_norm(x.as_slice(), gain.as_slice(), bias.as_slice(), epsilon as f32),
            shape,
        )
    }

    fn rms_norm_rows(x: Tensor<Self, 2>, gain: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        if is_low_precision(&x) {
            return composite::rms_norm_rows(x, gain, epsilon);
        }
        let shape = x.dims();
        let (x, gain) = (HostMatrix::new(x), HostMatrix::new(gain));
        tensor(
            norms::rms_norm(x.as_slice(), gain.as_slice(), epsilon as f32),
            shape,
        )
    }

    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if is_low_precision(&x) {
            return composite::gelu_new(x);
        }
        let shape = x.dims();
        tensor(elementwise::gelu_new(HostMatrix::new(x)), shape)
    }

    fn gelu_erf(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let shape = x.dims();
        tensor(elementwise::gelu(HostMatrix::new(x)), shape)
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if is_low_precision(&up) {
            return composite::swiglu(gate, up);
        }
        let shape = gate.dims();
        let (gate, up) = (HostMatrix::new(gate), HostMatrix::new(up));
        tensor(elementwise::swiglu(gate.as_slice(), up.as_slice()), shape)
    }

    fn rotate(
        x: Tensor<Self, 2>,
        cos: Tensor<Self, 2>,
        sin: Tensor<Self, 2>,
        heads: usize,
    ) -> Tensor<Self, 2> {
        if is_low_precision(&x) {
            return composite::rotate(x, cos, sin, heads);
        }
        let shape = x.dims();
        let (x, cos, sin) = (HostMatrix::new(x), HostMatrix::new(cos), HostMatrix::new(sin));
        tensor(
            elementwise::rotate(x.into_vec(), shape[1], cos.as_slice(), sin.as_slice(), heads),
            shape,
        )
    }

    fn attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        mask: &AttentionMask,
        heads: usize,
        key_heads: usize,
    ) -> Tensor<Self, 2> {
        if is_low_precision(&queries) {
            return composite::attention(queries, keys, values, mask, heads, key_heads);
        }
        let (shape, key_shape) = (queries.dims(), keys.dims());
        let size = shape[1] / heads;
        let (queries, keys, values) = (
            HostMatrix::new(queries),
            HostMatrix::new(keys),
            HostMatrix::new(values),
        );
        let output = attention::masked(
            Heads::new(queries.as_slice(), shape, 0, size),
            Heads::new(keys.as_slice(), key_shape, 0, size),
            Heads::new(values.as_slice(), key_shape, 0, size),
            mask,
            heads,
            key_heads,
        );
        tensor(output, shape)
    }

    fn bidirectional_attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        lengths: &[usize],
        heads: usize,
    ) -> Tensor<Self, 2> {
        let shape = queries.dims();
        let hosts = [queries, keys, values].map(HostMatrix::new);
        let [queries, keys, values] =
            [0, 1, 2].map(|index| Heads::new(hosts[index].as_slice(), shape, 0, shape[1] / heads));
        tensor(
            attention::bidirectional(queries, keys, values, lengths, heads),
            shape,
        )
    }

    fn packed_attention(packed: Tensor<Self, 2>, heads: usize, mask: &AttentionMask) -> Tensor<Self, 2> {
        if is_low_precision(&packed) {
            return composite::packed_attention(&packed, heads, mask);
        }
        let shape = packed.dims();
        let width = shape[1] / 3;
        let packed = HostMatrix::new(packed);
        let part = |index: usize| Heads::new(packed.as_slice(), shape, index * width, width / heads);
        let output = attention::masked(part(0), part(1), part(2), mask, heads, heads);
        tensor(output, [shape[0], width])
    }

    fn linear(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        orientation: Orientation,
        bias: Option<Tensor<Self, 2>>,
        adapter: Option<LowRank<Self>>,
    ) -> Tensor<Self, 2> {
        if is_low_precision(&x) {
            return composite::linear(x, weight, orientation, bias, adapter);
        }
        linear::forward(x, weight, orientation, bias, adapter)
    }
}

impl TransformerGradients for Flex {
    fn layer_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<[Tensor<Self, 2>; 2]>) {
        if is_low_precision(&x) {
            return backward::layer_norm_gradient(dy, x, gain, epsilon, affine);
        }
        let shape = x.dims();
        let (dy, x, gain) = (HostMatrix::new(dy), HostMatrix::new(x), HostMatrix::new(gain));
        let affine = affine.then(|| {
            norms::layer_norm_affine(dy.as_slice(), x.as_slice(), shape[1], epsilon as f32)
                .map(|row| tensor(row, [1, shape[1]]))
        });
        let dx = norms::layer_norm_backward(dy.into_vec(), x.as_slice(), gain.as_slice(), epsilon as f32);
        (tensor(dx, shape), affine)
    }

    fn rms_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<Tensor<Self, 2>>) {
        if is_low_precision(&x) {
            return backward::rms_norm_gradient(dy, x, gain, epsilon, affine);
        }
        let shape = x.dims();
        let (dy, x, gain) = (HostMatrix::new(dy), HostMatrix::new(x), HostMatrix::new(gain));
        let affine = affine.then(|| {
            let row = norms::rms_norm_affine(dy.as_slice(), x.as_slice(), shape[1], epsilon as f32);
            tensor(row, [1, shape[1]])
        });
        let dx = norms::rms_norm_backward(dy.into_vec(), x.as_slice(), gain.as_slice(), epsilon as f32);
        (tensor(dx, shape), affine)
    }

    fn gelu_new_gradient(dy: Tensor<Self, 2>, x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if is_low_precision(&x) {
            return backward::gelu_new_gradient(dy, x);
        }
        let shape = x.dims();
        let (dy, x) = (HostMatrix::new(dy), HostMatrix::new(x));
        tensor(elementwise::gelu_new_backward(dy.into_vec(), x.as_slice()), shape)
    }

    fn swiglu_gradient(
        dy: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        if is_low_precision(&up) {
            return backward::swiglu_gradient(dy, gate, up);
        }
        let shape = gate.dims();
        let (dy, gate, up) = (HostMatrix::new(dy), HostMatrix::new(gate), HostMatrix::new(up));
        let [gate, up] = elementwise::swiglu_backward(dy.as_slice(), gate.into_vec(), up.into_vec());
        [tensor(gate, shape), tensor(up, shape)]
    }

    fn attention_gradient(
        dy: Tensor<Self, 2>,
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        mask: &AttentionMask,
        heads: usize,
        key_heads: usize,
    ) -> [Tensor<Self, 2>; 3] {
        if is_low_precision(&queries) {
            return backward::attention_gradient(dy, queries, keys, values, mask, heads, key_heads);
        }
        let (shape, key_shape) = (queries.dims(), keys.dims());
        let size = shape[1] / heads;
        let (dy, queries, keys, values) = (
            HostMatrix::new(dy),
            HostMatrix::new(queries),
            HostMatrix::new(keys),
            HostMatrix::new(values),
        );
        let mut found = [shape, key_shape, key_shape].map(|[rows, width]| vec![0.0; rows * width]);
        let [d_queries, d_keys, d_values] = &mut found;
        let mut rows = attention::GradientRows::default();
        rows.queries.extend(d_queries.chunks_exact_mut(size));
        rows.keys.extend(d_keys.chunks_exact_mut(size));
        rows.values.extend(d_values.chunks_exact_mut(size));
        let inputs = attention::Inputs {
            dy: Heads::new(dy.as_slice(), shape, 0, size),
            queries: Heads::new(queries.as_slice(), shape, 0, size),
            keys: Heads::new(keys.as_slice(), key_shape, 0, size),
            values: Heads::new(values.as_slice(), key_shape, 0, size),
            mask,
            heads,
            key_heads,
        };
        attention::backward(inputs, rows);
        let [d_queries, d_keys, d_values] = found;
        [
            tensor(d_queries, shape),
            tensor(d_keys, key_shape),
            tensor(d_values, key_shape),
        ]
    }

    fn packed_attention_gradient(
        dy: Tensor<Self, 2>,
        packed: Tensor<Self, 2>,
        heads: usize,
        mask: &AttentionMask,
    ) -> Tensor<Self, 2> {
        if is_low_precision(&packed) {
            return backward::packed_attention_gradient(dy, &packed, heads, mask);
        }
        let shape = packed.dims();
        let width = shape[1] / 3;
        let size = width / heads;
        let (dy, packed) = (HostMatrix::new(dy), HostMatrix::new(packed));
        let part = |index: usize| Heads::new(packed.as_slice(), shape, index * width, size);
        let mut found = vec![0.0; shape[0] * shape[1]];
        let mut rows = attention::GradientRows::default();
        for (index, piece) in found.chunks_exact_mut(size).enumerate() {
            match index / heads % 3 {
                0 => rows.queries.push(piece),
                1 => rows.keys.push(piece),
                _ => rows.values.push(piece),
            }
        }
        let inputs = attention::Inputs {
            dy: Heads::new(dy.as_slice(), [shape[0], width], 0, size),
            queries: part(0),
            keys: part(1),
            values: part(2),
            mask,
            heads,
            key_heads: heads,
        };
        attention::backward(inputs, rows);
        tensor(found, shape)
    }

    fn linear_gradient(
        dy: Tensor<Self, 2>,
        inputs: LinearInputs<Self>,
        required: RequiredGradients,
    ) -> LinearGradients<Self> {
        if is_low_precision(&inputs.x) {
            return backward::linear_gradient(dy, inputs, required);
        }
        linear::backward(dy, inputs, required)
    }

    fn head_losses(
        states: Tensor<Self, 2>,
        head: Tensor<Self, 2>,
        tokens: &[i32],
        required: HeadLossRequest,
    ) -> Result<HeadLosses<Self>, Failure> {
        if is_low_precision(&states) {
            return composite_head::losses(&states, &head, tokens, required, MAX_SCORES);
        }
        let (shape, head_shape) = (states.dims(), head.dims());
        let (states, head) = (HostMatrix::new(states), HostMatrix::new(head));
        let found = head::losses(states.as_slice(), head.as_slice(), shape[1], tokens, required);
        Ok(HeadLosses {
            sum: found.sum,
            states: found.states.map(|states| tensor(states, shape)),
            head: found.head.map(|head| tensor(head, head_shape)),
        })
    }
}
