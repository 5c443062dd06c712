//! The Llama family against PyTorch, transformers and PEFT (WK-3, MO-1, MO-3); `fixtures/make_llama_fixtures.py` says
//! how the references were made and what each member has.
//!
//! Tolerances are those of the GPT-2 tests (`parity.rs`), for the same reason: both sides compute in 32-bit floats
//! from the same bfloat16 weights and differ only in the order of sums. A wrong window, rotation, norm or grouping
//! of heads moves logits by 1e-2 and more.

use std::path::Path;

use crate::{
    reference::{Reference, compare_step, greatest_difference},
    support::{DEVICE, fixture},
};
use ml::{
    Compute,
    inference::{Network, SamplingParams},
    lora::{self, Plan, peft},
    model::{
        AdapterPass, CausalModel, KvCache, TokenBatch,
        config::ModelConfig,
        folder::{self, ModelFolder},
    },
    parameters::{ParameterSet, values},
    spec::{Lora, LoraBias},
    training::trainable::{Trainable, hidden_states},
};

const MEMBERS: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];
const VOCABULARY: usize = 300;
/// Of each sequence the logits of as many tokens at its end are in the references.
const LAST: usize = 6;

fn base(member: &str) -> ModelFolder<Compute> {
    folder::load(&fixture(&format!("llama/{member}")), &DEVICE).expect(member)
}

fn adapter(member: &str, config: &ModelConfig) -> (Lora, ParameterSet<Compute>) {
    peft::load(&fixture(&format!("llama/{member}/adapter")), config, &DEVICE).expect(member)
}

fn reference(member: &str) -> Reference {
    Reference::read(&format!("llama/{member}.safetensors"))
}

fn plain(base: &ModelFolder<Compute>) -> Network<Compute> {
    Network {
        model: CausalModel::new(&base.config, &base.parameters).expect("a model"),
        adapter: None,
    }
}

fn adapted(
    base: &ModelFolder<Compute>,
    settings: &Lora,
    parameters: &ParameterSet<Compute>,
) -> Network<Compute> {
    let plan = Plan::new(&base.config, settings).expect("a plan");
    Network {
        model: CausalModel::with_replaced(&base.config, &base.parameters, parameters).expect("a model"),
        adapter: Some(lora::adapter(&plan, parameters).expect("an adapter")),
    }
}

/// The logits of the tokens at the end of each row.
fn last_logits(logits: &[f32], rows: usize) -> Vec<f32> {
    let row = logits.len() / rows;
    let rows = logits.chunks_exact(row);
    rows.flat_map(|row_logits| &row_logits[row - LAST * VOCABULARY..])
        .copied()
        .collect()
}

fn logits(network: &Network<Compute>, tokens: &TokenBatch) -> Vec<f32> {
    let mut pass = network.adapter.as_ref().map(AdapterPass::without_dropout);
    let states = network.model.hidden_states(tokens, pass.as_mut(), None);
    values(network.model.logits(states)).expect("numbers")
}

/// WK-3, MO-1
#[test]
fn logits_of_every_member_are_those_of_transformers() {
    for member in MEMBERS {
        let (reference, base) = (reference(member), base(member));
        let network = plain(&base);
        let states = hidden_states(&network, &reference.batch(), None);
        let ours = values(network.model.logits(states)).expect("numbers");
        let difference = greatest_difference(&last_logits(&ours, 2), &reference.floats("logits"));
        println!("{member}: logits differ by at most {difference:.2e}");
        assert!(difference < 1e-4, "{member}: {difference}");
    }
}

/// WK-3, MO-3: rsLoRA, biases and saved modules among them.
#[test]
fn logits_with_adapters_made_by_peft_are_those_of_peft() {
    for member in MEMBERS {
        let (reference, base) = (reference(member), base(member));
        let (settings, parameters) = adapter(member, &base.config);
        let network = adapted(&base, &settings, &parameters);
        let states = hidden_states(&network, &reference.batch(), None);
        let ours = last_logits(&values(network.model.logits(states)).expect("numbers"), 2);
        let difference = greatest_difference(&ours, &reference.floats("adapter_logits"));
        println!("{member}: logits with an adapter differ by at most {difference:.2e}");
        assert!(difference < 1e-4, "{member}: {difference}");
        let effect = greatest_difference(&ours, &reference.floats("logits"));
        assert!(effect > 0.01, "the adapter changes something: {effect}");
    }
}

