//! Read-only matrices inside slices, and the product of two of them as a value.
//!
//! Rule: a view is checked against its slice where it is made, so code that stays within its shape stays within the
//! slice.

use pulp::Arch;

use super::layout::MAX_LANES;

/// A matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixView<'a> {
    pub(super) data: &'a [f32],
    pub(super) shape: [usize; 2],
    /// Row stride and column stride, in elements.
    pub(super) strides: [usize; 2],
}

/// One past the offset of the last element of a matrix of `shape` whose rows are `stride` elements apart.
pub(super) fn extent([rows, columns]: [usize; 2], stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * stride + columns
    }
}

impl<'a> MatrixView<'a> {
    /// A matrix of contiguous rows.
    pub(crate) fn rows(data: &'a [f32], shape: [usize; 2]) -> Self {
        Self::strided(data, shape, shape[1])
    }

    /// A matrix whose rows are `stride` elements apart.
    ///
    /// # Panics
    /// When it reaches beyond `data`.
    pub(crate) fn strided(data: &'a [f32], shape: [usize; 2], stride: usize) -> Self {
        assert!(extent(shape, stride) <= data.len(), "a view outside of its slice");
        Self {
            data,
            shape,
            strides: [stride, 1],
        }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        let ([rows, columns], [row_stride, column_stride]) = (self.shape, self.strides);
        Self {
            data: self.data,
            shape: [columns, rows],
            strides: [column_stride, row_stride],
        }
    }
}

/// `target = (target +) scale · left · right`; the target is added to with `add`.
#[derive(Clone, Copy)]
pub(super) struct MatMul<'a> {
    pub(super) add: bool,
    pub(super) scale: f32,
    pub(super) left: MatrixView<'a>,
    pub(super) right: MatrixView<'a>,
}

/// Number of `f32` lanes of a vector of `arch`; 0 where it lacks fused multiply-add, which the kernels need.
pub(super) fn lanes(arch: Arch) -> usize {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => 8,
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => MAX_LANES,
        _ => 0,
    }
}

/// The first `columns` elements of each of the first `rows` rows of `target`, which are `stride` elements apart.
pub(super) fn rows_of(target: &mut [f32], stride: usize, [rows, columns]: [usize; 2]) -> Vec<&mut [f32]> {
    let rows = target.chunks_mut(stride).take(rows);
    rows.map(|row| &mut row[..columns]).collect()
}

/// Splits the rows of `target`, of `columns` elements each, into tasks of `width` columns.
pub(super) fn split_columns<'t>(
    target: &'t mut [&mut [f32]],
    columns: usize,
    width: usize,
) -> Vec<Vec<&'t mut [f32]>> {
    let mut tasks: Vec<Vec<&mut [f32]>> = (0..columns.div_ceil(width))
        .map(|_| Vec::with_capacity(target.len()))
        .collect();
    for row in target {
        for (task, part) in tasks.iter_mut().zip(row.chunks_mut(width)) {
            task.push(part);
        }
    }
    tasks
}
