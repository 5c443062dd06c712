//! The same operations as single nodes of the graph, with gradients worked out by hand on the inner backend.
//!
//! Composed, each is five to ten nodes that all keep tensors; as one it keeps what its gradient needs. The
//! tests compare both forms. Rule: only tensor operations of the inner backend, so every backend is served.

use burn::{
    backend::{
        Autodiff,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    tensor::{Tensor, TensorPrimitive, activation, backend::Backend},
};

use super::{CUBIC, ROOT, TransformerOps, attention_weights, split_heads};

type Primitive<B> = <B as burn::tensor::backend::BackendTypes>::FloatTensorPrimitive;

fn tensor<B: Backend, const D: usize>(primitive: Primitive<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Primitive<B> {
    tensor.into_primitive().tensor()
}

#[derive(Debug)]
struct LayerNorm;

impl<B: Backend> Backward<B, 3> for LayerNorm {
    /// Normalised rows, 1 / deviation of each, gain.
    type State = (Primitive<B>, Primitive<B>, Primitive<B>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [x, gain_node, bias_node] = ops.parents;
        let dy: Tensor<B, 2> = tensor(gradients.consume::<B>(&ops.node));
        let (normed, scale, gain) = ops.state;
        let normed: Tensor<B, 2> = tensor(normed);
        if let Some(node) = bias_node {
            gradients.register::<B>(node.id, primitive(dy.clone().sum_dim(0)));
        }
        if let Some(node) = gain_node {
            gradients.register::<B>(node.id, primitive((dy.clone() * normed.clone()).sum_dim(0)));
        }
        if let Some(node) = x {
            let scaled = dy * tensor(gain);
            let along = (scaled.clone() * normed.clone()).mean_dim(1);
            let dx = (scaled.clone() - scaled.mean_dim(1) - normed * along) * tensor(scale);
            gradients.register::<B>(node.id, primitive(dx));
        }
    }
}

#[derive(Debug)]
struct GeluNew;

impl<B: Backend> Backward<B, 1> for GeluNew {
    /// The input and the sigmoid of its polynomial.
    type State = (Primitive<B>, Primitive<B>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [Some(node)] = ops.parents else { return };
        let dy: Tensor<B, 2> = tensor(gradients.consume::<B>(&ops.node));
        let (x, gate): (Tensor<B, 2>, Tensor<B, 2>) = (tensor(ops.state.0), tensor(ops.state.1));
        // d/dx x·σ(p(x)) = σ + x·σ·(1 − σ)·p′(x), with p′(x) = 2·ROOT·(1 + 3·CUBIC·x²)
        let slope = (x.clone() * x.clone())
            .mul_scalar(6.0 * ROOT * CUBIC)
            .add_scalar(2.0 * ROOT);
        let bend = x * slope * gate.clone().mul_scalar(-1.0).add_scalar(1.0);
        gradients.register::<B>(node.id, primitive(dy * gate * bend.add_scalar(1.0)));
    }
}

/// What attention keeps: `packed`, the weights, and the shape.
#[derive(Clone, Debug)]
struct Attended<P> {
    packed: P,
    weights: P,
    batch: usize,
    heads: usize,
}

#[derive(Debug)]
struct CausalAttention;

impl<B: Backend> Backward<B, 1> for CausalAttention {
    type State = Attended<Primitive<B>>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [Some(node)] = ops.parents else { return };
        let dy: Tensor<B, 2> = tensor(gradients.consume::<B>(&ops.node));
        let Attended {
            packed,
            weights,
            batch,
            heads,
        } = ops.state;
        let (queries, keys, values) = split_heads::<B>(&tensor(packed), batch, heads);
        let weights: Tensor<B, 4> = tensor(weights);
        let [_, _, length, size] = queries.dims();
        let dy = dy.reshape([batch, length, heads, size]).swap_dims(1, 2);
        let d_values = weights.clone().swap_dims(2, 3).matmul(dy.clone());
        let d_weights = dy.matmul(values.swap_dims(2, 3));
        let along = (d_weights.clone() * weights.clone()).sum_dim(3);
        let d_scores = (weights * (d_weights - along)).mul_scalar(1.0 / (size as f64).sqrt());
        let d_queries = d_scores.clone().matmul(keys);
        let d_keys = d_scores.swap_dims(2, 3).matmul(queries);
        let join = |part: Tensor<B, 4>| part.swap_dims(1, 2).reshape([batch * length, heads * size]);
        let joined = Tensor::cat(vec![join(d_queries), join(d_keys), join(d_values)], 1);
        gradients.register::<B>(node.id, primitive(joined));
    }
}

impl<B: TransformerOps, C: CheckpointStrategy> TransformerOps for Autodiff<B, C> {
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        let (x, gain, bias) = (primitive(x), primitive(gain), primitive(bias));
        let rows: Tensor<B, 2> = tensor(x.primitive.clone());
        let centred = rows.clone() - rows.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        let scale = variance.add_scalar(epsilon).sqrt().recip();
        let normed = centred * scale.clone();
        let output = normed.clone() * tensor(gain.primitive.clone()) + tensor(bias.primitive.clone());
        let nodes = [x.node, gain.node, bias.node];
        tensor(
            match Backward::<B, 3>::prepare::<C>(LayerNorm, nodes)
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(ops) => ops.finish(
                    (primitive(normed), primitive(scale), gain.primitive),
                    primitive(output),
                ),
                OpsKind::UnTracked(ops) => ops.finish(primitive(output)),
            },
        )
    }

    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let x = primitive(x);
        let input: Tensor<B, 2> = tensor(x.primitive.clone());
        let square = input.clone() * input.clone();
        let gate =
            activation::sigmoid(input.clone() * square.mul_scalar(2.0 * ROOT * CUBIC).add_scalar(2.0 * ROOT));
        let output = input * gate.clone();
        tensor(
            match Backward::<B, 1>::prepare::<C>(GeluNew, [x.node])
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(ops) => ops.finish((x.primitive, primitive(gate)), primitive(output)),
                OpsKind::UnTracked(ops) => ops.finish(primitive(output)),
            },
        )
    }

    fn causal_attention(packed: Tensor<Self, 2>, batch: usize, heads: usize) -> Tensor<Self, 2> {
        let packed = primitive(packed);
        let (queries, keys, values) = split_heads::<B>(&tensor(packed.primitive.clone()), batch, heads);
        let [_, _, length, size] = queries.dims();
        let weights = attention_weights(queries, keys, 0);
        let output = weights
            .clone()
            .matmul(values)
            .swap_dims(1, 2)
            .reshape([batch * length, heads * size]);
        tensor(
            match Backward::<B, 1>::prepare::<C>(CausalAttention, [packed.node])
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(ops) => {
                    let kept = Attended {
                        packed: packed.primitive,
                        weights: primitive(weights),
                        batch,
                        heads,
                    };
                    ops.finish(kept, primitive(output))
                }
                OpsKind::UnTracked(ops) => ops.finish(primitive(output)),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Differentiable,
        parameters::{matrix, values},
        random::{Purpose, normal, stream},
    };

    type Input = Tensor<Differentiable, 2>;

    fn random(index: u64, shape: [usize; 2]) -> Input {
        let numbers = normal(
            &mut stream(5, Purpose::Initialisation, 0, index),
            shape[0] * shape[1],
            1.5,
        );
        matrix(numbers, shape, &burn_flex::FlexDevice)
    }

    /// Value and gradients of `operation` with respect to all its inputs, for a gradient that is no constant.
    fn all(operation: impl Fn(&[Input]) -> Input, inputs: &[Input]) -> Vec<Vec<f32>> {
        let leaves: Vec<Input> = inputs
            .iter()
            .map(|input| input.clone().detach().require_grad())
            .collect();
        let output = operation(&leaves);
        let weights = random(99, output.dims());
        let gradients = (output.clone() * weights).sum().backward();
        let mut all = vec![values(output).expect("numbers")];
        all.extend(
            leaves
                .iter()
                .map(|leaf| values(leaf.grad(&gradients).expect("a gradient")).expect("numbers")),
        );
        all
    }

    /// The composed form, differentiated by burn, on a backend without our overriding.
    fn assert_same(ours: &[Vec<f32>], composed: &[Vec<f32>]) {
        for (ours, composed) in ours.iter().zip(composed) {
            let largest = composed
                .iter()
                .fold(0f32, |largest, value| largest.max(value.abs()));
            for (ours, composed) in ours.iter().zip(composed) {
                // Rounding of 32-bit sums of some dozens.
                assert!(
                    (ours - composed).abs() <= 1e-5 * largest.max(1.0),
                    "{ours} {composed}"
                );
            }
        }
    }

    #[test]
    fn the_norm_and_its_gradients_are_those_of_the_composed_form() {
        let inputs = [random(0, [6, 16]), random(1, [1, 16]), random(2, [1, 16])];
        let ours =
            |x: &[Input]| Differentiable::layer_norm_rows(x[0].clone(), x[1].clone(), x[2].clone(), 1e-5);
        let composed = |x: &[Input]| {
            let centred = x[0].clone() - x[0].clone().mean_dim(1);
            let variance = (centred.clone() * centred.clone()).mean_dim(1);
            centred / variance.add_scalar(1e-5).sqrt() * x[1].clone() + x[2].clone()
        };
        assert_same(&all(ours, &inputs), &all(composed, &inputs));
    }

    #[test]
    fn gelu_and_its_gradient_are_those_of_the_tanh_form() {
        let inputs = [random(3, [4, 32])];
        let ours = |x: &[Input]| Differentiable::gelu_new(x[0].clone());
        let composed = |x: &[Input]| {
            let x = x[0].clone();
            let cube = x.clone() * x.clone() * x.clone();
            let inner = (x.clone() + cube.mul_scalar(CUBIC)).mul_scalar(ROOT);
            x.mul_scalar(0.5) * inner.tanh().add_scalar(1.0)
        };
        assert_same(&all(ours, &inputs), &all(composed, &inputs));
    }

    #[test]
    fn attention_and_its_gradient_are_those_of_the_composed_form() {
        let inputs = [random(4, [2 * 7, 3 * 8])];
        let ours = |x: &[Input]| Differentiable::causal_attention(x[0].clone(), 2, 4);
        let composed = |x: &[Input]| {
            let (queries, keys, values) = split_heads(&x[0], 2, 4);
            super::super::attend(queries, keys, values, 0)
        };
        assert_same(&all(ours, &inputs), &all(composed, &inputs));
    }
}
