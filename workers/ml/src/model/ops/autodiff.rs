//! The operations as single nodes of burn's autodiff graph, whose gradients are those of [`TransformerGradients`].
//!
//! As compositions they are five to ten nodes that store tensors each; a single node stores its inputs only, most of
//! which the graph stores anyway.
//!
//! Rule: nothing is computed here; forward and backward passes are the inner backend's.

use burn::{
    backend::{
        Autodiff,
        autodiff::{
            NodeId,
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend},
};

use super::{
    attention_mask::AttentionMask,
    gradients::TransformerGradients,
    linear::{LinearInputs, LowRank, Orientation, RequiredGradients},
    primitive::PrimitiveOps,
    transformer::TransformerOps,
};

type Primitive<B> = <B as burn::tensor::backend::BackendTypes>::FloatTensorPrimitive;
/// A tensor of the autodiff graph.
type Tracked<B> = Primitive<Autodiff<B>>;

fn tensor<B: Backend>(primitive: Primitive<B>) -> Tensor<B, 2> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The tensor of the inner backend and that of the graph.
fn split_tracked<B: Backend, C: CheckpointStrategy>(
    x: Tensor<Autodiff<B, C>, 2>,
) -> (Tensor<B, 2>, Tracked<B>) {
    let x = x.into_primitive().tensor();
    (tensor(x.primitive.clone()), x)
}

/// As [`split_tracked`] for an optional tensor; a constant stands for an absent one in the graph.
fn split_tracked_option<B: Backend, C: CheckpointStrategy>(
    x: Option<Tensor<Autodiff<B, C>, 2>>,
    device: &B::Device,
) -> (Option<Tensor<B, 2>>, Tracked<B>) {
    match x {
        Some(x) => {
            let (x, node) = split_tracked(x);
            (Some(x), node)
        }
        None => (
            None,
            split_tracked::<B, C>(Tensor::from_inner(Tensor::zeros([1, 1], device))).1,
        ),
    }
}

/// Adds `output` to the graph, as computed by `operation` from `parents`.
fn record_node<B: Backend, C: CheckpointStrategy, O: Backward<B, N>, const N: usize>(
    operation: O,
    parents: [Tracked<B>; N],
    state: O::State,
    output: Tensor<B, 2>,
) -> Tensor<Autodiff<B, C>, 2> {
    let output = output.into_primitive().tensor();
    let nodes = parents.map(|parent| parent.node);
    tensor(match operation.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(ops) => ops.finish(state, output),
        OpsKind::UnTracked(ops) => ops.finish(output),
    })
}

/// The gradient of the output of `ops`.
fn output_gradient<B: Backend, S, const N: usize>(
    ops: &Ops<S, N>,
    gradients: &mut Gradients,
) -> Tensor<B, 2> {
    tensor(gradients.consume::<B>(&ops.node))
}

fn register_gradient<B: Backend>(
    gradients: &mut Gradients,
    node: Option<NodeId>,
    gradient: Option<Tensor<B, 2>>,
) {
    if let (Some(node), Some(gradient)) = (node, gradient) {
        gradients.register::<B>(node, gradient.into_primitive().tensor());
    }
}

#[derive(Debug)]
struct LayerNorm;

impl<B: TransformerGradients> Backward<B, 3> for LayerNorm {
    /// Input, gain and epsilon.
    type State = (Tensor<B, 2>, Tensor<B, 2>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let [x_node, gain_node, bias_node] = ops.parents.map(|node| node.map(|node| node.id));
        let (x, gain, epsilon) = ops.state;
        let affine = gain_node.is_some() || bias_node.is_some();
        let (dx, affine) = B::layer_norm_gradient(dy, x, gain, epsilon, affine);
        register_gradient(gradients, x_node, Some(dx));
        if let Some([gain, bias]) = affine {
            register_gradient(gradients, gain_node, Some(gain));
            register_gradient(gradients, bias_node, Some(bias));
        }
    }
}

#[derive(Debug)]
struct RmsNorm;

