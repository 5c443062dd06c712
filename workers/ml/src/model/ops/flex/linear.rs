//! Linear layers with a low-rank update, as products that add to one another.
//!
//! Rule: neither the update `[n, out]` nor a mask of dropout is ever a matrix of its own; masked inputs exist
//! for a block of rows at a time.

use burn::tensor::Tensor;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    Host, LinearGradients, LinearInputs, LowRank, Orientation, Wanted, composed,
    lanes::vectorised,
    matrix::{Target, Threads, View},
    norms::sum_of_rows,
    tensor,
};
use crate::model::ops::Dropout;

/// Rows, or columns, that one task works on.
const BLOCK: usize = 64;

/// See [`crate::model::ops::TransformerOps::linear`].
pub(super) fn forward(
    x: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
    orientation: Orientation,
    bias: Option<Tensor<Flex, 2>>,
    adapter: Option<LowRank<Flex>>,
) -> Tensor<Flex, 2> {
    let ([rows, input], [_, output]) = (x.dims(), in_out(weight.dims(), orientation));
    if rows == 1 {
        // A product with a vector: Flex's own is as good, and there is nothing to add up.
        return composed::linear(x, weight, orientation, bias, adapter);
    }
    let (x, weight) = (Host::of(x), Host::of(weight));
    let mut y = vec![0.0; rows * output];
    let add = bias.is_some();
    if let Some(bias) = bias {
        let bias = Host::of(bias);
        let rows = y.par_chunks_mut(BLOCK * output);
        rows.for_each(|rows| {
            rows.chunks_exact_mut(output)
                .for_each(|row| row.copy_from_slice(bias.numbers()));
        });
    }
    let shape = [rows, output];
    let matrix = matrix(&weight, [input, output], orientation);
    let left = View::rows(x.numbers(), [rows, input]);
    let target = Target::rows(&mut y, shape);
    if add {
        target.add(1.0, left, matrix, Threads::All);
    } else {
        target.set(1.0, left, matrix, Threads::All);
    }
    if let Some(adapter) = adapter {
        let rank = adapter.down.dims()[1];
        let (down, up) = (Host::of(adapter.down), Host::of(adapter.up));
        let low = lowered(x.numbers(), input, &down, rank, adapter.dropout);
        Target::rows(&mut y, shape).add(
            adapter.scale as f32,
            View::rows(&low, [rows, rank]),
            View::rows(up.numbers(), [rank, output]),
            Threads::All,
        );
    }
    tensor(y, shape)
}

fn in_out(shape: [usize; 2], orientation: Orientation) -> [usize; 2] {
    match orientation {
        Orientation::InOut => shape,
        Orientation::OutIn => [shape[1], shape[0]],
    }
}

/// The weight as `[in, out]`.
fn matrix(weight: &Host, [input, output]: [usize; 2], orientation: Orientation) -> View<'_> {
    match orientation {
        Orientation::InOut => View::rows(weight.numbers(), [input, output]),
        Orientation::OutIn => View::rows(weight.numbers(), [output, input]).transposed(),
    }
}

/// `drop(x) · down`: `[n, rank]`.
fn lowered(x: &[f32], input: usize, down: &Host, rank: usize, dropout: Option<Dropout>) -> Vec<f32> {
    let mut low = vec![0.0; x.len() / input * rank];
    let down = View::rows(down.numbers(), [input, rank]);
    let blocks = low
        .par_chunks_mut(BLOCK * rank)
        .zip(x.par_chunks(BLOCK * input))
        .enumerate();
    blocks.for_each(|(block, (low, x))| {
        let rows = x.len() / input;
        let mut kept = Vec::new();
        let x = match dropout {
            Some(dropout) => {
                kept.resize(x.len(), 0.0);
                drop_into(&mut kept, x, dropout, block * BLOCK * input);
                &kept
            }
            None => x,
        };
        Target::rows(low, [rows, rank]).set(1.0, View::rows(x, [rows, input]), down, Threads::This);
    });
    low
}

/// `kept` ← `x` times its factors, the first of which is that of element `start`.
fn drop_into(kept: &mut [f32], x: &[f32], dropout: Dropout, start: usize) {
    vectorised(
        #[inline(always)]
        || {
            dropout.factors(start, kept);
            for (kept, x) in kept.iter_mut().zip(x) {
                *kept *= x;
            }
        },
    );
}

