//! The engine against PyTorch, transformers and PEFT (WK-3); `fixtures/make_fixtures.py` says how the
//! references were made.
//!
//! Tolerances: both sides compute in 32-bit floats but sum in other orders, which at these sizes moves logits
//! by some 1e-6 and gradients by some 1e-6 of their largest. A wrong formula (exact GELU for its tanh form,
//! a missing scale, a transposed matrix) moves them by 1e-3 and more. So logits may differ by 1e-4, gradients
//! by 1e-5 of the largest of their tensor, and parameters after a step of 1e-3 by 1e-5.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use ml::{
    Compute, Differentiable,
    data::batch::Batch,
    inference::{Choice, Network},
    lora::{Adapter, AdapterPass, Plan, peft},
    model::{CausalModel, Tokens, folder},
    parameters::{ParameterSet, values},
    spec::Adam,
    training::{
        loss::{Targets, head_loss},
        optimizer::{AdamW, clip},
        task::{Task, hidden},
    },
};
use safetensors::SafeTensors;

const LEARNING_RATE: f64 = 1e-3;
const WEIGHT_DECAY: f64 = 0.01;
const CLIP: f64 = 0.05;
const DEVICE: burn_flex::FlexDevice = burn_flex::FlexDevice;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The references, by name.
struct Reference(Vec<u8>);

impl Reference {
    fn read() -> Self {
        Self(std::fs::read(fixture("reference.safetensors")).expect("the references"))
    }

    fn bytes(&self, name: &str) -> Vec<[u8; 4]> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let view = file.tensor(name).expect(name);
        view.data()
            .chunks_exact(4)
            .map(|bytes| bytes.try_into().expect("four bytes"))
            .collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn integers(&self, name: &str) -> Vec<i32> {
        self.bytes(name).into_iter().map(i32::from_le_bytes).collect()
    }

    /// Names that begin with `prefix`, without it.
    fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        file.names()
            .into_iter()
            .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
            .collect()
    }

    /// Both sequences, each token but the first of a sequence to be predicted.
    fn batch(&self) -> Batch {
        let ids = self.integers("ids");
        let length = ids.len() / 2;
        let learned = |place: &usize| !(place + 1).is_multiple_of(length);
        let places: Vec<usize> = (0..ids.len()).filter(learned).collect();
        Batch {
            rows: 2,
            length,
            targets: places.iter().map(|place| ids[place + 1]).collect(),
            places: places.into_iter().map(|place| place as i32).collect(),
            inputs: ids,
            packed: None,
        }
    }
}

fn greatest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn base() -> folder::ModelFolder<Compute> {
    folder::load(&fixture("base"), &DEVICE).expect("the base")
}

/// PEFT keeps matrices of adapters transposed.
fn as_stored(name: &str, tensor: &Tensor<Compute, 2>) -> Vec<f32> {
    let tensor = if name.contains("lora_") {
        tensor.clone().transpose()
    } else {
        tensor.clone()
    };
    values(tensor).expect("numbers")
}

/// WK-3
#[test]
fn logits_of_a_loaded_model_are_those_of_transformers() {
    let (reference, base) = (Reference::read(), base());
    let network = Network {
        model: CausalModel::new(&base.config, &base.parameters).expect("a model"),
        adapter: None,
    };
    let logits = network.model.logits(hidden(&network, &reference.batch(), None));
    let difference = greatest_difference(&values(logits).expect("numbers"), &reference.floats("logits"));
    println!("logits differ by at most {difference:.2e}");
    assert!(difference < 1e-4, "{difference}");
}

/// WK-3, MO-3
#[test]
fn logits_with_an_adapter_made_by_peft_are_those_of_peft() {
    let (reference, base) = (Reference::read(), base());
    let (settings, parameters) = peft::load(&fixture("adapter"), &base.config, &DEVICE).expect("the adapter");
    let adapter = Adapter::new(&Plan::new(&base.config, &settings).expect("a plan"), &parameters).expect("an adapter");
    let model = CausalModel::new(&base.config, &base.parameters).expect("a model");
    let logits = |adapter| {
        let network = Network {
            model: model.clone(),
            adapter,
        };
        values(network.model.logits(hidden(&network, &reference.batch(), None))).expect("numbers")
    };
    let adapted = logits(Some(adapter));
    let difference = greatest_difference(&adapted, &reference.floats("adapter_logits"));
    println!("logits with an adapter differ by at most {difference:.2e}");
    assert!(difference < 1e-4, "{difference}");
    assert!(
        greatest_difference(&adapted, &logits(None)) > 0.01,
        "the adapter changes something"
    );
}

