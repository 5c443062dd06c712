//! The estimate of memory against what the engine makes and what trainings were measured to take (JB-1).
//!
//! One rule: the estimate is from below and near enough to be of use: never above what was measured, and never below half of
//! it.

use std::{collections::BTreeMap, fs, path::Path};

use ml::{
    lora::Plan,
    model::config::ModelConfig,
    spec::{
        Architecture, HyperParameters, Lora, LoraBias, Method, Objective, Outputs, TrainingSpec,
        memory::{Needs, needs},
        shape::Shape,
    },
    tensor_file::TensorSpec,
};
use serde_json::{Value, json};

use crate::{child::Training, support::TestDir};

fn count(tensors: &[TensorSpec]) -> u64 {
    tensors
        .iter()
        .map(|(_, [rows, columns])| (rows * columns) as u64)
        .sum()
}

fn read(json: &Value) -> (ModelConfig, Shape) {
    let config = ModelConfig::from_json(json.to_string().as_bytes()).expect("a configuration");
    (config, Shape::of_config(json).expect("a shape"))
}

fn gpt2(layers: u32, width: u32, more: &Value) -> Value {
    let mut json = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": layers, "n_head": 2, "n_embd": width,
        "n_positions": 64, "vocab_size": 300, "activation_function": "gelu_new",
    });
    merge(&mut json, more);
    json
}

/// The fields of every Llama-like `config.json` that the engine computes, and then what some members add.
fn llama(architecture: &str, kind: &str, more: &Value) -> Value {
    let mut json = json!({
        "architectures": [architecture], "model_type": kind, "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320,
        "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": false,
    });
    merge(&mut json, more);
    json
}

fn merge(json: &mut Value, more: &Value) {
    for (name, value) in more.as_object().expect("fields") {
        json[name] = value.clone();
    }
}

/// Models of both families, with their biases, norms, head sizes and tied heads.
fn models() -> Vec<Value> {
    let nothing = json!({});
    vec![
        gpt2(1, 32, &nothing),
        gpt2(3, 64, &json!({ "n_inner": 100, "tie_word_embeddings": false })),
        llama("LlamaForCausalLM", "llama", &nothing),
        llama(
            "LlamaForCausalLM",
            "llama",
            &json!({ "num_key_value_heads": 4, "attention_bias": true, "mlp_bias": true }),
        ),
        llama(
            "LlamaForCausalLM",
            "llama",
            &json!({ "head_dim": 32, "tie_word_embeddings": true, "intermediate_size": 640 }),
        ),
        llama(
            "LlamaForCausalLM",
            "llama",
            &json!({ "rope_scaling": { "rope_type": "dynamic", "factor": 2.5 } }),
        ),
        llama("MistralForCausalLM", "mistral", &nothing),
        llama("Qwen2ForCausalLM", "qwen2", &nothing),
        llama("Qwen3ForCausalLM", "qwen3", &nothing),
        llama(
            "Qwen3ForCausalLM",
            "qwen3",
            &json!({ "head_dim": 24, "attention_bias": true }),
        ),
    ]
}

/// Adapters of every kind on a model of this family.
fn adapters(is_gpt2: bool) -> Vec<Lora> {
    let names: [&[&str]; 4] = match is_gpt2 {
        true => [
            &["c_attn"],
            &["c_fc", "mlp.c_proj"],
            &["wte", "ln_1", "lm_head"],
            &["h.0.attn.c_attn"],
        ],
        false => [
            &["q_proj", "down_proj"],
            &["self_attn.v_proj"],
            &["embed_tokens", "norm", "lm_head"],
            &["layers.0.mlp.up_proj"],
        ],
    };
    let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
    let all = ["all-linear".to_owned()].to_vec();
    let targets = [owned(names[0]), owned(names[1]), owned(names[3]), all];
    let mut adapters = Vec::new();
    for target_modules in targets {
        for bias in [LoraBias::None, LoraBias::All, LoraBias::LoraOnly] {
            for modules_to_save in [Vec::new(), owned(names[2])] {
                adapters.push(Lora {
                    rank: 4,
                    target_modules: target_modules.clone(),
                    bias,
                    modules_to_save,
                    ..Lora::default()
                });
            }
        }
    }
    adapters
}

