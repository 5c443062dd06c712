//! Tensors of the CPU backend as slices of 32-bit floats.

use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};

/// A matrix in host memory with contiguous rows.
pub(crate) struct HostMatrix(FlexTensor);

impl HostMatrix {
    /// The matrix `x`, copied when its rows are not contiguous.
    pub(crate) fn new(x: Tensor<Flex, 2>) -> Self {
        let x = x.into_primitive().tensor();
        match x.as_slice::<f32>() {
            Some(_) => Self(x),
            None => Self(x.to_contiguous()),
        }
    }

    /// Its elements, row by row.
    ///
    /// # Panics
    /// When they are not 32-bit floats; callers use the composite forms for those (see [`is_low_precision`]).
    pub(crate) fn as_slice(&self) -> &[f32] {
        self.0.as_slice().expect("32-bit floats in rows")
    }

    /// Its buffer where it is not shared, else a copy.
    pub(crate) fn into_vec(self) -> Vec<f32> {
        self.0.into_data().into_vec().expect("32-bit floats")
    }

    /// Whether [`HostMatrix::into_vec`] returns the buffer itself.
    pub(crate) fn is_unique_buffer(&self) -> bool {
        self.0.is_unique()
    }
}

/// Whether the elements of `x` have fewer than 32 bits, which the kernels do not support.
pub(crate) fn is_low_precision(x: &Tensor<Flex, 2>) -> bool {
    x.dtype() != DType::F32
}

/// The tensor of `shape` with the elements `values`, row by row.
pub(crate) fn tensor(values: Vec<f32>, shape: [usize; 2]) -> Tensor<Flex, 2> {
    let tensor = FlexTensor::from_data(TensorData::new(values, shape));
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
