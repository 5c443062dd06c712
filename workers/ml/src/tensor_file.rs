//! `safetensors` files: named tensors on the disk.
//!
//! Rule: a file is accepted only if its header, its length and its contents agree. Files are written with an order of
//! tensors that depends on names and types alone, so equal sets give equal bytes.

mod error;
mod header;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    path::Path,
};

use burn::tensor::{DType, FloatDType, Tensor, TensorData, backend::Backend};
pub(crate) use error::join_problems;
pub use header::TensorFile;
use safetensors::{Dtype, tensor::TensorView};

use crate::{
    failure::{Failure, FailureCode},
    parameters::{ParameterSet, values},
};

/// Numbers that are compared at a time.
const PIECE: usize = 1 << 18;

/// Name and shape of a tensor that a file must contain; a row `[1, n]` is stored as the vector `[n]` if it is a bias
/// or a norm.
pub type TensorSpec = (String, [usize; 2]);

/// Whether the Hugging Face layout stores `name` as a vector: biases, and weights of norms.
pub(crate) fn is_vector(name: &str) -> bool {
    let module = name.rsplit('.').nth(1).unwrap_or("");
    name.ends_with(".bias") || module.starts_with("ln_") || module.ends_with("norm") || module == "LayerNorm"
}

/// The shape of the tensor `name` `[rows, columns]` in a file.
#[must_use]
pub fn stored_shape(name: &str, [rows, columns]: [usize; 2]) -> Vec<usize> {
    if is_vector(name) {
        vec![columns]
    } else {
        vec![rows, columns]
    }
}

/// Encodes `set` as a file, with `prefix` before each name.
///
/// # Errors
/// An internal failure when a tensor cannot be read from the device.
pub fn encode<B: Backend>(set: &ParameterSet<B>, prefix: &str) -> Result<Vec<u8>, Failure> {
    encode_named(set, |name| format!("{prefix}{name}"))
}

/// Encodes `set` as a file, with names mapped by `naming`.
///
/// # Errors
/// An internal failure when a tensor cannot be read from the device.
pub fn encode_named<B: Backend>(
    set: &ParameterSet<B>,
    naming: impl Fn(&str) -> String,
) -> Result<Vec<u8>, Failure> {
    let mut tensors = Vec::new();
    for (name, tensor) in set.iter() {
        let shape = stored_shape(name, tensor.dims());
        let bytes: Vec<u8> = values(tensor.clone())?
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        tensors.push((naming(name), shape, bytes));
    }
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
        })
        .collect();
    let views = views.map_err(|error| Failure::internal("describe a tensor", error))?;
    safetensors::serialize(views, Some(format())).map_err(|error| Failure::internal("encode tensors", error))
}

/// The metadata in the headers of Hugging Face's files.
#[must_use]
pub fn format() -> HashMap<String, String> {
    HashMap::from([("format".to_owned(), "pt".to_owned())])
}

/// Reads the tensors of the file at `path`, which must be exactly those of `expected` with `prefix`, as 32-bit floats
/// whatever the file's type is (f32, f16 or bf16). Names that `ignored` accepts may be present too.
///
/// # Errors
/// `code` when the file cannot be read, is inconsistent, lacks tensors, or has other tensors or shapes; every such
/// name is listed.
pub fn read<B: Backend>(
    path: &Path,
    expected: &[TensorSpec],
    prefix: &str,
    ignored: impl Fn(&str) -> bool,
    code: FailureCode,
    device: &B::Device,
) -> Result<ParameterSet<B>, Failure> {
    let files = TensorFiles::of(vec![TensorFile::open(path, code)?]);
    files.extract(expected, |name| format!("{prefix}{name}"), ignored, device)
}

/// Open files that together contain the tensors of one model. Of files with the same tensor the last one is used;
/// check for that before.
#[derive(Debug)]
pub struct TensorFiles {
    files: Vec<TensorFile>,
    /// Index of the file of each tensor.
    of: BTreeMap<String, usize>,
    /// The type that tensors are converted to.
    dtype: FloatDType,
}

