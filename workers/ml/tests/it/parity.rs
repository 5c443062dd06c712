//! The engine against PyTorch, transformers and PEFT (WK-3); `fixtures/make_fixtures.py` says how the
//! references were made.
//!
//! Tolerances: both sides compute in 32-bit floats but sum in other orders, which at these sizes moves logits
//! by some 1e-6 and gradients by some 1e-6 of their largest. A wrong formula (exact GELU for its tanh form,
//! a missing scale, a transposed matrix) moves them by 1e-3 and more. So logits may differ by 1e-4, gradients
//! by 1e-5 of the largest of their tensor, and parameters after a step of 1e-3 by 1e-5.

use crate::{
    reference::{Reference, compare_step, greatest_difference},
    support::fixture,
};
use ml::{
    Compute,
    inference::{Network, SamplingParams},
    lora::{self, Plan, peft},
    model::{AdapterPass, CausalModel, TokenBatch, folder},
    parameters::values,
    training::trainable::{Trainable, hidden_states},
};

const DEVICE: burn_flex::FlexDevice = burn_flex::FlexDevice;

fn base() -> folder::ModelFolder<Compute> {
    folder::load(&fixture("base"), &DEVICE).expect("the base")
}

/// WK-3
#[test]
fn logits_of_a_loaded_model_are_those_of_transformers() {
    let (reference, base) = (Reference::read("reference.safetensors"), base());
    let network = Network {
        model: CausalModel::new(&base.config, &base.parameters).expect("a model"),
        adapter: None,
    };
    let logits = network
        .model
        .logits(hidden_states(&network, &reference.batch(), None));
    let difference = greatest_difference(&values(logits).expect("numbers"), &reference.floats("logits"));
    println!("logits differ by at most {difference:.2e}");
    assert!(difference < 1e-4, "{difference}");
}

/// WK-3, MO-3
#[test]
fn logits_with_an_adapter_made_by_peft_are_those_of_peft() {
    let (reference, base) = (Reference::read("reference.safetensors"), base());
    let (settings, parameters) = peft::load(&fixture("adapter"), &base.config, &DEVICE).expect("the adapter");
    let adapter =
        lora::adapter(&Plan::new(&base.config, &settings).expect("a plan"), &parameters).expect("an adapter");
    let model = CausalModel::new(&base.config, &base.parameters).expect("a model");
    let logits = |adapter| {
        let network = Network {
            model: model.clone(),
            adapter,
        };
        values(
            network
                .model
                .logits(hidden_states(&network, &reference.batch(), None)),
        )
        .expect("numbers")
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

/// WK-3
#[test]
fn a_step_of_lora_is_that_of_peft_and_torch() {
    let base = base();
    let (settings, parameters) = peft::load(&fixture("adapter"), &base.config, &DEVICE).expect("the adapter");
    let trainable = Trainable::lora(base.config, settings, base.parameters).expect("a task");
    compare_step(
        &Reference::read("reference.safetensors"),
        &trainable,
        parameters,
        "",
    );
}

/// WK-3
#[test]
fn a_step_of_all_weights_is_that_of_torch() {
    let base = base();
    compare_step(
        &Reference::read("reference.safetensors"),
        &Trainable::FullModel { config: base.config },
        base.parameters,
        "scratch_",
    );
}

/// WK-3
#[test]
fn greedy_text_with_the_cache_is_that_of_transformers() {
    let (reference, base) = (Reference::read("reference.safetensors"), base());
    let network = Network {
        model: CausalModel::new(&base.config, &base.parameters).expect("a model"),
        adapter: None,
    };
    let prompt: Vec<u32> = reference.integers("ids")[..8]
        .iter()
        .map(|id| *id as u32)
        .collect();
    let text = network
        .generate(&prompt, 16, SamplingParams::GREEDY)
        .expect("tokens");
    let theirs: Vec<u32> = reference.integers("greedy").iter().map(|id| *id as u32).collect();
    assert_eq!(text, theirs);
}

#[test]
fn the_cache_gives_the_hidden_states_of_a_whole_pass() {
    let (reference, base) = (Reference::read("reference.safetensors"), base());
    let model = CausalModel::new(&base.config, &base.parameters).expect("a model");
    let (settings, parameters) = peft::load(&fixture("adapter"), &base.config, &DEVICE).expect("the adapter");
    let adapter =
        lora::adapter(&Plan::new(&base.config, &settings).expect("a plan"), &parameters).expect("an adapter");
    let ids: Vec<i32> = reference.integers("ids")[..24].to_vec();
    let states = |cache: Option<&mut ml::model::KvCache<Compute>>, ids: &[i32]| {
        values(model.hidden_states(
            &TokenBatch::rows(ids.to_vec(), 1),
            Some(&mut AdapterPass::without_dropout(&adapter)),
            cache,
        ))
        .expect("numbers")
    };
    let whole = states(None, &ids);
    let mut cache = ml::model::KvCache::default();
    let mut pieces = Vec::new();
    for piece in [&ids[..5], &ids[5..6], &ids[6..20], &ids[20..]] {
        pieces.extend(states(Some(&mut cache), piece));
    }
    let difference = greatest_difference(&pieces, &whole);
    // Other shapes of matrices sum in other orders; see the module.
    assert!(difference < 1e-4, "{difference}");
}
