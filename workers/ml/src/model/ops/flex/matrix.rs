//! Matrix products in host memory.
//!
//! Rule: the shapes alone choose the algorithm. Products with few rows are dot products ([`small_m`]), those with up
//! to a few hundred rows are tiled here ([`tiled`]), all others are left to the `gemm` crate ([`crate::raw::gemm`]).

mod layout;
mod pack;
mod prefetch;
mod scratch;
mod small_m;
mod tile;
mod tiled;
mod view;

use gemm::Parallelism;
use pulp::Arch;

pub(crate) use self::view::MatrixView;
use self::view::{MatMul, extent};
use crate::raw::gemm::{self as raw_gemm, Operand};

/// The target of a product: a mutable matrix inside a slice.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    shape: [usize; 2],
    stride: usize,
}

/// Which threads compute a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    /// The calling thread alone, because the caller itself is one of many parallel tasks.
    Current,
    /// All threads of the pool.
    Pool,
}

impl<'a> MatrixMut<'a> {
    /// A matrix of contiguous rows.
    pub(crate) fn rows(data: &'a mut [f32], shape: [usize; 2]) -> Self {
        Self::strided(data, shape, shape[1])
    }

    /// A matrix whose rows are `stride` elements apart.
    ///
    /// # Panics
    /// When it reaches beyond `data`, or its rows overlap.
    pub(crate) fn strided(data: &'a mut [f32], shape: [usize; 2], stride: usize) -> Self {
        assert!(
            extent(shape, stride) <= data.len() && (shape[1] <= stride || shape[0] <= 1),
            "a target outside of its slice or over itself"
        );
        Self { data, shape, stride }
    }

    /// `target = scale · left · right`.
    pub(crate) fn set(self, scale: f32, left: MatrixView<'_>, right: MatrixView<'_>, threads: Threads) {
        self.multiply(false, scale, left, right, threads);
    }

    /// `target += scale · left · right`.
    pub(crate) fn add(self, scale: f32, left: MatrixView<'_>, right: MatrixView<'_>, threads: Threads) {
        self.multiply(true, scale, left, right, threads);
    }

    fn multiply(self, add: bool, scale: f32, left: MatrixView<'_>, right: MatrixView<'_>, threads: Threads) {
        assert_eq!(
            [left.shape[0], right.shape[1]],
            self.shape,
            "the shape of a product"
        );
        assert_eq!(left.shape[1], right.shape[0], "the inner dimension of a product");
        if self.shape.contains(&0) {
            return;
        }
        let matmul = MatMul {
            add,
            scale,
            left,
            right,
        };
        let parallelism = match threads {
            Threads::Current => Parallelism::None,
            Threads::Pool if small_m::supports(left, right) => {
                return small_m::multiply(Arch::new(), self.data, self.stride, matmul);
            }
            Threads::Pool if tiled::supports(left, right) => {
                return tiled::multiply(Arch::new(), self.data, self.stride, matmul);
            }
            Threads::Pool => Parallelism::Rayon(0),
        };
        let [left, right] = [left, right].map(operand);
        raw_gemm::multiply(self.data, self.stride, add, scale, left, right, parallelism);
    }
}

fn operand(view: MatrixView<'_>) -> Operand<'_> {
    Operand {
        data: view.data,
        shape: view.shape,
        strides: view.strides,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_views_are_those_of_sums() {
        let data: Vec<f32> = (0..60).map(|number| (number as f32 * 0.7).sin()).collect();
        // 3 x 4 in rows of 7, and 4 x 5 as a transposed 5 x 4.
        let left = MatrixView::strided(&data[2..], [3, 4], 7);
        let right = MatrixView::rows(&data[30..], [5, 4]).transposed();
        let mut matmul = [1.0; 3 * 6];
        MatrixMut::strided(&mut matmul[1..], [3, 5], 6).add(2.0, left, right, Threads::Current);
        for row in 0..3 {
            assert_eq!(matmul[row * 6], 1.0, "what lies between is left alone");
            for column in 0..5 {
                let sum: f32 = (0..4)
                    .map(|at| data[2 + row * 7 + at] * data[30 + column * 4 + at])
                    .sum();
                let found = matmul[1 + row * 6 + column];
                assert!((found - (1.0 + 2.0 * sum)).abs() < 1e-5, "{found}");
            }
        }
    }

    #[test]
    fn a_sum_of_nothing_is_zero() {
        let mut matmul = vec![7.0; 6];
        MatrixMut::rows(&mut matmul, [2, 3]).set(
            1.0,
            MatrixView::rows(&[], [2, 0]),
            MatrixView::rows(&[], [0, 3]),
            Threads::Pool,
        );
        assert_eq!(matmul, [0.0; 6]);
    }

    #[test]
    #[should_panic(expected = "outside of its slice")]
    fn a_view_outside_of_its_slice_is_refused() {
        let _ = MatrixView::strided(&[0.0; 10], [3, 4], 4);
    }

    #[test]
    #[should_panic(expected = "over itself")]
    fn a_target_over_itself_is_refused() {
        let _ = MatrixMut::strided(&mut [0.0; 10], [3, 3], 2);
    }
}
