//! Named matrices: what is loaded, trained, checkpointed and exported.
//!
//! Rule: every tensor is a matrix; a vector of length n is the row `[1, n]`. Names are those of the Hugging
//! Face file (without `transformer.`) or, for adapters, of PEFT, and the order is always that of the names.

use std::collections::BTreeMap;

use burn::tensor::{
    DType, FloatDType, Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};

use crate::{failure::Failure, graphs::Turn};

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
    /// Puts `tensor` under `name`, replacing what was there.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor<B, 2>) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The matrix `name` (shared, not copied).
    ///
    /// # Errors
    /// An internal failure when there is none: names are checked when a set is read.
    pub fn get(&self, name: &str) -> Result<Tensor<B, 2>, Failure> {
        self.tensors
            .get(name)
            .cloned()
            .ok_or_else(|| Failure::internal("find a tensor", name))
    }

    /// The matrix `name` (shared, not copied), where there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Tensor<B, 2>> {
        self.tensors.get(name).cloned()
    }

    /// Takes the matrix `name` out, so that its memory can be reused.
    pub fn take(&mut self, name: &str) -> Option<Tensor<B, 2>> {
        self.tensors.remove(name)
    }

    /// All matrices in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<B, 2>)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The names in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The same matrices in `floats`; those that have them already are shared. Of a graph's leaves, gradients come
    /// back in the leaves' own floats.
    #[must_use]
    pub fn cast(&self, floats: FloatDType) -> Self {
        let cast = |tensor: &Tensor<B, 2>| match tensor.dtype() == DType::from(floats) {
            true => tensor.clone(),
            false => tensor.clone().cast(floats),
        };
        let tensors = self.tensors.iter();
        Self {
            tensors: tensors
                .map(|(name, tensor)| (name.clone(), cast(tensor)))
                .collect(),
        }
    }

    /// How many numbers there are in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.tensors
            .values()
            .map(|tensor| tensor.dims().iter().product::<usize>() as u64)
            .sum()
    }
}

impl<B: AutodiffBackend> ParameterSet<B> {
    /// The leaves of a new graph over `values`; the turn lasts until their gradients are taken.
    #[must_use]
    pub fn leaves(values: &ParameterSet<B::InnerBackend>, _turn: &Turn) -> Self {
        let leaf = |tensor: &Tensor<B::InnerBackend, 2>| Tensor::from_inner(tensor.clone()).require_grad();
        Self {
            tensors: values
                .tensors
                .iter()
                .map(|(name, tensor)| (name.clone(), leaf(tensor)))
                .collect(),
        }
    }

    /// `values` as constants of a graph: nothing is differentiated with respect to them.
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

/// The matrix of `values` in rows of `shape[1]`.
#[must_use]
pub fn matrix<B: Backend>(values: Vec<f32>, shape: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The numbers of `tensor` in rows; waits for the device.
///
/// # Errors
/// An internal failure when the device hands back something else than 32-bit floats.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>, Failure> {
    let data = tensor.into_data().convert_dtype(DType::F32);
    data.to_vec::<f32>()
        .map_err(|error| Failure::internal("read a tensor", format!("{error:?}")))
}
