//! Products of matrices in host memory: large ones by tiles of our own ([`product`]),
//! those of a few rows by dot products ([`few`]), all others on the `gemm` crate.
//!
//! Rule: this is the one place of the engine that hands out raw pointers; every view is checked against its
//! slice when it is made, so no product can read or write outside. [`ahead`] names addresses and reads nothing.

mod ahead;
mod few;
mod pack;
mod product;
mod scratch;
mod tile;

use gemm::Parallelism;
use product::Product;
use pulp::Arch;

use super::lanes::vectorised;

/// A matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    numbers: &'a [f32],
    shape: [usize; 2],
    /// From a row to the next and from a column to the next.
    strides: [usize; 2],
}

/// One past the last number of `shape` with rows `stride` apart.
fn reach([rows, columns]: [usize; 2], stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * stride + columns
    }
}

impl<'a> View<'a> {
    /// Rows one after the other.
    pub(crate) fn rows(numbers: &'a [f32], shape: [usize; 2]) -> Self {
        Self::strided(numbers, shape, shape[1])
    }

    /// Rows `stride` apart.
    pub(crate) fn strided(numbers: &'a [f32], shape: [usize; 2], stride: usize) -> Self {
        assert!(
            reach(shape, stride) <= numbers.len(),
            "a view outside of its slice"
        );
        Self {
            numbers,
            shape,
            strides: [stride, 1],
        }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        let ([rows, columns], [down, across]) = (self.shape, self.strides);
        Self {
            numbers: self.numbers,
            shape: [columns, rows],
            strides: [across, down],
        }
    }
}

/// Where a product goes.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    numbers: &'a mut [f32],
    shape: [usize; 2],
    stride: usize,
}

impl<'a> Target<'a> {
    /// Rows one after the other.
    pub(crate) fn rows(numbers: &'a mut [f32], shape: [usize; 2]) -> Self {
        Self::strided(numbers, shape, shape[1])
    }

    /// Rows `stride` apart.
    pub(crate) fn strided(numbers: &'a mut [f32], shape: [usize; 2], stride: usize) -> Self {
        assert!(
            reach(shape, stride) <= numbers.len() && (shape[1] <= stride || shape[0] <= 1),
            "a target outside of its slice or over itself"
        );
        Self {
            numbers,
            shape,
            stride,
        }
    }

    /// `target = scale · left · right`.
    pub(crate) fn set(self, scale: f32, left: View<'_>, right: View<'_>, threads: Threads) {
        self.multiply(false, scale, left, right, threads);
    }

    /// `target += scale · left · right`.
    pub(crate) fn add(self, scale: f32, left: View<'_>, right: View<'_>, threads: Threads) {
        self.multiply(true, scale, left, right, threads);
    }

    #[expect(
        unsafe_code,
        reason = "gemm takes pointers; all bounds are those of checked views"
    )]
    fn multiply(self, add: bool, scale: f32, left: View<'_>, right: View<'_>, threads: Threads) {
        let ([rows, columns], depth) = (self.shape, left.shape[1]);
        assert_eq!(
            [left.shape[0], right.shape[1]],
            self.shape,
            "the shape of a product"
        );
        assert_eq!(depth, right.shape[0], "the inner length of a product");
        if rows == 0 || columns == 0 {
            return;
        }
        let product = Product {
            add,
            scale,
            left,
            right,
        };
        let parallelism = match threads {
            Threads::This => Parallelism::None,
            Threads::All if few::is_for(left, right) => {
                return few::multiply(Arch::new(), self.numbers, self.stride, product);
            }
            Threads::All if product::is_for(left, right) => {
                return product::multiply(Arch::new(), self.numbers, self.stride, product);
            }
            Threads::All => Parallelism::Rayon(0),
        };
        // SAFETY: `Target` and `View` hold slices that their shapes and strides stay within (checked where they
        // are made), the target is borrowed alone and its rows do not overlap, and with `add` false it is only
        // written. Strides are lengths within a slice, so they fit an isize.
        unsafe {
            gemm::gemm(
                rows,
                columns,
                depth,
                self.numbers.as_mut_ptr(),
                1,
                self.stride as isize,
                add,
                left.numbers.as_ptr(),
                left.strides[1] as isize,
                left.strides[0] as isize,
                right.numbers.as_ptr(),
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
}

/// Who computes a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    /// The calling thread, which is itself one of many.
    This,
    /// All threads of the pool.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_views_are_those_of_sums() {
        let numbers: Vec<f32> = (0..60).map(|number| (number as f32 * 0.7).sin()).collect();
        // 3 x 4 in rows of 7, and 4 x 5 as a transposed 5 x 4.
        let left = View::strided(&numbers[2..], [3, 4], 7);
        let right = View::rows(&numbers[30..], [5, 4]).transposed();
        let mut product = [1.0; 3 * 6];
        Target::strided(&mut product[1..], [3, 5], 6).add(2.0, left, right, Threads::This);
        for row in 0..3 {
            assert_eq!(product[row * 6], 1.0, "what lies between is left alone");
            for column in 0..5 {
                let sum: f32 = (0..4)
                    .map(|at| numbers[2 + row * 7 + at] * numbers[30 + column * 4 + at])
                    .sum();
                let found = product[1 + row * 6 + column];
                assert!((found - (1.0 + 2.0 * sum)).abs() < 1e-5, "{found}");
            }
        }
    }

    #[test]
    fn a_sum_of_nothing_is_zero() {
        let mut product = vec![7.0; 6];
        Target::rows(&mut product, [2, 3]).set(
            1.0,
            View::rows(&[], [2, 0]),
            View::rows(&[], [0, 3]),
            Threads::All,
        );
        assert_eq!(product, [0.0; 6]);
    }

    #[test]
    #[should_panic(expected = "outside of its slice")]
    fn a_view_outside_of_its_slice_is_refused() {
        let _ = View::strided(&[0.0; 10], [3, 4], 4);
    }

    #[test]
    #[should_panic(expected = "over itself")]
    fn a_target_over_itself_is_refused() {
        let _ = Target::strided(&mut [0.0; 10], [3, 3], 2);
    }
}
