//! Comparison of a backend's logits, loss and gradients with the references.
//!
//! The difference of two tensors is ‖ours − theirs‖ / ‖theirs‖; of several tensors the largest counts. The limits follow
//! from the precision of matrix products: results in 32-bit floats differ by the order of sums (about 1e-6), TF32,
//! which NVIDIA's tensor cores use for 32-bit floats, has a mantissa of 10 bits (about 1e-3), and bfloat16 one of 7 bits
//! (about 1e-2). A wrong formula, a missing scale or a transposed matrix causes a difference of 0.1 and more.

use std::path::Path;

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend, BackendTypes},
};
use serde::{Deserialize, Serialize};

use super::reference::{FIXTURES, Fixture};
use crate::{
    autodiff_guard::AutodiffGuard,
    data::batch::Batch,
    failure::Failure,
    inference::Network,
    lora::peft,
    model::{
        CausalModel,
        folder::{self, ModelFolder},
        ops::{Dropout, PrimitiveOps, TransformerOps, precision::dtype_of, primitive},
    },
    parameters::{ParameterSet, values},
    spec::{Lora, Precision},
    training::{
        loss::{Targets, head_loss},
        trainable::{Trainable, TrainingBackend, hidden_states},
    },
};

/// A device of the backend that `B` differentiates.
type DeviceOf<B> = <<B as AutodiffBackend>::InnerBackend as BackendTypes>::Device;

/// How much larger than that of the forward pass the limit for gradients is: they go through twice as many roundings,
/// and small tensors count as much as large ones.
const GRADIENT_FACTOR: f64 = 4.0;

/// Precision of the device's matrix products on 32-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatmulPrecision {
    /// 32-bit floats.
    F32,
    /// TF32 where the device has it.
    Tf32,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The quantity, the model and the precision.
    pub what: String,
    /// Relative difference from the reference.
    pub difference: f64,
    /// The largest difference that is accepted.
    pub limit: f64,
}

impl Comparison {
    /// Whether the difference is within the limit; NaN is not.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.difference <= self.limit
    }
}

/// Compares the backend `B` on `device` with all references, in each of `precisions`.
///
/// # Errors
/// When results cannot be read from the device, or the temporary folder cannot be written.
pub fn run<B: TrainingBackend>(
    device: &DeviceOf<B>,
    matmul: MatmulPrecision,
    precisions: &[Precision],
) -> Result<Vec<Comparison>, Failure> {
    let mut comparisons = vec![dropout_masks::<B>(device)?];
    for fixture in &FIXTURES {
        let dir = tempfile::tempdir()
            .map_err(|error| Failure::internal("make a temporary folder for the self-test", error))?;
        let (base, adapter) = (dir.path().join("base"), dir.path().join("adapter"));
        fixture.write(&base, &adapter)?;
        for precision in precisions {
            let limit = limit(matmul, *precision);
            let of_model = compare_model::<B>(fixture, (&base, &adapter), device, *precision)?;
            comparisons.extend(of_model.map(|(quantity, difference, factor)| Comparison {
                what: format!("{quantity} of {} in {}", fixture.name, name(*precision)),
                difference,
                limit: limit * factor,
            }));
        }
    }
    Ok(comparisons)
}

/// The limit for results of a forward pass.
fn limit(matmul: MatmulPrecision, precision: Precision) -> f64 {
    match (precision, matmul) {
        (Precision::Bf16, _) => 2.5e-2,
        (Precision::F32, MatmulPrecision::Tf32) => 5e-3,
        (Precision::F32, MatmulPrecision::F32) => 1e-5,
    }
}

fn name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    }
}

/// Dropout masks are the same on every device.
fn dropout_masks<B: TrainingBackend>(device: &DeviceOf<B>) -> Result<Comparison, Failure> {
    let dropout = Dropout {
        probability: 0.3,
        key: 0x0123_4567_89ab_cdef,
    };
    let ones = Tensor::<B::InnerBackend, 2>::ones([37, 1001], device);
    let ours = values(B::InnerBackend::apply_dropout(ones.clone(), dropout))?;
    let theirs = values(primitive::apply_dropout(ones, dropout))?;
    Ok(Comparison {
        what: "masks of dropout".to_owned(),
        difference: relative_difference(&ours, &theirs),
        limit: 0.0,
    })
}

