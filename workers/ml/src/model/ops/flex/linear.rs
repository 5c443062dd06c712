//! Linear layers with a low-rank update, as products that are accumulated.
//!
//! Rule: neither the update `[n, out]` nor a dropout mask is ever stored as a matrix; masked inputs exist for a block
//! of rows at a time.

use burn::tensor::Tensor;
use burn_flex::Flex;
use rayon::prelude::*;

use super::{
    host::{HostMatrix, tensor},
    matrix::{MatrixMut, MatrixView, Threads},
    norms::sum_of_rows,
    simd::vectorized,
};
use crate::model::ops::{
    composite,
    dropout::Dropout,
    linear::{LinearGradients, LinearInputs, LowRank, Orientation, RequiredGradients},
};

/// Rows, or columns, per task.
const BLOCK: usize = 64;

/// See [`crate::model::ops::TransformerOps::linear`].
pub(super) fn forward(
    x: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
    orientation: Orientation,
    bias: Option<Tensor<Flex, 2>>,
    adapter: Option<LowRank<Flex>>,
) -> Tensor<Flex, 2> {
    let ([rows, input], [_, output]) = (x.dims(), as_in_out(weight.dims(), orientation));
    if rows == 1 {
        // For a product with a vector, Flex's own kernel is as fast.
        return composite::linear(x, weight, orientation, bias, adapter);
    }
    let (x, weight) = (HostMatrix::new(x), HostMatrix::new(weight));
    let mut y = vec![0.0; rows * output];
    let add = bias.is_some();
    if let Some(bias) = bias {
        let bias = HostMatrix::new(bias);
        let rows = y.par_chunks_mut(BLOCK * output);
        rows.for_each(|rows| {
            rows.chunks_exact_mut(output)
                .for_each(|row| row.copy_from_slice(bias.as_slice()));
        });
    }
    let shape = [rows, output];
    let matrix = matrix(&weight, [input, output], orientation);
    let left = MatrixView::rows(x.as_slice(), [rows, input]);
    let target = MatrixMut::rows(&mut y, shape);
    if add {
        target.add(1.0, left, matrix, Threads::Pool);
    } else {
        target.set(1.0, left, matrix, Threads::Pool);
    }
    if let Some(adapter) = adapter {
        let rank = adapter.down.dims()[1];
        let (down, up) = (HostMatrix::new(adapter.down), HostMatrix::new(adapter.up));
        let low = down_projection(x.as_slice(), input, &down, rank, adapter.dropout);
        MatrixMut::rows(&mut y, shape).add(
            adapter.scale as f32,
            MatrixView::rows(&low, [rows, rank]),
            MatrixView::rows(up.as_slice(), [rank, output]),
            Threads::Pool,
        );
    }
    tensor(y, shape)
}

fn as_in_out(shape: [usize; 2], orientation: Orientation) -> [usize; 2] {
    match orientation {
        Orientation::InOut => shape,
        Orientation::OutIn => [shape[1], shape[0]],
    }
}

/// The weight as `[in, out]`.
fn matrix(weight: &HostMatrix, [input, output]: [usize; 2], orientation: Orientation) -> MatrixView<'_> {
    match orientation {
        Orientation::InOut => MatrixView::rows(weight.as_slice(), [input, output]),
        Orientation::OutIn => MatrixView::rows(weight.as_slice(), [output, input]).transposed(),
    }
}

/// `drop(x) · down`: `[n, rank]`.
fn down_projection(
    x: &[f32],
    input: usize,
    down: &HostMatrix,
    rank: usize,
    dropout: Option<Dropout>,
) -> Vec<f32> {
    let mut low = vec![0.0; x.len() / input * rank];
    let down = MatrixView::rows(down.as_slice(), [input, rank]);
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
                apply_dropout_into(&mut kept, x, dropout, block * BLOCK * input);
                kept.as_slice()
            }
            None => x,
        };
        MatrixMut::rows(low, [rows, rank]).set(
            1.0,
            MatrixView::rows(x, [rows, input]),
            down,
            Threads::Current,
        );
    });
    low
}

