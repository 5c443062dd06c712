//! Whether a device computes what PyTorch, transformers and PEFT compute (WK-3), asked before it is trusted with
//! a job.
//!
//! The fixtures of the tests are in the program: small models of the GPT-2 and Llama families with an adapter,
//! and their logits, loss and gradients. Differences are ‖ours − theirs‖ / ‖theirs‖ of each tensor, of which the
//! worst counts. How much is allowed follows from the numbers that are multiplied: 32-bit floats differ by the
//! order of sums (some 1e-6), TF32, which NVIDIA's matrix units make of 32-bit floats, keeps 10 bits (some 1e-3)
//! and bfloat16 7 bits (some 1e-2). A wrong formula, a lost scale or a transposed matrix gives 0.1 and more.

use std::path::Path;

use burn::tensor::{Tensor, backend::BackendTypes};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::{
    data::batch::Batch,
    failure::Failure,
    graphs::Turn,
    inference::Network,
    lora::peft,
    model::{
        CausalModel, folder,
        ops::{Dropout, TransformerOps, composed},
    },
    parameters::{ParameterSet, values},
    spec::Precision,
    training::{
        loss::{Targets, head_loss},
        task::{Task, TrainingBackend, hidden},
    },
};

/// A device of the backend that `B` differentiates.
type DeviceOf<B> = <<B as burn::tensor::backend::AutodiffBackend>::InnerBackend as BackendTypes>::Device;

/// A model with its adapter and what is known of them.
struct Fixture {
    name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
    adapter: &'static [(&'static str, &'static [u8])],
    reference: &'static [u8],
}

macro_rules! files {
    ($folder:literal: $($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../fixtures/", $folder, "/", $name)))),*]
    };
}

const FIXTURES: [Fixture; 2] = [
    Fixture {
        name: "GPT-2",
        files: files!("base": "config.json", "tokenizer.json", "model.safetensors"),
        adapter: files!("adapter": "adapter_config.json", "adapter_model.safetensors"),
        reference: include_bytes!("../../fixtures/reference.safetensors"),
    },
    Fixture {
        name: "Llama",
        files: files!("llama/llama": "config.json", "tokenizer.json", "model.safetensors"),
        adapter: files!("llama/llama/adapter": "adapter_config.json", "adapter_model.safetensors"),
        reference: include_bytes!("../../fixtures/llama/llama.safetensors"),
    },
];

/// In which numbers matrices are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplied {
    /// In 32-bit floats.
    Exactly,
    /// In TF32 where the device has it.
    Tf32,
}

/// One thing that was compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What, of which model, in which numbers.
    pub what: String,
    /// How far from the reference.
    pub difference: f64,
    /// How far it may be.
    pub limit: f64,
}

impl Comparison {
    /// Whether it is as near as it must be. What is not a number is not.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.difference <= self.limit
    }
}

/// Compares everything; with `precisions` other than 32 bits too.
///
/// # Errors
/// What kept it from comparing: the device gives no numbers, or the temporary folder cannot be written.
pub fn run<B: TrainingBackend>(
    device: &DeviceOf<B>,
    multiplied: Multiplied,
    precisions: &[Precision],
) -> Result<Vec<Comparison>, Failure> {
    let mut found = vec![masks::<B>(device)?];
    for fixture in &FIXTURES {
        let room = tempfile::tempdir()
            .map_err(|error| Failure::internal("make a temporary folder for the self-test", error))?;
        let (base, adapter) = (room.path().join("base"), room.path().join("adapter"));
        unpack(fixture.files, &base)?;
        unpack(fixture.adapter, &adapter)?;
        for precision in precisions {
            found.extend(of_model::<B>(
                fixture, &base, &adapter, device, multiplied, *precision,
            )?);
        }
    }
    Ok(found)
}