impl<B: TransformerGradients> Backward<B, 2> for RmsNorm {
    /// Input, gain and epsilon.
    type State = (Tensor<B, 2>, Tensor<B, 2>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let [x_node, gain_node] = ops.parents.map(|node| node.map(|node| node.id));
        let (x, gain, epsilon) = ops.state;
        let (dx, gain) = B::rms_norm_gradient(dy, x, gain, epsilon, gain_node.is_some());
        register_gradient(gradients, x_node, Some(dx));
        register_gradient(gradients, gain_node, gain);
    }
}

#[derive(Debug)]
struct GeluNew;

impl<B: TransformerGradients> Backward<B, 1> for GeluNew {
    /// The input.
    type State = Tensor<B, 2>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let [node] = ops.parents.map(|node| node.map(|node| node.id));
        register_gradient(gradients, node, Some(B::gelu_new_gradient(dy, ops.state)));
    }
}

#[derive(Debug)]
struct SwiGlu;

impl<B: TransformerGradients> Backward<B, 2> for SwiGlu {
    /// Gate and up.
    type State = [Tensor<B, 2>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let nodes = ops.parents.map(|node| node.map(|node| node.id));
        let [gate, up] = ops.state;
        for (node, gradient) in nodes.into_iter().zip(B::swiglu_gradient(dy, gate, up)) {
            register_gradient(gradients, node, Some(gradient));
        }
    }
}

#[derive(Debug)]
struct Rotate;

impl<B: TransformerGradients> Backward<B, 1> for Rotate {
    /// Cosines, sines and heads.
    type State = (Tensor<B, 2>, Tensor<B, 2>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let [node] = ops.parents.map(|node| node.map(|node| node.id));
        let (cos, sin, heads) = ops.state;
        // The transpose of a rotation is the rotation back.
        register_gradient(gradients, node, Some(B::rotate(dy, cos, sin.neg(), heads)));
    }
}

#[derive(Debug)]
struct Attention;

/// The inputs of attention, which its backward pass needs.
#[derive(Clone, Debug)]
struct AttentionState<B: Backend> {
    inputs: [Tensor<B, 2>; 3],
    mask: AttentionMask,
    heads: usize,
    key_heads: usize,
}

impl<B: TransformerGradients> Backward<B, 3> for Attention {
    type State = AttentionState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let nodes = ops.parents.map(|node| node.map(|node| node.id));
        let AttentionState {
            inputs: [queries, keys, values],
            mask,
            heads,
            key_heads,
        } = ops.state;
        let found = B::attention_gradient(dy, queries, keys, values, &mask, heads, key_heads);
        for (node, gradient) in nodes.into_iter().zip(found) {
            register_gradient(gradients, node, Some(gradient));
        }
    }
}

#[derive(Debug)]
struct PackedAttention;

impl<B: TransformerGradients> Backward<B, 1> for PackedAttention {
    /// Input, heads and mask.
    type State = (Tensor<B, 2>, usize, AttentionMask);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let [node] = ops.parents.map(|node| node.map(|node| node.id));
        let (packed, heads, mask) = ops.state;
        let found = B::packed_attention_gradient(dy, packed, heads, &mask);
        register_gradient(gradients, node, Some(found));
    }
}

#[derive(Debug)]
struct Linear;

impl<B: TransformerGradients> Backward<B, 5> for Linear {
    type State = LinearInputs<B>;

    fn backward(self, ops: Ops<Self::State, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let [x, weight, bias, down, up] = ops.parents.map(|node| node.map(|node| node.id));
        let required = RequiredGradients {
            x: x.is_some(),
            weight: weight.is_some(),
            bias: bias.is_some(),
            down: down.is_some(),
            up: up.is_some(),
        };
        let found = B::linear_gradient(dy, ops.state, required);
        register_gradient(gradients, x, found.x);
        register_gradient(gradients, weight, found.weight);
        register_gradient(gradients, bias, found.bias);
        register_gradient(gradients, down, found.down);
        register_gradient(gradients, up, found.up);
    }
}

/// burn differentiates the default implementations.
impl<B: TransformerGradients, C: CheckpointStrategy> PrimitiveOps for Autodiff<B, C> {}

