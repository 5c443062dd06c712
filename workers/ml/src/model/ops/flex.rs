//! The operations on Flex, burn's CPU backend, as kernels over host memory.
//!
//! Rules: work is cut into pieces by the shapes alone, never by the number of threads, and every sum is taken
//! in a fixed order, so results do not depend on the threads and repeat to the bit. Vector instructions are
//! chosen at run time (`pulp`, `gemm`); buffers that nobody else holds are written over.

mod attention;
mod elements;
mod head;
pub(crate) mod lanes;
mod linear;
pub(crate) mod matrix;
mod norms;

use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};

use super::{
    LinearGradients, LinearInputs, LowRank, Orientation, Sight, TransformerGradients, TransformerOps, Wanted,
    by_hand, composed,
    head::{self as composed_head, HeadLosses, HeadWanted, SCORES},
};
use crate::failure::Failure;
use attention::Heads;

/// A matrix in host memory, rows one after the other.
pub(crate) struct Host(FlexTensor);

impl Host {
    pub(crate) fn of(x: Tensor<Flex, 2>) -> Self {
        let x = x.into_primitive().tensor();
        match x.as_slice::<f32>() {
            Some(_) => Self(x),
            None => Self(x.to_contiguous()),
        }
    }

    /// The numbers.
    ///
    /// # Panics
    /// When they are not 32-bit floats: the others went the composed way.
    pub(crate) fn numbers(&self) -> &[f32] {
        self.0.as_slice().expect("32-bit floats in rows")
    }

    /// The buffer itself where nobody else holds it, else a copy.
    fn take(self) -> Vec<f32> {
        self.0.into_data().into_vec().expect("32-bit floats")
    }

    /// Whether [`Host::take`] costs nothing.
    fn is_ours(&self) -> bool {
        self.0.is_unique()
    }
}

/// Whether `x` has fewer bits than the kernels here compute in: such a matrix goes the composed way.
fn is_narrow(x: &Tensor<Flex, 2>) -> bool {
    x.dtype() != DType::F32
}

