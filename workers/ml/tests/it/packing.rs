//! Sequence packing: samples that share a row are computed as if they were alone.

use std::fs;

use burn::tensor::Tensor;
use ml::{
    Compute, Differentiable,
    autodiff_guard::AutodiffGuard,
    data::batch::{Batch, Packed},
    model::folder,
    parameters::{ParameterSet, values},
    training::{
        loss::{Targets, head_loss},
        trainable::{Trainable, hidden_states},
    },
};
use safetensors::SafeTensors;

use crate::support::{DEVICE, fixture};

type Gradients = Vec<(String, Vec<f32>)>;

/// Loss and all gradients of the fixtures' base for `batch`.
fn gradients(batch: &Batch) -> (f64, Gradients) {
    let base = folder::load::<Compute>(&fixture("base"), &DEVICE).expect("the base");
    let guard = AutodiffGuard::acquire();
    let leaves = ParameterSet::<Differentiable>::leaves(&base.parameters, &guard);
    let trainable = Trainable::FullModel { config: base.config };
    let network = trainable.training_network(&leaves).expect("a network");
    let targets = Targets {
        positions: &batch.target_positions,
        tokens: &batch.targets,
    };
    let states = hidden_states(&network, batch, None);
    let found = head_loss(states, network.model.head(), true, targets, 1.0).expect("a loss");
    let graph = found.surrogate.backward();
    let gradient = |(name, leaf): (&str, &Tensor<Differentiable, 2>)| {
        let numbers = values(leaf.grad(&graph).expect(name)).expect("numbers");
        (name.to_owned(), numbers)
    };
    (found.loss, leaves.iter().map(gradient).collect())
}

fn close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    for (one, other) in ours.iter().zip(theirs) {
        assert!(
            (one - other).abs() <= 1e-5 * largest.max(1e-3),
            "{what}: {one} and {other}"
        );
    }
}

/// Samples of `lengths` tokens as rows of their own, padded at the end.
fn alone(samples: &[Vec<i32>]) -> Batch {
    let length = samples.iter().map(Vec::len).max().expect("samples");
    let mut batch = Batch {
        rows: samples.len(),
        length,
        inputs: Vec::new(),
        target_positions: Vec::new(),
        targets: Vec::new(),
        packed: None,
    };
    for sample in samples {
        let start = batch.inputs.len();
        batch.inputs.extend(sample);
        batch.inputs.resize(start + length, 0);
        for (place, next) in sample.iter().skip(1).enumerate() {
            batch.target_positions.push((start + place) as i32);
            batch.targets.push(*next);
        }
    }
    batch
}

/// The same in one row.
fn together(samples: &[Vec<i32>]) -> Batch {
    let mut batch = alone(&[samples.concat()]);
    let mut packed = Packed {
        positions: Vec::new(),
        first_visible: Vec::new(),
    };
    (batch.target_positions, batch.targets) = (Vec::new(), Vec::new());
    for sample in samples {
        let start = packed.first_visible.len();
        for (place, _) in sample.iter().enumerate() {
            packed.positions.push(place as u32);
            packed.first_visible.push(start as u32);
            if place > 0 {
                batch.target_positions.push((start + place - 1) as i32);
                batch.targets.push(sample[place]);
            }
        }
    }
    batch.packed = Some(packed);
    batch
}

/// Samples that share a row do not attend to each other.
#[test]
fn packed_samples_have_the_loss_and_the_gradients_of_the_samples_alone() {
    let samples = [
        vec![5, 9, 200, 41, 7],
        vec![77, 3, 18],
        vec![250, 1, 1, 90, 33, 62, 8],
    ];
    let (loss, ours) = gradients(&together(&samples));
    let (expected, theirs) = gradients(&alone(&samples));
    assert!((loss - expected).abs() < 1e-5, "{loss} and {expected}");
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        close(ours, theirs, name);
    }
    // Without what keeps them apart it is another loss: the test would see it.
    let mut seeing = together(&samples);
    seeing.packed = None;
    assert!((gradients(&seeing).0 - expected).abs() > 1e-2);
}

/// WK-3: against transformers with a block-diagonal mask and positions that restart.
#[test]
fn a_packed_row_is_computed_as_transformers_computes_it() {
    let bytes = fs::read(fixture("packed.safetensors")).expect("the reference");
    let file = SafeTensors::deserialize(&bytes).expect("a file");
    let words = |name: &str| -> Vec<[u8; 4]> {
        let data = file.tensor(name).expect(name).data().to_vec();
        data.chunks_exact(4)
            .map(|word| [word[0], word[1], word[2], word[3]])
            .collect()
    };
    let integers = |name: &str| -> Vec<i32> { words(name).into_iter().map(i32::from_le_bytes).collect() };
    let floats = |name: &str| -> Vec<f32> { words(name).into_iter().map(f32::from_le_bytes).collect() };
    let (ids, mut samples) = (integers("ids"), Vec::new());
    let mut rest = ids.as_slice();
    for length in integers("lengths") {
        let (sample, after) = rest.split_at(length as usize);
        samples.push(sample.to_vec());
        rest = after;
    }
    let batch = together(&samples);
    let positions: Vec<i32> = batch
        .packed
        .iter()
        .flat_map(|packed| packed.positions.iter().map(|position| *position as i32))
        .collect();
    assert_eq!(positions, integers("positions"));
    let (loss, ours) = gradients(&batch);
    assert!((loss - f64::from(floats("loss")[0])).abs() < 1e-5, "{loss}");
    for name in ["wpe.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.bias"] {
        let found = ours.iter().find(|(ours, _)| ours == name).expect(name);
        close(&found.1, &floats(&format!("gradient.{name}")), name);
    }
}
