//! The domain's estimate of memory against the training engine's own (JB-1).
//!
//! One rule: the two are one formula, written down twice because the API must not know the engine.

use domain::jobs::{
    estimate::needs,
    shape::Shape,
    spec::{Architecture, HyperParameters, Lora, Method, Objective, TrainingSpec},
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

fn size(tensors: &[ml::tensor_file::Expected]) -> u64 {
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
            method: Method::Scratch(shape),
            objective: Objective::default(),
            parameters: parameters.clone(),
        };
        let ours = needs(&spec, None).expect("known");
        assert_eq!(ours.parameters, whole, "{shape:?}");
        assert_eq!(
            ours.memory_bytes,
            memory::needed(&config, whole, 0, &chosen),
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
            memory::needed(&config, adapter, whole, &chosen),
            "{shape:?}"
        );
    }
}