/// For what a forward pass gives. Gradients have come through twice as many roundings, and the smallest tensor counts.
fn limit(multiplied: Multiplied, precision: Precision) -> f64 {
    match (precision, multiplied) {
        (Precision::Bf16, _) => 2.5e-2,
        (Precision::F32, Multiplied::Tf32) => 5e-3,
        (Precision::F32, Multiplied::Exactly) => 1e-5,
    }
}

/// How much further gradients may be off.
const GRADIENTS: f64 = 4.0;

/// The masks of dropout, which are the same on every device.
fn masks<B: TrainingBackend>(device: &DeviceOf<B>) -> Result<Comparison, Failure> {
    let shape = [37, 1001];
    let dropout = Dropout {
        probability: 0.3,
        key: 0x0123_4567_89ab_cdef,
    };
    let ones = Tensor::<B::InnerBackend, 2>::ones(shape, device);
    let ours = values(B::InnerBackend::dropped(ones.clone(), dropout))?;
    let theirs = values(composed::dropped(ones, dropout))?;
    Ok(Comparison {
        what: "masks of dropout".to_owned(),
        difference: distance(&ours, &theirs),
        limit: 0.0,
    })
}

fn of_model<B: TrainingBackend>(
    fixture: &Fixture,
    base: &Path,
    adapter: &Path,
    device: &DeviceOf<B>,
    multiplied: Multiplied,
    precision: Precision,
) -> Result<Vec<Comparison>, Failure> {
    let floats = precision.floats();
    let base = folder::load_as::<B::InnerBackend>(base, floats, device)?;
    let (settings, parameters) = peft::load::<B::InnerBackend>(adapter, &base.config, device)?;
    let reference = Reference(fixture.reference);
    let batch = reference.batch()?;
    let limit = limit(multiplied, precision);
    let numbers = match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    };
    let comparison = |what: &str, difference| Comparison {
        what: format!("{what} of {} in {numbers}", fixture.name),
        difference,
        limit,
    };

    let plain = Network {
        model: CausalModel::new(&base.config, &base.parameters)?,
        adapter: None,
    };
    let logits = values(plain.model.logits(hidden(&plain, &batch, None)))?;
    let theirs = reference.floats("logits")?;
    let mut found = vec![comparison(
        "logits",
        distance(&ends(&logits, batch.rows, theirs.len()), &theirs),
    )];

    let turn = Turn::wait();
    let task = Task::<B>::lora(base.config, settings, base.parameters)?;
    let leaves = ParameterSet::<B>::leaves(&parameters, &turn);
    let network = task.differentiable(&leaves.cast(floats))?;
    let targets = Targets {
        places: &batch.places,
        tokens: &batch.targets,
    };
    let states = hidden(&network, &batch, None);
    let result = head_loss(states, network.model.head(), task.head_learns(), targets, 1.0)?;
    let theirs = reference.floats("loss")?;
    found.push(comparison("loss", distance(&[result.loss as f32], &theirs)));

    let gradients = result.surrogate.backward();
    let mut worst = 0f64;
    for (name, leaf) in leaves.iter() {
        let missing = || Failure::internal("find a gradient", name);
        let ours = leaf.grad(&gradients).ok_or_else(missing)?;
        let theirs = reference.floats(&format!("gradient.{name}"))?;
        worst = worst.max(distance(&values(as_stored(name, ours))?, &theirs));
    }
    let gradients = comparison("gradients of an adapter", worst);
    found.push(Comparison {
        limit: gradients.limit * GRADIENTS,
        ..gradients
    });
    Ok(found)
}

/// PEFT keeps the matrices of adapters transposed.
fn as_stored<B: burn::tensor::backend::Backend>(name: &str, tensor: Tensor<B, 2>) -> Tensor<B, 2> {
    match name.contains("lora_") {
        true => tensor.transpose(),
        false => tensor,
    }
}

/// The last numbers of each of `rows` rows, `count` in all.
fn ends(numbers: &[f32], rows: usize, count: usize) -> Vec<f32> {
    let (row, wanted) = (numbers.len() / rows, count / rows);
    numbers
        .chunks_exact(row)
        .flat_map(|row| &row[row.len() - wanted.min(row.len())..])
        .copied()
        .collect()
}