impl TensorFiles {
    /// The tensors of all `files`.
    #[must_use]
    pub fn of(files: Vec<TensorFile>) -> Self {
        let mut of = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            of.extend(file.names().map(|name| (name.to_owned(), index)));
        }
        Self {
            files,
            of,
            dtype: FloatDType::F32,
        }
    }

    /// Converts tensors to `dtype` instead of 32-bit floats.
    #[must_use]
    pub fn with_dtype(self, dtype: FloatDType) -> Self {
        Self { dtype, ..self }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }

    /// All tensors in order of name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(String::as_str)
    }

    /// Type and shape of the tensor `name`, where there is one.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.of.get(name).and_then(|file| self.files[*file].info(name))
    }

    /// The bytes of the tensor `name`, little-endian.
    ///
    /// # Errors
    /// The code given to [`TensorFile::open`] when it cannot be read; an internal failure when it does not exist.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Failure> {
        match self.of.get(name) {
            Some(file) => self.files[*file].bytes(name),
            None => Err(Failure::internal("find a tensor", name)),
        }
    }

    /// Reads the tensors, which must be exactly those of `expected` under the names that `naming` gives, as 32-bit
    /// floats or as [`TensorFiles::with_dtype`] says. Names that `ignored` accepts may be present too. Nothing is
    /// read before all names, types and shapes have been checked.
    ///
    /// # Errors
    /// A failure that lists everything that is missing, unexpected, or of another type or shape.
    pub fn extract<B: Backend>(
        &self,
        expected: &[TensorSpec],
        naming: impl Fn(&str) -> String,
        ignored: impl Fn(&str) -> bool,
        device: &B::Device,
    ) -> Result<ParameterSet<B>, Failure> {
        self.check(expected, &naming, ignored)?;
        let mut set = ParameterSet::default();
        for (name, shape) in expected {
            set.insert(name.clone(), self.tensor::<B>(&naming(name), *shape, device)?);
        }
        Ok(set)
    }

    /// Reads the tensor `name` as a matrix of 32-bit floats, or as [`TensorFiles::with_dtype`] says.
    ///
    /// # Errors
    /// As [`TensorFiles::bytes`], and an internal failure for another type or shape.
    pub fn tensor<B: Backend>(
        &self,
        name: &str,
        shape: [usize; 2],
        device: &B::Device,
    ) -> Result<Tensor<B, 2>, Failure> {
        let (dtype, stored) = self
            .info(name)
            .ok_or_else(|| Failure::internal("find a tensor", name))?;
        let dtype = match float(dtype) {
            Some(dtype) if stored.iter().product::<usize>() == shape[0] * shape[1] => dtype,
            _ => return Err(Failure::internal("read a tensor of another type or shape", name)),
        };
        let data = TensorData::from_bytes_vec(self.bytes(name)?, shape, dtype);
        let target = DType::from(self.dtype);
        Ok(Tensor::from_data(data.convert_dtype(target), (device, target)))
    }

    /// Whether the tensors `one` and `other` have the same shape and numbers, whatever their types. Read in pieces.
    ///
    /// # Errors
    /// As [`TensorFiles::bytes`].
    pub fn are_equal(&self, one: &str, other: &str) -> Result<bool, Failure> {
        let (Some((of_one, shape)), Some((of_other, other_shape))) = (self.info(one), self.info(other))
        else {
            return Ok(false);
        };
        let (Some(of_one), Some(of_other)) = (float(of_one), float(of_other)) else {
            return Ok(false);
        };
        let count: usize = shape.iter().product();
        let mut from = 0;
        while shape == other_shape && from < count {
            let to = count.min(from + PIECE);
            if self.numbers(one, of_one, from..to)? != self.numbers(other, of_other, from..to)? {
                return Ok(false);
            }
            from = to;
        }
        Ok(shape == other_shape)
    }

    /// Some of the numbers of the tensor `name`, as 32-bit floats.
    fn numbers(&self, name: &str, dtype: DType, range: Range<usize>) -> Result<TensorData, Failure> {
        let file = self.of.get(name).and_then(|file| self.files.get(*file));
        let file = file.ok_or_else(|| Failure::internal("find a tensor", name))?;
        let (size, count) = (dtype.size(), range.len());
        let bytes = file.part(name, range.start * size..range.end * size)?;
        Ok(TensorData::from_bytes_vec(bytes, [count], dtype).convert_dtype(DType::F32))
    }

    /// Checks that the tensors are exactly those of `expected` under the names that `naming` gives, and those that
    /// `ignored` accepts. Nothing but headers is looked at.
    ///
    /// # Errors
    /// A failure that lists everything that is missing, unexpected, or of another type or shape.
    pub fn check(
        &self,
        expected: &[TensorSpec],
        naming: impl Fn(&str) -> String,
        ignored: impl Fn(&str) -> bool,
    ) -> Result<(), Failure> {
        let wanted: Vec<(String, &TensorSpec)> = expected
            .iter()
            .map(|expected| (naming(&expected.0), expected))
            .collect();
        let mut problems = Vec::new();
        for (stored, (name, shape)) in &wanted {
            match self.info(stored) {
                None => problems.push(format!("{stored} is missing")),
                Some((dtype, found)) => {
                    problems.extend(
                        misfit(name, *shape, dtype, found).map(|problem| format!("{stored} {problem}")),
                    );
                }
            }
        }
        let known: HashSet<&str> = wanted.iter().map(|(stored, _)| stored.as_str()).collect();
        problems.extend(
            self.names()
                .filter(|name| !known.contains(name) && !ignored(name))
                .map(|name| format!("{name} does not belong to this model")),
        );
        match self.files.first() {
            Some(file) if !problems.is_empty() => Err(file.refuse(&problems)),
            _ => Ok(()),
        }
    }
}

/// Describes the mismatch of a tensor of type `dtype` and shape `found`.
fn misfit(name: &str, expected: [usize; 2], dtype: Dtype, found: &[usize]) -> Option<String> {
    let vector = is_vector(name) && found == [expected[1]];
    if !vector && found != expected {
        return Some(format!("has the shape {found:?}, expected {expected:?}"));
    }
    match float(dtype) {
        Some(_) => None,
        None => Some(format!("has the type {dtype:?}; F32, F16 and BF16 are read")),
    }
}

fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