/// The quantities that are compared, with their differences and the factors of their limits.
fn compare_model<B: TrainingBackend>(
    fixture: &Fixture,
    (base, adapter): (&Path, &Path),
    device: &DeviceOf<B>,
    precision: Precision,
) -> Result<[(&'static str, f64, f64); 3], Failure> {
    let base = folder::load_with_dtype::<B::InnerBackend>(base, dtype_of(precision), device)?;
    let (settings, parameters) = peft::load::<B::InnerBackend>(adapter, &base.config, device)?;
    let batch = fixture.batch()?;
    let logits = logits_difference(fixture, &base, &batch)?;
    let (loss, gradients) =
        training_differences::<B>(fixture, base, settings, &parameters, &batch, precision)?;
    Ok([
        ("logits", logits, 1.0),
        ("loss", loss, 1.0),
        ("gradients of an adapter", gradients, GRADIENT_FACTOR),
    ])
}

/// Difference of the logits of the base model.
fn logits_difference<B: TransformerOps>(
    fixture: &Fixture,
    base: &ModelFolder<B>,
    batch: &Batch,
) -> Result<f64, Failure> {
    let network = Network {
        model: CausalModel::new(&base.config, &base.parameters)?,
        adapter: None,
    };
    let ours = values(network.model.logits(hidden_states(&network, batch, None)))?;
    let theirs = fixture.tensor("logits")?;
    Ok(relative_difference(
        &row_ends(&ours, batch.rows, theirs.len()),
        &theirs,
    ))
}

/// Differences of the loss and of the gradients of the adapter `parameters`.
fn training_differences<B: TrainingBackend>(
    fixture: &Fixture,
    base: ModelFolder<B::InnerBackend>,
    settings: Lora,
    parameters: &ParameterSet<B::InnerBackend>,
    batch: &Batch,
    precision: Precision,
) -> Result<(f64, f64), Failure> {
    let guard = AutodiffGuard::acquire();
    let trainable = Trainable::<B>::lora(base.config, settings, base.parameters)?;
    let leaves = ParameterSet::<B>::leaves(parameters, &guard);
    let network = trainable.training_network(&leaves.cast(dtype_of(precision)))?;
    let targets = Targets {
        positions: &batch.target_positions,
        tokens: &batch.targets,
    };
    let states = hidden_states(&network, batch, None);
    let result = head_loss(
        states,
        network.model.head(),
        trainable.trains_head(),
        targets,
        1.0,
    )?;
    let loss = relative_difference(&[result.loss as f32], &fixture.tensor("loss")?);
    let gradients = result.surrogate.backward();
    let mut largest = 0f64;
    for (name, leaf) in leaves.iter() {
        let missing = || Failure::internal("find a gradient", name);
        let ours = as_stored(name, leaf.grad(&gradients).ok_or_else(missing)?);
        let theirs = fixture.tensor(&format!("gradient.{name}"))?;
        largest = largest.max(relative_difference(&values(ours)?, &theirs));
    }
    Ok((loss, largest))
}

/// PEFT stores the low-rank matrices transposed.
fn as_stored<B: Backend>(name: &str, tensor: Tensor<B, 2>) -> Tensor<B, 2> {
    match name.contains("lora_") {
        true => tensor.transpose(),
        false => tensor,
    }
}

/// The last elements of each of `rows` rows, `count` in all.
fn row_ends(elements: &[f32], rows: usize, count: usize) -> Vec<f32> {
    let (width, wanted) = (elements.len() / rows, count / rows);
    elements
        .chunks_exact(width)
        .flat_map(|row| &row[row.len() - wanted.min(row.len())..])
        .copied()
        .collect()
}

/// ‖ours − theirs‖ / ‖theirs‖; infinite when the lengths differ.
fn relative_difference(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| square(ours - theirs))
        .sum();
    let size: f64 = theirs.iter().copied().map(square).sum();
    (difference / size.max(f64::MIN_POSITIVE)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::{Comparison, MatmulPrecision, relative_difference, row_ends, run};
    use crate::{Differentiable, spec::Precision};

    /// WK-3
    #[test]
    fn the_cpu_passes() {
        let comparisons =
            run::<Differentiable>(&burn_flex::FlexDevice, MatmulPrecision::F32, &[Precision::F32])
                .expect("compared");
        assert_eq!(comparisons.len(), 7);
        for comparison in comparisons {
            println!("{comparison:?}");
            assert!(comparison.holds(), "{comparison:?}");
        }
    }

    /// WK-3: bfloat16, as GPUs compute it. It is slow on a CPU, so jobs there do not use it.
    #[test]
    fn mixed_precision_is_as_close_as_its_bits_allow() {
        let comparisons =
            run::<Differentiable>(&burn_flex::FlexDevice, MatmulPrecision::F32, &[Precision::Bf16])
                .expect("compared");
        for comparison in comparisons.iter().skip(1) {
            println!("{comparison:?}");
            assert!(comparison.holds(), "{comparison:?}");
            assert!(
                comparison.difference > 1e-5 || comparison.what.starts_with("loss"),
                "it was bfloat16"
            );
        }
    }

    #[test]
    fn nan_does_not_hold() {
        let comparison = |difference| Comparison {
            what: String::new(),
            difference,
            limit: 0.1,
        };
        assert!(comparison(0.1).holds());
        assert!(!comparison(f64::NAN).holds());
        assert!(!comparison(relative_difference(&[f32::NAN], &[1.0])).holds());
        assert!(!comparison(relative_difference(&[1.0, 1.0], &[1.0])).holds());
        assert!((relative_difference(&[3.0, 4.0], &[0.0, 5.0]) - 10f64.sqrt() / 5.0).abs() < 1e-7);
    }

    #[test]
    fn rows_are_compared_from_their_ends() {
        assert_eq!(
            row_ends(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 4),
            [2.0, 3.0, 5.0, 6.0]
        );
        assert_eq!(row_ends(&[1.0, 2.0], 2, 2), [1.0, 2.0]);
    }
}