/// Fills `kept` with `x` times its dropout factors, beginning with that of element `start`.
fn apply_dropout_into(kept: &mut [f32], x: &[f32], dropout: Dropout, start: usize) {
    vectorized(
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
    required: RequiredGradients,
) -> LinearGradients<Flex> {
    let LinearInputs {
        x,
        weight,
        orientation,
        adapter,
    } = inputs;
    let ([rows, input], [_, output]) = (x.dims(), as_in_out(weight.dims(), orientation));
    let weight_shape = weight.dims();
    let (dy, x, weight) = (HostMatrix::new(dy), HostMatrix::new(x), HostMatrix::new(weight));
    let dy_view = MatrixView::rows(dy.as_slice(), [rows, output]);
    let x_view = MatrixView::rows(x.as_slice(), [rows, input]);
    let bias = required
        .bias
        .then(|| tensor(sum_of_rows(dy.as_slice(), output), [1, output]));
    let d_weight = required.weight.then(|| {
        let (left, right) = match orientation {
            Orientation::InOut => (x_view, dy_view),
            Orientation::OutIn => (dy_view, x_view),
        };
        tensor(matmul(weight_shape, 1.0, left.transposed(), right), weight_shape)
    });
    let mut dx = required.x.then(|| {
        let transposed = matrix(&weight, [input, output], orientation).transposed();
        matmul([rows, input], 1.0, dy_view, transposed)
    });
    let [down, up] = match adapter {
        Some(adapter) => adapter_backward(x.as_slice(), dy_view, adapter, required, dx.as_mut()),
        None => [None, None],
    };
    LinearGradients {
        x: dx.map(|dx| tensor(dx, [rows, input])),
        weight: d_weight,
        bias,
        down,
        up,
    }
}

/// Gradients of the low-rank matrices `down` and `up`; adds that of the input to `dx`.
fn adapter_backward(
    x: &[f32],
    dy: MatrixView<'_>,
    adapter: LowRank<Flex>,
    required: RequiredGradients,
    dx: Option<&mut Vec<f32>>,
) -> [Option<Tensor<Flex, 2>>; 2] {
    let LowRank {
        down,
        up,
        scale,
        dropout,
    } = adapter;
    let ([input, rank], [_, output], scale) = (down.dims(), up.dims(), scale as f32);
    let rows = x.len() / input;
    let (down, up) = (HostMatrix::new(down), HostMatrix::new(up));
    let d_up = required.up.then(|| {
        let low = down_projection(x, input, &down, rank, dropout);
        let low = MatrixView::rows(&low, [rows, rank]).transposed();
        tensor(matmul([rank, output], scale, low, dy), [rank, output])
    });
    let transposed = MatrixView::rows(up.as_slice(), [rank, output]).transposed();
    let d_low = matmul([rows, rank], scale, dy, transposed);
    let d_down = required.down.then(|| {
        let gradient = down_gradient(x, &d_low, [rows, input, rank], dropout);
        tensor(gradient, [input, rank])
    });
    if let Some(dx) = dx {
        add_update(dx, &d_low, &down, [input, rank], dropout);
    }
    [d_down, d_up]
}

/// A new matrix of `shape`: `scale · left · right`.
fn matmul(shape: [usize; 2], scale: f32, left: MatrixView<'_>, right: MatrixView<'_>) -> Vec<f32> {
    let mut matmul = vec![0.0; shape[0] * shape[1]];
    MatrixMut::rows(&mut matmul, shape).set(scale, left, right, Threads::Pool);
    matmul
}

/// `drop(x)ᵀ · d_low`: `[in, rank]`.
fn down_gradient(
    x: &[f32],
    d_low: &[f32],
    [rows, input, rank]: [usize; 3],
    dropout: Option<Dropout>,
) -> Vec<f32> {
    let low = MatrixView::rows(d_low, [rows, rank]);
    let Some(dropout) = dropout else {
        return matmul(
            [input, rank],
            1.0,
            MatrixView::rows(x, [rows, input]).transposed(),
            low,
        );
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
            apply_dropout_into(kept, &x[first..first + count], dropout, row * input + first);
        }
        let kept = MatrixView::rows(&kept, [rows, count]).transposed();
        MatrixMut::rows(gradient, [count, rank]).set(1.0, kept, low, Threads::Current);
    });
    gradient
}

/// `dx += drop(d_low · downᵀ)`.
fn add_update(
    dx: &mut [f32],
    d_low: &[f32],
    down: &HostMatrix,
    [input, rank]: [usize; 2],
    dropout: Option<Dropout>,
) {
    let back = MatrixView::rows(down.as_slice(), [input, rank]).transposed();
    let blocks = dx
        .par_chunks_mut(BLOCK * input)
        .zip(d_low.par_chunks(BLOCK * rank))
        .enumerate();
    blocks.for_each(|(block, (dx, d_low))| {
        let rows = dx.len() / input;
        let low = MatrixView::rows(d_low, [rows, rank]);
        let Some(dropout) = dropout else {
            MatrixMut::rows(dx, [rows, input]).add(1.0, low, back, Threads::Current);
            return;
        };
        let mut update = vec![0.0; dx.len()];
        MatrixMut::rows(&mut update, [rows, input]).set(1.0, low, back, Threads::Current);
        let mut factors = vec![0.0; dx.len()];
        vectorized(
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