/// JB-1: what the server knows of a model from its `config.json` is what the engine makes of it, number by number.
#[test]
fn models_and_adapters_have_the_numbers_that_their_shapes_say() {
    for json in models() {
        let (config, shape) = read(&json);
        assert_eq!(shape, config.shape(), "{json}");
        assert_eq!(shape.parameters(), count(&config.tensors()), "{json}");
        for lora in adapters(json["model_type"] == "gpt2") {
            let plan = Plan::new(&config, &lora).expect("it fits");
            assert_eq!(
                shape.adapter_parameters(&lora),
                count(&plan.tensors()),
                "{lora:?} on {json}"
            );
        }
    }
}

fn estimated(method: Method, base: Option<&Shape>, parameters: HyperParameters) -> Needs {
    let spec = TrainingSpec {
        method,
        objective: Objective::default(),
        parameters,
        outputs: Outputs::default(),
    };
    needs(&spec, base).expect("known")
}

/// MiB that trainings took according to BENCHMARKS.md, without what the process takes before there is a model.
fn measured() -> BTreeMap<String, Vec<u64>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(folder.join("BENCHMARKS.md")).expect("the measurements");
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, shape, _, "Anneal", _, _, peak, before, _, _] = cells[..]
            && folder.join(format!("benches/shapes/{shape}.json")).exists()
            && cells[2].parse::<f64>().is_ok_and(|dropout| dropout < 1.0)
        {
            let mib = |cell: &str| cell.parse::<u64>().expect("MiB");
            found
                .entry(shape.to_owned())
                .or_default()
                .push(mib(peak) - mib(before));
        }
    }
    found
}

/// JB-1: the committed measurements of adapters of rank 8, with the settings that BENCHMARKS.md gives.
#[test]
fn committed_measurements_are_above_the_estimate_and_less_than_twice_of_it() {
    let measured = measured();
    assert_eq!(measured.len(), 3, "{measured:?}");
    for (name, mebibytes) in measured {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/shapes/{name}.json"));
        let json = serde_json::from_str(&fs::read_to_string(path).expect("a shape")).expect("JSON");
        let (_, shape) = read(&json);
        let targets: &[&str] = match name.starts_with("gpt2") {
            true => &["c_attn"],
            false => &["q_proj", "k_proj", "v_proj", "o_proj"],
        };
        let lora = Lora {
            target_modules: targets.iter().map(|&target| target.to_owned()).collect(),
            ..Lora::default()
        };
        let parameters = HyperParameters {
            batch_size: if name == "gpt2-small" { 2 } else { 8 },
            sequence_length: 128,
            ..HyperParameters::default()
        };
        let estimate = estimated(Method::Lora(lora), Some(&shape), parameters).memory_bytes >> 20;
        for peak in mebibytes {
            assert!(
                (estimate..2 * estimate).contains(&peak),
                "{name}: {estimate} MiB were estimated, {peak} measured"
            );
        }
    }
}

/// JB-1: a training of new weights in a process of its own, with short and with long sequences.
#[test]
fn a_training_takes_what_was_estimated_and_less_than_twice_of_it() {
    for (length, rows) in [(128, 8), (512, 2)] {
        let dir = TestDir::new();
        let mut job = dir.scratch("measured");
        let architecture = Architecture {
            layers: 4,
            heads: 16,
            width: 256,
            context: 512,
            vocabulary: 320,
        };
        job.spec.method = Method::Scratch(architecture);
        job.spec.parameters = HyperParameters {
            steps: 3,
            warmup_steps: 0,
            batch_size: rows,
            sequence_length: length,
            ..HyperParameters::default()
        };
        let estimate = estimated(job.spec.method.clone(), None, job.spec.parameters.clone()).memory_bytes;
        let mut training = Training::start(&dir, &job);
        let mut peak = 0;
        while training.next().is_some() {
            peak = training.peak_bytes().unwrap_or(peak);
        }
        assert_eq!(training.status(), Some(0));
        assert!(
            (estimate..2 * estimate).contains(&peak),
            "length {length}: {} MiB were estimated, {} measured",
            estimate >> 20,
            peak >> 20
        );
    }
}