/// One step from `parameters`; compares everything the reference has under `prefix`.
fn compare_step(task: &Task<Differentiable>, parameters: ParameterSet<Compute>, prefix: &str) {
    let reference = Reference::read();
    let batch = reference.batch();
    let leaves = ParameterSet::<Differentiable>::leaves(&parameters);
    let network = task.differentiable(&leaves).expect("a network");
    let states = hidden(&network, &batch, None);
    let targets = Targets {
        places: &batch.places,
        tokens: &batch.targets,
    };
    let result = head_loss(states, network.model.head(), task.head_learns(), targets).expect("a loss");
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
    let mut stepped = parameters;
    AdamW::new(&stepped.clone()).update(
        &mut stepped,
        gradients,
        LEARNING_RATE,
        WEIGHT_DECAY,
        Adam::default(),
    );
    let mut worst = 0f32;
    for name in &names {
        let theirs = reference.floats(&format!("{prefix}stepped.{name}"));
        let ours = as_stored(name, &stepped.get(name).expect("a parameter"));
        worst = worst.max(greatest_difference(&ours, &theirs));
    }
    println!("{prefix}parameters after a step differ by at most {worst:.2e}");
    assert!(worst < 1e-5, "{worst}");
}

/// WK-3
#[test]
fn a_step_of_lora_is_that_of_peft_and_torch() {
    let base = base();
    let (settings, parameters) = peft::load(&fixture("adapter"), &base.config, &DEVICE).expect("the adapter");
    let task = Task::lora(base.config, settings, base.parameters).expect("a task");
    compare_step(&task, parameters, "");
}

/// WK-3
#[test]
fn a_step_of_all_weights_is_that_of_torch() {
    let base = base();
    compare_step(&Task::Whole { config: base.config }, base.parameters, "scratch_");
}

/// WK-3
#[test]
fn greedy_text_with_the_cache_is_that_of_transformers() {
    let (reference, base) = (Reference::read(), base());
    let network = Network {
        model: CausalModel::new(&base.config, &base.parameters).expect("a model"),
        adapter: None,
    };
    let prompt: Vec<u32> = reference.integers("ids")[..8]
        .iter()
        .map(|id| *id as u32)
        .collect();
    let text = network.generate(&prompt, 16, Choice::GREEDY).expect("tokens");
    let theirs: Vec<u32> = reference.integers("greedy").iter().map(|id| *id as u32).collect();
    assert_eq!(text, theirs);
}

#[test]
fn the_cache_gives_the_hidden_states_of_a_whole_pass() {
    let (reference, base) = (Reference::read(), base());
    let model = CausalModel::new(&base.config, &base.parameters).expect("a model");
    let (settings, parameters) = peft::load(&fixture("adapter"), &base.config, &DEVICE).expect("the adapter");
    let adapter = Adapter::new(&Plan::new(&base.config, &settings).expect("a plan"), &parameters).expect("an adapter");
    let ids: Vec<i32> = reference.integers("ids")[..24].to_vec();
    let states = |cache: Option<&mut ml::model::Cache<Compute>>, ids: &[i32]| {
        values(model.hidden(
            &Tokens::rows(ids.to_vec(), 1),
            Some(&mut AdapterPass::exact(&adapter)),
            cache,
        ))
        .expect("numbers")
    };
    let whole = states(None, &ids);
    let mut cache = ml::model::Cache::default();
    let mut pieces = Vec::new();
    for piece in [&ids[..5], &ids[5..6], &ids[6..20], &ids[20..]] {
        pieces.extend(states(Some(&mut cache), piece));
    }
    let difference = greatest_difference(&pieces, &whole);
    // Other shapes of matrices sum in other orders; see the module.
    assert!(difference < 1e-4, "{difference}");
}