pub(crate) fn tensor(numbers: Vec<f32>, shape: [usize; 2]) -> Tensor<Flex, 2> {
    let tensor = FlexTensor::from_data(TensorData::new(numbers, shape));
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

impl TransformerOps for Flex {
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        if is_narrow(&x) {
            return composed::layer_norm_rows(x, gain, bias, epsilon);
        }
        let shape = x.dims();
        let (x, gain, bias) = (Host::of(x), Host::of(gain), Host::of(bias));
        tensor(
            norms::layer_norm(x.numbers(), gain.numbers(), bias.numbers(), epsilon as f32),
            shape,
        )
    }

    fn rms_norm_rows(x: Tensor<Self, 2>, gain: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        if is_narrow(&x) {
            return composed::rms_norm_rows(x, gain, epsilon);
        }
        let shape = x.dims();
        let (x, gain) = (Host::of(x), Host::of(gain));
        tensor(
            norms::rms_norm(x.numbers(), gain.numbers(), epsilon as f32),
            shape,
        )
    }

    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if is_narrow(&x) {
            return composed::gelu_new(x);
        }
        let shape = x.dims();
        tensor(elements::gelu_new(Host::of(x)), shape)
    }

    fn gelu_erf(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let shape = x.dims();
        tensor(elements::gelu(Host::of(x)), shape)
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if is_narrow(&up) {
            return composed::swiglu(gate, up);
        }
        let shape = gate.dims();
        let (gate, up) = (Host::of(gate), Host::of(up));
        tensor(elements::swiglu(gate.numbers(), up.numbers()), shape)
    }

    fn rotate(
        x: Tensor<Self, 2>,
        cos: Tensor<Self, 2>,
        sin: Tensor<Self, 2>,
        heads: usize,
    ) -> Tensor<Self, 2> {
        if is_narrow(&x) {
            return composed::rotate(x, cos, sin, heads);
        }
        let shape = x.dims();
        let (x, cos, sin) = (Host::of(x), Host::of(cos), Host::of(sin));
        tensor(
            elements::rotate(x.take(), shape[1], cos.numbers(), sin.numbers(), heads),
            shape,
        )
    }

    fn attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        sight: &Sight,
        heads: usize,
        key_heads: usize,
    ) -> Tensor<Self, 2> {
        if is_narrow(&queries) {
            return composed::attention(queries, keys, values, sight, heads, key_heads);
        }
        let (shape, key_shape) = (queries.dims(), keys.dims());
        let size = shape[1] / heads;
        let (queries, keys, values) = (Host::of(queries), Host::of(keys), Host::of(values));
        let output = attention::forward(
            Heads::of(queries.numbers(), shape, 0, size),
            Heads::of(keys.numbers(), key_shape, 0, size),
            Heads::of(values.numbers(), key_shape, 0, size),
            sight,
            heads,
            key_heads,
        );
        tensor(output, shape)
    }

    fn whole_attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        lengths: &[usize],
        heads: usize,
    ) -> Tensor<Self, 2> {
        let shape = queries.dims();
        let hosts = [queries, keys, values].map(Host::of);
        let [queries, keys, values] =
            [0, 1, 2].map(|index| Heads::of(hosts[index].numbers(), shape, 0, shape[1] / heads));
        tensor(attention::whole(queries, keys, values, lengths, heads), shape)
    }

    fn packed_attention(packed: Tensor<Self, 2>, heads: usize, sight: &Sight) -> Tensor<Self, 2> {
        if is_narrow(&packed) {
            return composed::packed_attention(&packed, heads, sight);
        }
        let shape = packed.dims();
        let width = shape[1] / 3;
        let packed = Host::of(packed);
        let part = |index: usize| Heads::of(packed.numbers(), shape, index * width, width / heads);
        let output = attention::forward(part(0), part(1), part(2), sight, heads, heads);
        tensor(output, [shape[0], width])
    }

    fn linear(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        orientation: Orientation,
        bias: Option<Tensor<Self, 2>>,
        adapter: Option<LowRank<Self>>,
    ) -> Tensor<Self, 2> {
        if is_narrow(&x) {
            return composed::linear(x, weight, orientation, bias, adapter);
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
        if is_narrow(&x) {
            return by_hand::layer_norm_gradient(dy, x, gain, epsilon, affine);
        }
        let shape = x.dims();
        let (dy, x, gain) = (Host::of(dy), Host::of(x), Host::of(gain));
        let affine = affine.then(|| {
            norms::layer_norm_affine(dy.numbers(), x.numbers(), shape[1], epsilon as f32)
                .map(|row| tensor(row, [1, shape[1]]))
        });
        let dx = norms::layer_norm_back(dy.take(), x.numbers(), gain.numbers(), epsilon as f32);
        (tensor(dx, shape), affine)
    }

    fn rms_norm_gradient(
        dy: Tensor<Self, 2>,
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        epsilon: f64,
        affine: bool,
    ) -> (Tensor<Self, 2>, Option<Tensor<Self, 2>>) {
        if is_narrow(&x) {
            return by_hand::rms_norm_gradient(dy, x, gain, epsilon, affine);
        }
        let shape = x.dims();
        let (dy, x, gain) = (Host::of(dy), Host::of(x), Host::of(gain));
        let affine = affine.then(|| {
            let row = norms::rms_norm_affine(dy.numbers(), x.numbers(), shape[1], epsilon as f32);
            tensor(row, [1, shape[1]])
        });
        let dx = norms::rms_norm_back(dy.take(), x.numbers(), gain.numbers(), epsilon as f32);
        (tensor(dx, shape), affine)
    }

    fn gelu_new_gradient(dy: Tensor<Self, 2>, x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if is_narrow(&x) {
            return by_hand::gelu_new_gradient(dy, x);
        }
        let shape = x.dims();
        let (dy, x) = (Host::of(dy), Host::of(x));
        tensor(elements::gelu_new_back(dy.take(), x.numbers()), shape)
    }

    fn swiglu_gradient(
        dy: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        if is_narrow(&up) {
            return by_hand::swiglu_gradient(dy, gate, up);
        }
        let shape = gate.dims();
        let (dy, gate, up) = (Host::of(dy), Host::of(gate), Host::of(up));
        let [gate, up] = elements::swiglu_back(dy.numbers(), gate.take(), up.take());
        [tensor(gate, shape), tensor(up, shape)]
    }

    fn attention_gradient(
        dy: Tensor<Self, 2>,
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        sight: &Sight,
        heads: usize,
        key_heads: usize,
    ) -> [Tensor<Self, 2>; 3] {
        if is_narrow(&queries) {
            return by_hand::attention_gradient(dy, queries, keys, values, sight, heads, key_heads);
        }
        let (shape, key_shape) = (queries.dims(), keys.dims());
        let size = shape[1] / heads;
        let (dy, queries, keys, values) = (Host::of(dy), Host::of(queries), Host::of(keys), Host::of(values));
        let mut found = [shape, key_shape, key_shape].map(|[rows, width]| vec![0.0; rows * width]);
        let [d_queries, d_keys, d_values] = &mut found;
        let mut parts = attention::Pieces::default();
        parts.queries.extend(d_queries.chunks_exact_mut(size));
        parts.keys.extend(d_keys.chunks_exact_mut(size));
        parts.values.extend(d_values.chunks_exact_mut(size));
        attention::backward(
            Heads::of(dy.numbers(), shape, 0, size),
            Heads::of(queries.numbers(), shape, 0, size),
            Heads::of(keys.numbers(), key_shape, 0, size),
            Heads::of(values.numbers(), key_shape, 0, size),
            parts,
            sight,
            heads,
            key_heads,
        );
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
        sight: &Sight,
    ) -> Tensor<Self, 2> {
        if is_narrow(&packed) {
            return by_hand::packed_attention_gradient(dy, &packed, heads, sight);
        }
        let shape = packed.dims();
        let width = shape[1] / 3;
        let size = width / heads;
        let (dy, packed) = (Host::of(dy), Host::of(packed));
        let part = |index: usize| Heads::of(packed.numbers(), shape, index * width, size);
        let mut found = vec![0.0; shape[0] * shape[1]];
        let mut parts = attention::Pieces::default();
        for (index, piece) in found.chunks_exact_mut(size).enumerate() {
            match index / heads % 3 {
                0 => parts.queries.push(piece),
                1 => parts.keys.push(piece),
                _ => parts.values.push(piece),
            }
        }
        let dy = Heads::of(dy.numbers(), [shape[0], width], 0, size);
        attention::backward(dy, part(0), part(1), part(2), parts, sight, heads, heads);
        tensor(found, shape)
    }

    fn linear_gradient(
        dy: Tensor<Self, 2>,
        inputs: LinearInputs<Self>,
        wanted: Wanted,
    ) -> LinearGradients<Self> {
        if is_narrow(&inputs.x) {
            return by_hand::linear_gradient(dy, inputs, wanted);
        }
        linear::backward(dy, inputs, wanted)
    }

    fn head_losses(
        states: Tensor<Self, 2>,
        head: Tensor<Self, 2>,
        tokens: &[i32],
        wanted: HeadWanted,
    ) -> Result<HeadLosses<Self>, Failure> {
        if is_narrow(&states) {
            return composed_head::losses(&states, &head, tokens, wanted, SCORES);
        }
        let (shape, head_shape) = (states.dims(), head.dims());
        let (states, head) = (Host::of(states), Host::of(head));
        let found = head::losses(states.numbers(), head.numbers(), shape[1], tokens, wanted);
        Ok(HeadLosses {
            sum: found.sum,
            states: found.states.map(|states| tensor(states, shape)),
            head: found.head.map(|head| tensor(head, head_shape)),
        })
    }
}