/// See [`crate::model::ops::TransformerGradients::linear_gradient`].
pub(super) fn backward(
    dy: Tensor<Flex, 2>,
    inputs: LinearInputs<Flex>,
    wanted: Wanted,
) -> LinearGradients<Flex> {
    let LinearInputs {
        x,
        weight,
        orientation,
        adapter,
    } = inputs;
    let ([rows, input], [_, output]) = (x.dims(), in_out(weight.dims(), orientation));
    let weight_shape = weight.dims();
    let (dy, x, weight) = (Host::of(dy), Host::of(x), Host::of(weight));
    let (arriving, entered) = (
        View::rows(dy.numbers(), [rows, output]),
        View::rows(x.numbers(), [rows, input]),
    );
    let mut found = LinearGradients {
        x: None,
        weight: None,
        bias: None,
        down: None,
        up: None,
    };
    if wanted.bias {
        found.bias = Some(tensor(sum_of_rows(dy.numbers(), output), [1, output]));
    }
    if wanted.weight {
        let (left, right) = match orientation {
            Orientation::InOut => (entered, arriving),
            Orientation::OutIn => (arriving, entered),
        };
        let gradient = product(weight_shape, 1.0, left.transposed(), right);
        found.weight = Some(tensor(gradient, weight_shape));
    }
    let mut dx = wanted.x.then(|| {
        let back = matrix(&weight, [input, output], orientation).transposed();
        product([rows, input], 1.0, arriving, back)
    });
    if let Some(LowRank {
        down,
        up,
        scale,
        dropout,
    }) = adapter
    {
        let (rank, scale) = (down.dims()[1], scale as f32);
        let (down, up) = (Host::of(down), Host::of(up));
        if wanted.up {
            let low = lowered(x.numbers(), input, &down, rank, dropout);
            let low = View::rows(&low, [rows, rank]).transposed();
            found.up = Some(tensor(
                product([rank, output], scale, low, arriving),
                [rank, output],
            ));
        }
        let back = View::rows(up.numbers(), [rank, output]).transposed();
        let d_low = product([rows, rank], scale, arriving, back);
        if wanted.down {
            let gradient = down_gradient(x.numbers(), &d_low, [rows, input, rank], dropout);
            found.down = Some(tensor(gradient, [input, rank]));
        }
        if let Some(dx) = &mut dx {
            add_update(dx, &d_low, &down, [input, rank], dropout);
        }
    }
    found.x = dx.map(|dx| tensor(dx, [rows, input]));
    found
}

/// A new matrix of `shape`: `scale · left · right`.
fn product(shape: [usize; 2], scale: f32, left: View<'_>, right: View<'_>) -> Vec<f32> {
    let mut product = vec![0.0; shape[0] * shape[1]];
    Target::rows(&mut product, shape).set(scale, left, right, Threads::All);
    product
}

/// `drop(x)ᵀ · d_low`: `[in, rank]`.
fn down_gradient(
    x: &[f32],
    d_low: &[f32],
    [rows, input, rank]: [usize; 3],
    dropout: Option<Dropout>,
) -> Vec<f32> {
    let low = View::rows(d_low, [rows, rank]);
    let Some(dropout) = dropout else {
        return product([input, rank], 1.0, View::rows(x, [rows, input]).transposed(), low);
    };
    let mut gradient = vec![0.0; input * rank];
    let blocks = gradient.par_chunks_mut(BLOCK * rank).enumerate();
    blocks.for_each(|(block, gradient)| {
        let (first, count) = (block * BLOCK, gradient.len() / rank);
        let mut kept = vec![0.0; rows * count];
        for (row, (kept, x)) in kept
            .chunks_exact_mut(count)
            .zip(x.chunks_exact(input))
            .enumerate()
        {
            drop_into(kept, &x[first..first + count], dropout, row * input + first);
        }
        let kept = View::rows(&kept, [rows, count]).transposed();
        Target::rows(gradient, [count, rank]).set(1.0, kept, low, Threads::This);
    });
    gradient
}

/// `dx += drop(d_low · downᵀ)`.
fn add_update(
    dx: &mut [f32],
    d_low: &[f32],
    down: &Host,
    [input, rank]: [usize; 2],
    dropout: Option<Dropout>,
) {
    let back = View::rows(down.numbers(), [input, rank]).transposed();
    let blocks = dx
        .par_chunks_mut(BLOCK * input)
        .zip(d_low.par_chunks(BLOCK * rank))
        .enumerate();
    blocks.for_each(|(block, (dx, d_low))| {
        let rows = dx.len() / input;
        let low = View::rows(d_low, [rows, rank]);
        let Some(dropout) = dropout else {
            Target::rows(dx, [rows, input]).add(1.0, low, back, Threads::This);
            return;
        };
        let mut update = vec![0.0; dx.len()];
        Target::rows(&mut update, [rows, input]).set(1.0, low, back, Threads::This);
        let mut factors = vec![0.0; dx.len()];
        vectorised(
            #[inline(always)]
            || {
                dropout.factors(block * BLOCK * input, &mut factors);
                for ((dx, update), factor) in dx.iter_mut().zip(&update).zip(&factors) {
                    *dx += update * factor;
                }
            },
        );
    });
}