#[test]
fn the_adapters_of_the_fixtures_have_every_option() {
    let of = |member: &str| adapter(member, &base(member).config).0;
    let llama = of("llama");
    assert!(llama.use_rslora && llama.bias == LoraBias::All);
    assert_eq!(llama.modules_to_save, ["lm_head", "norm"]);
    assert_eq!(of("mistral").target_modules.len(), 14);
    assert_eq!(of("qwen2").bias, LoraBias::LoraOnly);
}

/// WK-3
#[test]
fn a_step_of_lora_with_every_option_is_that_of_peft_and_torch() {
    for member in MEMBERS {
        println!("{member}");
        let base = base(member);
        let (settings, parameters) = adapter(member, &base.config);
        let trainable = Trainable::lora(base.config, settings, base.parameters).expect("a task");
        compare_step(&reference(member), &trainable, parameters, "");
    }
}

/// WK-3
#[test]
fn greedy_text_with_the_cache_is_that_of_transformers() {
    for member in MEMBERS {
        let (reference, base) = (reference(member), base(member));
        let ids = reference.integers("ids");
        let prompt: Vec<u32> = ids[..8].iter().map(|id| *id as u32).collect();
        let text = plain(&base)
            .generate(&prompt, 16, SamplingParams::GREEDY)
            .expect("tokens");
        let mut theirs: Vec<u32> = reference.integers("greedy").iter().map(|id| *id as u32).collect();
        // Theirs has the end of the text and what pads after it.
        theirs.truncate(theirs.iter().position(|id| *id == 0).unwrap_or(theirs.len()));
        assert_eq!(text, theirs, "{member}");
    }
}

/// Samples that share a row see themselves alone, also through a window.
#[test]
fn packed_samples_have_the_logits_they_have_alone() {
    for member in ["llama", "mistral"] {
        let (reference, base) = (reference(member), base(member));
        let lengths = [7usize, 5, 8];
        let starts = [0usize, 7, 12];
        let each = || lengths.iter().zip(starts);
        let tokens = TokenBatch {
            ids: reference.integers("ids")[..20].to_vec(),
            batch: 1,
            positions: Some(each().flat_map(|(length, _)| 0..*length as u32).collect()),
            first_visible: Some(
                each()
                    .flat_map(|(length, start)| vec![start as u32; *length])
                    .collect(),
            ),
        };
        let ours = last_logits(&logits(&plain(&base), &tokens), 1);
        let difference = greatest_difference(&ours, &reference.floats("packed_logits"));
        println!("{member}: packed logits differ by at most {difference:.2e}");
        assert!(difference < 1e-4, "{member}: {difference}");
    }
}

#[test]
fn the_cache_gives_the_hidden_states_of_a_whole_pass_also_through_windows() {
    for member in MEMBERS {
        let (reference, base) = (reference(member), base(member));
        let network = plain(&base);
        let ids = reference.integers("ids");
        let whole = values(
            network
                .model
                .hidden_states(&TokenBatch::rows(ids.clone(), 2), None, None),
        )
        .expect("numbers");
        let mut cache = KvCache::default();
        let mut rows = [Vec::new(), Vec::new()];
        for piece in [0..5, 5..6, 6..7, 7..20] {
            let piece = [&ids[piece.clone()], &ids[20 + piece.start..20 + piece.end]].concat();
            let tokens = TokenBatch::rows(piece, 2);
            let states = network.model.hidden_states(&tokens, None, Some(&mut cache));
            let states = values(states).expect("numbers");
            let (first, second) = states.split_at(states.len() / 2);
            rows[0].extend_from_slice(first);
            rows[1].extend_from_slice(second);
        }
        let difference = greatest_difference(&rows.concat(), &whole);
        assert!(difference < 1e-4, "{member}: {difference}");
    }
}

