//! Named matrices: parameters, gradients and optimizer state.
//!
//! Rule: every tensor is a matrix; a vector of length n is a row `[1, n]`. Names are those of the Hugging Face file
//! (without `transformer.`) or, for adapters, of PEFT; the order is that of the names.

use std::collections::BTreeMap;

use burn::tensor::{
    DType, FloatDType, Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};

use crate::{autodiff_guard::AutodiffGuard, failure::Failure};

/// Matrices by name.
#[derive(Clone, Debug)]
pub struct ParameterSet<B: Backend> {
    tensors: BTreeMap<String, Tensor<B, 2>>,
}

impl<B: Backend> Default for ParameterSet<B> {
    fn default() -> Self {
        Self {
            tensors: BTreeMap::new(),
        }
    }
}

impl<B: Backend> ParameterSet<B> {
    /// Adds or replaces the matrix `name`.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor<B, 2>) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The matrix `name` (shared, not copied).
    ///
    /// # Errors
    /// An internal failure when it does not exist: names are checked when a set is read.
    pub fn get(&self, name: &str) -> Result<Tensor<B, 2>, Failure> {
        self.tensors
            .get(name)
            .cloned()
            .ok_or_else(|| Failure::internal("find a tensor", name))
    }

    /// The matrix `name` (shared, not copied), where it exists.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Tensor<B, 2>> {
        self.tensors.get(name).cloned()
    }

    /// Removes the matrix `name`, so that its memory can be reused.
    pub fn take(&mut self, name: &str) -> Option<Tensor<B, 2>> {
        self.tensors.remove(name)
    }

    /// All matrices in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<B, 2>)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The names in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The same matrices as `dtype`; those that have that type already are shared. Gradients of a graph's leaves keep
    /// the type of the leaves.
    #[must_use]
    pub fn cast(&self, dtype: FloatDType) -> Self {
        let cast = |tensor: &Tensor<B, 2>| match tensor.dtype() == DType::from(dtype) {
            true => tensor.clone(),
            false => tensor.clone().cast(dtype),
        };
        let tensors = self.tensors.iter();
        Self {
            tensors: tensors
                .map(|(name, tensor)| (name.clone(), cast(tensor)))
                .collect(),
        }
    }

    /// Number of elements of all matrices.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.tensors
            .values()
            .map(|tensor| tensor.dims().iter().product::<usize>() as u64)
            .sum()
    }
}

impl<B: AutodiffBackend> ParameterSet<B> {
    /// The leaves of a new graph over `values`. Hold the guard until their gradients have been taken.
    #[must_use]
    pub fn leaves(values: &ParameterSet<B::InnerBackend>, _guard: &AutodiffGuard) -> Self {
        let leaf = |tensor: &Tensor<B::InnerBackend, 2>| Tensor::from_inner(tensor.clone()).require_grad();
        Self {
            tensors: values
                .tensors
                .iter()
                .map(|(name, tensor)| (name.clone(), leaf(tensor)))
                .collect(),
        }
    }

    /// `values` as constants of a graph, without gradients.
    #[must_use]
    pub fn constants(values: &ParameterSet<B::InnerBackend>) -> Self {
        let constant = |tensor: &Tensor<B::InnerBackend, 2>| Tensor::from_inner(tensor.clone());
        Self {
            tensors: values
                .tensors
                .iter()
                .map(|(name, tensor)| (name.clone(), constant(tensor)))
                .collect(),
        }
    }
}

/// The matrix of `shape` with the elements `values`, row by row.
#[must_use]
pub fn matrix<B: Backend>(values: Vec<f32>, shape: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The elements of `tensor`, row by row; waits for the device.
///
/// # Errors
/// An internal failure when the elements cannot be read as 32-bit floats.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>, Failure> {
    let data = tensor.into_data().convert_dtype(DType::F32);
    data.to_vec::<f32>()
        .map_err(|error| Failure::internal("read a tensor", format!("{error:?}")))
}
