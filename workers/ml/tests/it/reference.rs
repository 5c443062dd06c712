//! References that PyTorch, transformers and PEFT have made, and the comparison of one step with them.

use burn::tensor::Tensor;
use ml::{
    Compute, Differentiable,
    autodiff_guard::AutodiffGuard,
    data::batch::Batch,
    parameters::{ParameterSet, values},
    spec::Adam,
    training::{
        loss::{Targets, head_loss},
        optimizer::{AdamW, clip},
        trainable::{Trainable, hidden_states},
    },
};
use safetensors::SafeTensors;

use crate::support::fixture;

const LEARNING_RATE: f64 = 1e-3;
const WEIGHT_DECAY: f64 = 0.01;
const CLIP: f64 = 0.05;

/// The references, by name.
pub struct Reference(Vec<u8>);

impl Reference {
    pub fn read(file: &str) -> Self {
        Self(std::fs::read(fixture(file)).expect("the references"))
    }

    /// The bytes of a tensor.
    pub fn raw(&self, name: &str) -> Vec<u8> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        file.tensor(name).expect(name).data().to_vec()
    }

    fn bytes(&self, name: &str) -> Vec<[u8; 4]> {
        self.raw(name)
            .chunks_exact(4)
            .map(|bytes| bytes.try_into().expect("four bytes"))
            .collect()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).into_iter().map(f32::from_le_bytes).collect()
    }

    pub fn integers(&self, name: &str) -> Vec<i32> {
        self.bytes(name).into_iter().map(i32::from_le_bytes).collect()
    }

    /// Names that begin with `prefix`, without it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        file.names()
            .into_iter()
            .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
            .collect()
    }

    /// Both sequences, each token but the first of a sequence to be predicted.
    pub fn batch(&self) -> Batch {
        let ids = self.integers("ids");
        let length = ids.len() / 2;
        let is_input = |place: &usize| !(place + 1).is_multiple_of(length);
        let target_positions: Vec<usize> = (0..ids.len()).filter(is_input).collect();
        Batch {
            rows: 2,
            length,
            targets: target_positions.iter().map(|place| ids[place + 1]).collect(),
            target_positions: target_positions.into_iter().map(|place| place as i32).collect(),
            inputs: ids,
            packed: None,
        }
    }
}

/// Between numbers in the same order.
pub fn greatest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// PEFT keeps matrices of adapters transposed.
pub fn as_stored(name: &str, tensor: &Tensor<Compute, 2>) -> Vec<f32> {
    let tensor = if name.contains("lora_") {
        tensor.clone().transpose()
    } else {
        tensor.clone()
    };
    values(tensor).expect("numbers")
}

/// One step from `parameters`; compares everything the reference has under `prefix`.
pub fn compare_step(
    reference: &Reference,
    trainable: &Trainable<Differentiable>,
    parameters: ParameterSet<Compute>,
    prefix: &str,
) {
    let batch = reference.batch();
    let guard = AutodiffGuard::acquire();
    let leaves = ParameterSet::<Differentiable>::leaves(&parameters, &guard);
    let network = trainable.training_network(&leaves).expect("a network");
    let states = hidden_states(&network, &batch, None);
    let targets = Targets {
        positions: &batch.target_positions,
        tokens: &batch.targets,
    };
    let result = head_loss(
        states,
        network.model.head(),
        trainable.trains_head(),
        targets,
        1.0,
    )
    .expect("a loss");
    let theirs = reference.floats(&format!("{prefix}loss"))[0];
    println!("{prefix}loss {} against {theirs}", result.loss);
    assert!((result.loss - f64::from(theirs)).abs() < 1e-5);

    let found = result.surrogate.backward();
    let mut gradients = ParameterSet::default();
    for (name, leaf) in leaves.iter() {
        gradients.insert(name, leaf.grad(&found).expect(name));
    }
    let names = reference.names(&format!("{prefix}gradient."));
    assert!(names.len() >= 5, "{names:?}");
    let mut worst = 0f32;
    for name in &names {
        let theirs = reference.floats(&format!("{prefix}gradient.{name}"));
        let largest = theirs
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        let ours = as_stored(name, &gradients.get(name).expect("a gradient"));
        worst = worst.max(greatest_difference(&ours, &theirs) / largest);
    }
    println!("{prefix}gradients differ by at most {worst:.2e} of their largest");
    assert!(worst < 1e-5, "{worst}");

    let norm = clip(&mut gradients, CLIP).expect("a norm");
    let theirs = f64::from(reference.floats(&format!("{prefix}norm"))[0]);
    assert!((norm / theirs - 1.0).abs() < 1e-5, "{norm} against {theirs}");
    let mut updated = parameters;
    AdamW::new(&updated.clone()).update(
        &mut updated,
        gradients,
        LEARNING_RATE,
        WEIGHT_DECAY,
        Adam::default(),
    );
    let mut worst = 0f32;
    for name in &names {
        let theirs = reference.floats(&format!("{prefix}stepped.{name}"));
        let ours = as_stored(name, &updated.get(name).expect("a parameter"));
        worst = worst.max(greatest_difference(&ours, &theirs));
    }
    println!("{prefix}parameters after a step differ by at most {worst:.2e}");
    assert!(worst < 1e-5, "{worst}");
}