/// A batch with a cache whose shorter row is padded on the left goes on as each row does alone.
#[test]
fn rows_padded_on_the_left_go_on_as_they_do_alone() {
    for member in MEMBERS {
        let (reference, base) = (reference(member), base(member));
        let network = plain(&base);
        let ids = reference.integers("ids");
        let (long, short, padding) = (&ids[..8], &ids[20..25], 3u32);
        let alone = |row: &[i32]| {
            let states = network
                .model
                .hidden_states(&TokenBatch::rows(row.to_vec(), 1), None, None);
            let states = values(states).expect("numbers");
            states[states.len() - base.config.width()..].to_vec()
        };
        let mut cache = KvCache::default();
        let mut together = Vec::new();
        let mut pass = |columns: std::ops::Range<usize>| {
            let pad = vec![0; padding as usize];
            let second = [&pad[..], short].concat();
            let row = |place: usize| columns.clone().map(move |column| (place, column as u32));
            let places: Vec<_> = row(0).chain(row(1)).collect();
            let tokens = TokenBatch {
                ids: [&long[columns.clone()], &second[columns.clone()]].concat(),
                batch: 2,
                positions: Some(
                    places
                        .iter()
                        .map(|(row, column)| {
                            if *row == 0 {
                                *column
                            } else {
                                column.saturating_sub(padding)
                            }
                        })
                        .collect(),
                ),
                first_visible: Some(
                    places
                        .iter()
                        .map(|(row, column)| if *row == 0 { 0 } else { padding.min(*column) })
                        .collect(),
                ),
            };
            together = values(network.model.hidden_states(&tokens, None, Some(&mut cache))).expect("numbers");
        };
        pass(0..7);
        pass(7..8);
        let expected = [alone(long), alone(short)].concat();
        let difference = greatest_difference(&together, &expected);
        assert!(difference < 1e-4, "{member}: {difference}");
    }
}

/// Linear, dynamic, llama3 and yarn stretching of the rotation: frequencies to a part in 10⁶, for both sides round
/// powers to 32 bits, each in its own way.
#[test]
fn frequencies_of_every_rotation_are_those_of_transformers() {
    let reference = Reference::read("llama/rotations.safetensors");
    let names: Vec<String> = reference
        .names("")
        .iter()
        .filter_map(|name| name.strip_suffix(".config").map(str::to_owned))
        .collect();
    assert_eq!(names.len(), 7, "{names:?}");
    for name in names {
        let config =
            ModelConfig::from_json(&reference.raw(&format!("{name}.config"))).expect("a configuration");
        let ModelConfig::Llama(config) = config else {
            panic!("{name} is no Llama")
        };
        let ours = config.rope.frequencies(config.head_size, 100);
        let theirs = reference.floats(&format!("{name}.frequencies"));
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((ours / theirs - 1.0).abs() < 1e-6, "{name}: {ours} and {theirs}");
        }
        let attention_factor = reference.floats(&format!("{name}.magnitude"))[0];
        assert!(
            (config.rope.attention_factor() / attention_factor - 1.0).abs() < 1e-6,
            "{name}"
        );
    }
}

/// MO-3: what PEFT wrote comes out again, tensor for tensor.
#[test]
fn adapters_with_every_option_survive_reading_and_writing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for member in MEMBERS {
        let base = base(member);
        let (settings, parameters) = adapter(member, &base.config);
        for (name, bytes) in peft::encode(&base.config, &settings, &parameters, "base").expect("encoded") {
            std::fs::write(dir.path().join(name), bytes).expect("written");
        }
        let (again, tensors) = peft::load::<Compute>(dir.path(), &base.config, &DEVICE).expect("read back");
        assert_eq!(again, settings);
        assert_eq!(tensors.names(), parameters.names());
        let stored = |folder: &Path| {
            let bytes = std::fs::read(folder.join("adapter_model.safetensors")).expect("a file");
            let file = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
            let mut tensors: Vec<_> = file
                .iter()
                .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec()))
                // PEFT writes the bias of a saved norm thrice; see `lora/peft.rs`.
                .filter(|(name, ..)| !name.contains("_module.") && !name.contains("modules_to_save"))
                .collect();
            tensors.sort();
            tensors
        };
        let theirs = stored(&fixture(&format!("llama/{member}/adapter")));
        assert!(stored(dir.path()) == theirs, "{member}: tensors differ");
    }
}

/// A new adapter of any kind changes nothing yet.
#[test]
fn a_new_adapter_changes_nothing() {
    for member in MEMBERS {
        let base = base(member);
        let settings = Lora {
            rank: 2,
            target_modules: vec!["all-linear".to_owned()],
            bias: LoraBias::All,
            modules_to_save: ["embed_tokens", "norm", "lm_head"].map(str::to_owned).to_vec(),
            ..Lora::default()
        };
        let plan = Plan::new(&base.config, &settings).expect("a plan");
        let parameters =
            ml::lora::initialize(&plan, &base.parameters, &base.config, 1, &DEVICE).expect("an adapter");
        let tokens = TokenBatch::rows(reference(member).integers("ids"), 2);
        let new = logits(&adapted(&base, &settings, &parameters), &tokens);
        let difference = greatest_difference(&new, &logits(&plain(&base), &tokens));
        assert!(difference < 1e-5, "{member}: {difference}");
    }
}
