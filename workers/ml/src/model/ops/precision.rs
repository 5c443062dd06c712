//! Conversion between the model's floating-point type and 32-bit floats.
//!
//! Rule: reductions over tensors of fewer than 32 bits (bfloat16 on a GPU) are computed in 32 bits and rounded once, at
//! the end, as in PyTorch's kernels.

use burn::tensor::{DType, FloatDType, Tensor, backend::Backend};

use crate::spec::Precision;

/// Type of a frozen base and of activations.
#[must_use]
pub fn dtype_of(precision: Precision) -> FloatDType {
    match precision {
        Precision::F32 => FloatDType::F32,
        Precision::Bf16 => FloatDType::BF16,
    }
}

/// `x` in 32-bit floats.
pub(crate) fn to_f32<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    match x.dtype() {
        DType::F32 => x,
        _ => x.cast(FloatDType::F32),
    }
}

/// `x` as `dtype`.
pub(crate) fn cast_to<B: Backend, const D: usize>(x: Tensor<B, D>, dtype: DType) -> Tensor<B, D> {
    match x.dtype() == dtype {
        true => x,
        false => x.cast(dtype),
    }
}
