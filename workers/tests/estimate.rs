//! The domain's estimate of memory against the training engine's own (JB-1).
//!
//! One rule: the two are one formula, written down twice because the API must not know the engine.

use domain::jobs::{
    estimate::needs,
    shape::Shape,
    spec::{Architecture, HyperParameters, Lora, Method, Objective, Outputs, Precision, TrainingSpec},
};
use ml::{lora::Plan, memory, model::config::ModelConfig, spec as engine};

const SHAPES: [Architecture; 3] = [
    Architecture {
        layers: 1,
        heads: 2,
        width: 32,
        context: 32,
        vocabulary: 300,
    },
    Architecture {
        layers: 6,
        heads: 6,
        width: 384,
        context: 256,
        vocabulary: 8_000,
    },
    Architecture {
        layers: 12,
        heads: 12,
        width: 768,
        context: 1_024,
        vocabulary: 50_257,
    },
];

fn config(shape: &Architecture) -> ModelConfig {
    let config = serde_json::json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": shape.layers, "n_head": shape.heads,
        "n_embd": shape.width, "n_positions": shape.context, "vocab_size": shape.vocabulary,
        "activation_function": "gelu_new",
    });
    ModelConfig::from_json(config.to_string().as_bytes()).expect("a GPT-2")
}

fn size(tensors: &[ml::tensor_file::TensorSpec]) -> u64 {
    tensors
        .iter()
        .map(|(_, [rows, columns])| (rows * columns) as u64)
        .sum()
}

#[test]
fn both_sides_estimate_the_same_memory() {
    for shape in SHAPES {
        let config = config(&shape);
        let parameters = HyperParameters {
            sequence_length: 32,
            batch_size: 4,
            ..HyperParameters::default()
        };
        let chosen = engine::Hyperparameters {
            sequence_length: parameters.sequence_length,
            batch_size: parameters.batch_size,
            ..engine::Hyperparameters::default()
        };
        let whole = size(&config.tensors());
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Scratch(shape),
            objective: Objective::default(),
            parameters: parameters.clone(),
        };
        let ours = needs(&spec, None).expect("known");
        assert_eq!(ours.parameters, whole, "{shape:?}");
        assert_eq!(
            ours.memory_bytes,
            memory::required_bytes(&config, whole, 0, &chosen),
            "{shape:?}"
        );
        let targets = ["c_attn", "c_proj"].map(str::to_owned).to_vec();
        let settings = engine::LoraSettings {
            rank: 8,
            target_modules: targets.clone(),
            ..engine::LoraSettings::default()
        };
        let plan = Plan::new(&config, &settings).expect("it fits");
        let adapter = size(&plan.tensors());
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Lora(Lora {
                rank: 8,
                alpha: 16.0,
                dropout: 0.0,
                target_modules: targets,
                ..Lora::default()
            }),
            objective: Objective::default(),
            parameters,
        };
        let ours = needs(&spec, Some(&Shape::from(&shape))).expect("known");
        assert_eq!(ours.trained, adapter, "{shape:?}");
        assert_eq!(
            ours.memory_bytes,
            memory::required_bytes(&config, adapter, whole, &chosen),
            "{shape:?}"
        );
        let (mut spec, mut chosen) = (spec, chosen);
        spec.parameters.precision = Precision::Bf16;
        chosen.precision = engine::Precision::Bf16;
        let ours = needs(&spec, Some(&Shape::from(&shape))).expect("known");
        assert_eq!(
            ours.memory_bytes,
            memory::required_bytes(&config, adapter, whole, &chosen),
            "{shape:?} in bfloat16"
        );
    }
}

/// The fields of every Llama-like `config.json` that the engine computes, and then what some members add.
fn llama(architecture: &str, kind: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut json = serde_json::json!({
        "architectures": [architecture], "model_type": kind, "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320,
        "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": false,
    });
    for (name, value) in more.as_object().expect("fields") {
        json[name] = value.clone();
    }
    json
}

/// JB-1: the same for the members of the Llama family, with their biases, norms, head sizes and tied heads.
#[test]
fn both_sides_estimate_the_same_memory_for_the_llama_family() {
    let nothing = serde_json::json!({});
    for json in [
        llama("LlamaForCausalLM", "llama", &nothing),
        llama(
            "LlamaForCausalLM",
            "llama",
            &serde_json::json!({ "num_key_value_heads": 4, "attention_bias": true, "mlp_bias": true }),
        ),
        llama(
            "LlamaForCausalLM",
            "llama",
            &serde_json::json!({ "head_dim": 32, "tie_word_embeddings": true, "intermediate_size": 640 }),
        ),
        llama("MistralForCausalLM", "mistral", &nothing),
        llama("Qwen2ForCausalLM", "qwen2", &nothing),
        llama("Qwen3ForCausalLM", "qwen3", &nothing),
        llama(
            "Qwen3ForCausalLM",
            "qwen3",
            &serde_json::json!({ "head_dim": 24, "attention_bias": true }),
        ),
    ] {
        let config = ModelConfig::from_json(json.to_string().as_bytes()).expect("a Llama");
        let shape = Shape::of_config(&json).expect("a shape");
        assert_eq!(shape.parameters(), size(&config.tensors()), "{json}");
        for (targets, keep_best) in [(vec!["q_proj", "down_proj"], false), (vec!["all-linear"], true)] {
            let targets: Vec<String> = targets.into_iter().map(str::to_owned).collect();
            let plan = Plan::new(
                &config,
                &engine::LoraSettings {
                    rank: 4,
                    target_modules: targets.clone(),
                    ..engine::LoraSettings::default()
                },
            );
            let adapter = size(&plan.expect("it fits").tensors());
            let spec = TrainingSpec {
                method: Method::Lora(Lora {
                    rank: 4,
                    target_modules: targets,
                    ..Lora::default()
                }),
                objective: Objective::default(),
                parameters: HyperParameters {
                    sequence_length: 32,
                    batch_size: 4,
                    keep_best,
                    ..HyperParameters::default()
                },
                outputs: Outputs::default(),
            };
            let ours = needs(&spec, Some(&shape)).expect("known");
            let chosen = engine::Hyperparameters {
                sequence_length: 32,
                batch_size: 4,
                keep_best,
                ..engine::Hyperparameters::default()
            };
            assert_eq!(ours.trained, adapter, "{json}");
            let theirs = memory::required_bytes(&config, adapter, size(&config.tensors()), &chosen);
            assert_eq!(ours.memory_bytes, theirs, "{json}");
        }
    }
}