/// ‖ours − theirs‖ / ‖theirs‖; infinite where their counts differ.
fn distance(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let square = |x: f32| f64::from(x) * f64::from(x);
    let apart: f64 = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| square(ours - theirs))
        .sum();
    let size: f64 = theirs.iter().copied().map(square).sum();
    (apart / size.max(f64::MIN_POSITIVE)).sqrt()
}

fn unpack(files: &[(&str, &[u8])], folder: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::internal("write the fixtures of the self-test", error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    for (name, content) in files {
        std::fs::write(folder.join(name), content).map_err(failed)?;
    }
    Ok(())
}

/// What PyTorch, transformers and PEFT have computed.
struct Reference(&'static [u8]);

impl Reference {
    fn words(&self, name: &str) -> Result<Vec<[u8; 4]>, Failure> {
        let failed = |error| Failure::internal("read the references of the self-test", error);
        let file = SafeTensors::deserialize(self.0).map_err(failed)?;
        let tensor = file.tensor(name).map_err(failed)?;
        let words = tensor.data().chunks_exact(4);
        Ok(words.map(|word| [word[0], word[1], word[2], word[3]]).collect())
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, Failure> {
        Ok(self.words(name)?.into_iter().map(f32::from_le_bytes).collect())
    }

    /// Both sequences, each token but the first of a sequence to be predicted.
    fn batch(&self) -> Result<Batch, Failure> {
        let ids: Vec<i32> = self.words("ids")?.into_iter().map(i32::from_le_bytes).collect();
        let length = ids.len() / 2;
        let learnt = (0..ids.len()).filter(|place| !(place + 1).is_multiple_of(length));
        let places: Vec<usize> = learnt.collect();
        Ok(Batch {
            rows: 2,
            length,
            targets: places.iter().map(|place| ids[place + 1]).collect(),
            places: places.into_iter().map(|place| place as i32).collect(),
            inputs: ids,
            packed: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Multiplied, distance, ends, run};
    use crate::{Differentiable, spec::Precision};

    /// WK-3
    #[test]
    fn the_processor_passes() {
        let found = run::<Differentiable>(&burn_flex::FlexDevice, Multiplied::Exactly, &[Precision::F32])
            .expect("compared");
        assert_eq!(found.len(), 7);
        for comparison in found {
            println!("{comparison:?}");
            assert!(comparison.holds(), "{comparison:?}");
        }
    }

    /// WK-3: bfloat16, as GPUs compute it; a processor is slow at it, so jobs do not get it there.
    #[test]
    fn mixed_precision_is_as_near_as_its_bits_allow() {
        let found = run::<Differentiable>(&burn_flex::FlexDevice, Multiplied::Exactly, &[Precision::Bf16])
            .expect("compared");
        for comparison in found.iter().skip(1) {
            println!("{comparison:?}");
            assert!(comparison.holds(), "{comparison:?}");
            assert!(
                comparison.difference > 1e-5 || comparison.what.starts_with("loss"),
                "it was bfloat16"
            );
        }
    }

    #[test]
    fn what_is_not_a_number_does_not_hold() {
        let comparison = |difference| Comparison {
            what: String::new(),
            difference,
            limit: 0.1,
        };
        assert!(comparison(0.1).holds());
        assert!(!comparison(f64::NAN).holds());
        assert!(!comparison(distance(&[f32::NAN], &[1.0])).holds());
        assert!(!comparison(distance(&[1.0, 1.0], &[1.0])).holds());
        assert!((distance(&[3.0, 4.0], &[0.0, 5.0]) - 10f64.sqrt() / 5.0).abs() < 1e-7);
    }

    #[test]
    fn rows_are_compared_from_their_ends() {
        assert_eq!(ends(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 4), [2.0, 3.0, 5.0, 6.0]);
        assert_eq!(ends(&[1.0, 2.0], 2, 2), [1.0, 2.0]);
    }
}
