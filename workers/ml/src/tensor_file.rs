//! `safetensors` files: named tensors on the disk.
//!
//! Rule: a file is believed only where its header, its length and its contents agree. What is written has
//! its tensors in an order that depends on names and types alone, so equal sets give equal bytes.

use std::{collections::HashMap, path::Path};

use burn::tensor::{DType, TensorData, backend::Backend};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    failure::{Failure, FailureCode},
    parameters::{ParameterSet, matrix, values},
};

/// A shape a file must have: a row `[1, n]` may stand in it as the vector `[n]`.
pub type Expected = (String, [usize; 2]);

/// Whether the Hugging Face layout keeps `name` as a vector.
fn is_vector(name: &str) -> bool {
    name.ends_with(".bias") || name.contains("ln_")
}

/// The bytes of a file of `set`, each name after `prefix`.
///
/// # Errors
/// An internal failure when a tensor cannot be read from the device.
pub fn encode<B: Backend>(set: &ParameterSet<B>, prefix: &str) -> Result<Vec<u8>, Failure> {
    let mut tensors = Vec::new();
    for (name, tensor) in set.iter() {
        let [rows, columns] = tensor.dims();
        let shape = if is_vector(name) {
            vec![columns]
        } else {
            vec![rows, columns]
        };
        let bytes: Vec<u8> = values(tensor.clone())?
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        tensors.push((format!("{prefix}{name}"), shape, bytes));
    }
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
        })
        .collect();
    let views = views.map_err(|error| Failure::internal("describe a tensor", error))?;
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(format)).map_err(|error| Failure::internal("encode tensors", error))
}

/// The tensors of the file at `path`, which must be exactly those of `expected` after `prefix`, in 32-bit
/// floats whatever the file has (f32, f16 or bf16). Names that `ignored` accepts may be there too.
///
/// # Errors
/// `code` when the file cannot be read, contradicts itself, lacks tensors, has others or other shapes; every
/// such name is listed.
pub fn read<B: Backend>(
    path: &Path,
    expected: &[Expected],
    prefix: &str,
    ignored: impl Fn(&str) -> bool,
    code: FailureCode,
    device: &B::Device,
) -> Result<ParameterSet<B>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::io(code, "read", path, &error))?;
    extract(
        &parse(&bytes, path, code)?,
        path,
        expected,
        prefix,
        ignored,
        code,
        device,
    )
}

/// [`read`] for a `file` that is already in memory; `path` serves the messages.
///
/// # Errors
/// As [`read`].
pub fn extract<B: Backend>(
    file: &SafeTensors<'_>,
    path: &Path,
    expected: &[Expected],
    prefix: &str,
    ignored: impl Fn(&str) -> bool,
    code: FailureCode,
    device: &B::Device,
) -> Result<ParameterSet<B>, Failure> {
    let mut problems = Vec::new();
    let mut set = ParameterSet::default();
    for (name, shape) in expected {
        match file.tensor(&format!("{prefix}{name}")) {
            Err(_) => problems.push(format!("{prefix}{name} is missing")),
            Ok(view) => match floats(&view, name, *shape) {
                Ok(numbers) => set.insert(name.clone(), matrix(numbers, *shape, device)),
                Err(problem) => problems.push(format!("{prefix}{name} {problem}")),
            },
        }
    }
    let known: std::collections::HashSet<String> = expected
        .iter()
        .map(|(name, _)| format!("{prefix}{name}"))
        .collect();
    let mut surplus: Vec<_> = file
        .names()
        .into_iter()
        .filter(|name| !known.contains(*name) && !ignored(name))
        .collect();
    surplus.sort_unstable();
    problems.extend(
        surplus
            .into_iter()
            .map(|name| format!("{name} does not belong to this model")),
    );
    if problems.is_empty() {
        Ok(set)
    } else {
        Err(refused(path, code, &listed(&problems)))
    }
}

/// The header of `bytes` and views of its tensors, after all checks of the format.
///
/// # Errors
/// `code` when the header lies about the file.
pub fn parse<'a>(bytes: &'a [u8], path: &Path, code: FailureCode) -> Result<SafeTensors<'a>, Failure> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        let advice = "the file is damaged or incomplete; copy or download it again";
        refused(path, code, &format!("{error}; {advice}"))
    })
}

fn floats(view: &TensorView<'_>, name: &str, expected: [usize; 2]) -> Result<Vec<f32>, String> {
    let shape = view.shape();
    let fits = shape == expected || (is_vector(name) && shape == [expected[1]]);
    if !fits {
        return Err(format!("has the shape {shape:?}, expected {expected:?}"));
    }
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        other => return Err(format!("has the type {other:?}; F32, F16 and BF16 are read")),
    };
    TensorData::from_bytes_vec(view.data().to_vec(), expected, dtype)
        .convert_dtype(DType::F32)
        .to_vec::<f32>()
        .map_err(|error| format!("cannot be read: {error:?}"))
}

fn listed(problems: &[String]) -> String {
    let shown = problems.iter().take(20).cloned().collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(20) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

fn refused(path: &Path, code: FailureCode, reason: &str) -> Failure {
    let name = path.file_name().unwrap_or_default().display();
    Failure::new(code, format!("{name} is refused: {reason}"))
}