impl<B: TransformerGradients, C: CheckpointStrategy> TransformerOps for Autodiff<B, C> {
    fn layer_norm_rows(
        x: Tensor<Self, 2>,
        gain: Tensor<Self, 2>,
        bias: Tensor<Self, 2>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        let ((x, x_node), (gain, gain_node), (bias, bias_node)) =
            (split_tracked(x), split_tracked(gain), split_tracked(bias));
        let output = B::layer_norm_rows(x.clone(), gain.clone(), bias, epsilon);
        record_node(
            LayerNorm,
            [x_node, gain_node, bias_node],
            (x, gain, epsilon),
            output,
        )
    }

    fn rms_norm_rows(x: Tensor<Self, 2>, gain: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        let ((x, x_node), (gain, gain_node)) = (split_tracked(x), split_tracked(gain));
        let output = B::rms_norm_rows(x.clone(), gain.clone(), epsilon);
        record_node(RmsNorm, [x_node, gain_node], (x, gain, epsilon), output)
    }

    fn gelu_new(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let (x, node) = split_tracked(x);
        let output = B::gelu_new(x.clone());
        record_node(GeluNew, [node], x, output)
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let ((gate, gate_node), (up, up_node)) = (split_tracked(gate), split_tracked(up));
        let output = B::swiglu(gate.clone(), up.clone());
        record_node(SwiGlu, [gate_node, up_node], [gate, up], output)
    }

    fn rotate(
        x: Tensor<Self, 2>,
        cos: Tensor<Self, 2>,
        sin: Tensor<Self, 2>,
        heads: usize,
    ) -> Tensor<Self, 2> {
        let ((x, node), (cos, _), (sin, _)) = (split_tracked(x), split_tracked(cos), split_tracked(sin));
        let output = B::rotate(x, cos.clone(), sin.clone(), heads);
        record_node(Rotate, [node], (cos, sin, heads), output)
    }

    fn attention(
        queries: Tensor<Self, 2>,
        keys: Tensor<Self, 2>,
        values: Tensor<Self, 2>,
        mask: &AttentionMask,
        heads: usize,
        key_heads: usize,
    ) -> Tensor<Self, 2> {
        let inputs = [split_tracked(queries), split_tracked(keys), split_tracked(values)];
        let nodes = inputs.each_ref().map(|(_, node)| node.clone());
        let inputs = inputs.map(|(x, _)| x);
        let [queries, keys, values] = inputs.clone();
        let output = <B as TransformerOps>::attention(queries, keys, values, mask, heads, key_heads);
        let kept = AttentionState {
            inputs,
            mask: mask.clone(),
            heads,
            key_heads,
        };
        record_node(Attention, nodes, kept, output)
    }

    fn packed_attention(packed: Tensor<Self, 2>, heads: usize, mask: &AttentionMask) -> Tensor<Self, 2> {
        let (packed, node) = split_tracked(packed);
        let output = B::packed_attention(packed.clone(), heads, mask);
        record_node(PackedAttention, [node], (packed, heads, mask.clone()), output)
    }

    fn linear(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        orientation: Orientation,
        bias: Option<Tensor<Self, 2>>,
        adapter: Option<LowRank<Self>>,
    ) -> Tensor<Self, 2> {
        let device = x.device();
        let ((x, x_node), (weight, weight_node)) = (split_tracked(x), split_tracked(weight));
        let (bias, bias_node) = split_tracked_option(bias, &device);
        let (halves, numbers) = match adapter {
            Some(adapter) => (
                (Some(adapter.down), Some(adapter.up)),
                Some((adapter.scale, adapter.dropout)),
            ),
            None => ((None, None), None),
        };
        let (down, down_node) = split_tracked_option(halves.0, &device);
        let (up, up_node) = split_tracked_option(halves.1, &device);
        let adapter = down
            .zip(up)
            .zip(numbers)
            .map(|((down, up), (scale, dropout))| LowRank {
                down,
                up,
                scale,
                dropout,
            });
        let output =
            <B as TransformerOps>::linear(x.clone(), weight.clone(), orientation, bias, adapter.clone());
        let kept = LinearInputs {
            x,
            weight,
            orientation,
            adapter,
        };
        let nodes = [x_node, weight_node, bias_node, down_node, up_node];
        record_node(Linear, nodes, kept, output)
    }
}
