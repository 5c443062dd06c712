//! Matrix products by the `gemm` crate, which takes raw pointers.

use gemm::Parallelism;

/// A matrix in a slice, described by its shape and the distances between neighbouring rows and columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) shape: [usize; 2],
    /// Row stride and column stride, in elements.
    pub(crate) strides: [usize; 2],
}

/// `target = alpha · target + scale · left · right`, where `alpha` is 1 with `add` and 0 without. The rows of `target`
/// are `stride` elements apart and its columns adjacent. Without `add`, `target` is written but not read.
///
/// # Panics
/// When a matrix reaches beyond its slice, the rows of `target` overlap, or the inner dimensions differ.
pub(crate) fn multiply(
    target: &mut [f32],
    stride: usize,
    add: bool,
    scale: f32,
    left: Operand<'_>,
    right: Operand<'_>,
    parallelism: Parallelism,
) {
    let ([rows, depth], columns) = (left.shape, right.shape[1]);
    assert_eq!(depth, right.shape[0], "the inner dimension of a product");
    for operand in [left, right] {
        let length = extent(operand.shape, operand.strides);
        assert!(
            length.is_some_and(|length| length <= operand.data.len()),
            "an operand outside of its slice"
        );
    }
    assert!(
        extent([rows, columns], [stride, 1]).is_some_and(|length| length <= target.len())
            && (columns <= stride || rows <= 1),
        "a target outside of its slice or over itself"
    );
    // SAFETY: every element `i · row stride + j · column stride` of the three matrices lies within its slice and no
    // computation of an offset overflows: `extent` has just been checked against the slices' lengths, which never
    // exceed `isize::MAX`. `target` is borrowed mutably, so it aliases neither operand, and its rows do not overlap.
    // All slices are initialised, and `f32` has no invalid bit patterns.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            target.as_mut_ptr(),
            1,
            stride as isize,
            add,
            left.data.as_ptr(),
            left.strides[1] as isize,
            left.strides[0] as isize,
            right.data.as_ptr(),
            right.strides[1] as isize,
            right.strides[0] as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// One past the offset of the last element of a strided matrix, 0 for an empty one; `None` when it overflows.
fn extent([rows, columns]: [usize; 2], [row_stride, column_stride]: [usize; 2]) -> Option<usize> {
    if rows == 0 || columns == 0 {
        return Some(0);
    }
    let last_row = (rows - 1).checked_mul(row_stride)?;
    let last_column = (columns - 1).checked_mul(column_stride)?;
    last_row.checked_add(last_column)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(target: &mut [f32], stride: usize, left: Operand<'_>, right: Operand<'_>) {
        multiply(target, stride, false, 1.0, left, right, Parallelism::None);
    }

    fn operand(data: &[f32], shape: [usize; 2], strides: [usize; 2]) -> Operand<'_> {
        Operand { data, shape, strides }
    }

    #[test]
    fn a_product_is_written_into_its_target_alone() {
        let data = [1.0, 2.0, 3.0, 4.0];
        let square = operand(&data, [2, 2], [2, 1]);
        let mut target = [9.0; 6];
        product(&mut target, 3, square, square);
        assert_eq!(target, [7.0, 10.0, 9.0, 15.0, 22.0, 9.0]);
    }

    #[test]
    #[should_panic(expected = "an operand outside of its slice")]
    fn an_operand_outside_of_its_slice_is_refused() {
        let data = [0.0; 4];
        let long = operand(&data, [2, 2], [3, 1]);
        product(&mut [0.0; 4], 2, long, operand(&data, [2, 2], [2, 1]));
    }

    #[test]
    #[should_panic(expected = "an operand outside of its slice")]
    fn a_stride_that_overflows_is_refused() {
        let data = [0.0; 4];
        let huge = operand(&data, [3, 2], [usize::MAX, 1]);
        product(&mut [0.0; 6], 2, huge, operand(&data, [2, 2], [2, 1]));
    }

    #[test]
    #[should_panic(expected = "over itself")]
    fn a_target_with_overlapping_rows_is_refused() {
        let data = [0.0; 4];
        let square = operand(&data, [2, 2], [2, 1]);
        product(&mut [0.0; 6], 1, square, square);
    }

    #[test]
    #[should_panic(expected = "a target outside of its slice")]
    fn a_target_outside_of_its_slice_is_refused() {
        let data = [0.0; 4];
        let square = operand(&data, [2, 2], [2, 1]);
        product(&mut [0.0; 3], 2, square, square);
    }
}
