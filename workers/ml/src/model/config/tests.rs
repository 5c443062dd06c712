//! Configurations that are read, and those that are rejected.

use crate::failure::FailureCode;
use serde_json::{Value, json};

use super::{
    rope::{Rope, Scaling},
    *,
};
use crate::spec::Architecture;

fn gpt2() -> Gpt2Config {
    let shape = Architecture {
        layers: 2,
        heads: 2,
        width: 16,
        context: 32,
        vocabulary: 300,
    };
    Gpt2Config::of(&shape, 300, Some(0))
}

/// The fields of a small model of `architecture`.
fn llama(architecture: &str, model_type: &str) -> Value {
    json!({
        "architectures": [architecture], "model_type": model_type, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
        "max_position_embeddings": 64, "eos_token_id": [7, 8], "sliding_window": null, "hidden_act": "silu",
    })
}

fn read(json: &Value) -> Result<LlamaConfig, Failure> {
    match ModelConfig::from_json(json.to_string().as_bytes())? {
        ModelConfig::Llama(config) => Ok(config),
        ModelConfig::Gpt2(config) => panic!("read as {config:?}"),
    }
}

#[test]
fn a_configuration_survives_its_json() {
    let mut wide = gpt2();
    (wide.feed_forward_width, wide.tied_embeddings, wide.eos_tokens) = (48, false, vec![1, 2]);
    for config in [gpt2(), wide] {
        let bytes = config.to_json().to_string();
        assert_eq!(ModelConfig::from_json(bytes.as_bytes()), Ok(config.into()));
    }
    let config = ModelConfig::from(read(&llama("Qwen2ForCausalLM", "qwen2")).expect("read"));
    let again = ModelConfig::from_json(config.to_json().to_string().as_bytes()).expect("read again");
    assert_eq!(again.tensors(), config.tensors());
    assert_eq!(again.to_json(), config.to_json());
}

/// MO-1
#[test]
fn an_unknown_architecture_is_refused_by_name_with_those_known() {
    for (json, name) in [
        (json!({"architectures": ["GemmaForCausalLM"]}), "GemmaForCausalLM"),
        (json!({"model_type": "phi3"}), "phi3"),
        (
            json!({"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"}),
            "LlamaForSequenceClassification",
        ),
        (
            json!({"architectures": ["LlamaForCausalLM"], "model_type": "gpt2"}),
            "LlamaForCausalLM (model_type gpt2)",
        ),
        (json!({}), "(none named)"),
    ] {
        let failure = ModelConfig::from_json(json.to_string().as_bytes()).expect_err(name);
        assert_eq!(failure.code, FailureCode::BaseModelInvalid);
        for said in [name, "GPT2LMHeadModel", "Qwen3ForCausalLM"] {
            assert!(failure.message.contains(said), "{failure}");
        }
    }
    for bytes in [&b"[]"[..], b"{", b""] {
        let failure = ModelConfig::from_json(bytes).expect_err("refused");
        assert!(failure.message.contains("not a JSON object"), "{failure}");
    }
}

/// An empty configuration is rejected for its missing fields, not for values derived from them.
#[test]
fn what_is_missing_is_named_and_nothing_is_made_of_it() {
    for (architecture, model_type) in [("LlamaForCausalLM", "llama"), ("Qwen2ForCausalLM", "qwen2")] {
        let empty = json!({ "architectures": [architecture], "model_type": model_type });
        let failure = read(&empty).expect_err("refused");
        for field in [
            "hidden_size",
            "num_attention_heads",
            "num_hidden_layers",
            "vocab_size",
        ] {
            assert!(
                failure.message.contains(&format!("{field} is missing")),
                "{failure}"
            );
        }
        for made_up in ["heads have", "does not divide"] {
            assert!(!failure.message.contains(made_up), "{failure}");
        }
    }
}

#[test]
fn variants_that_would_be_computed_wrongly_are_all_refused_by_name() {
    let mut json = gpt2().to_json();
    let wrong = [
        ("activation_function", json!("relu")),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("n_inner", json!(0)),
        ("n_head", json!(3)),
        ("vocab_size", json!(-1)),
        ("eos_token_id", json!(300)),
        ("quantization_config", json!({"quant_method": "gptq"})),
    ];
    for (field, value) in &wrong {
        json[*field] = value.clone();
    }
    let failure = ModelConfig::from_json(json.to_string().as_bytes()).expect_err("refused");
    for (field, _) in &wrong {
        assert!(failure.message.contains(field), "{field}: {failure}");
    }

    let mut json = llama("Qwen3ForCausalLM", "qwen3");
    let wrong = [
        ("hidden_act", json!("gelu")),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(7)),
        ("tie_word_embeddings", json!("no")),
        (
            "layer_types",
            json!(["full_attention", "chunked_attention", "full_attention"]),
        ),
        (
            "rope_scaling",
            json!({"rope_type": "longrope", "partial_rotary_factor": 0.5}),
        ),
        ("rms_norm_eps", json!(-1)),
        ("max_position_embeddings", Value::Null),
    ];
    for (field, value) in &wrong {
        json[*field] = value.clone();
    }
    let failure = read(&json).expect_err("refused");
    for said in [
        "hidden_act = \"gelu\"",
        "num_key_value_heads 3 does not divide",
        "head size 7 is odd",
        "tie_word_embeddings is \"no\"",
        "layer_types must name",
        "longrope",
        "partial_rotary_factor = 0.5",
        "rms_norm_eps is -1",
        "max_position_embeddings is missing",
    ] {
        assert!(failure.message.contains(said), "{said}: {failure}");
    }
}

/// MO-1
#[test]
fn the_members_of_the_llama_family_differ_as_hugging_face_says() {
    let mut json = llama("LlamaForCausalLM", "llama");
    json["attention_bias"] = json!(true);
    json["mlp_bias"] = json!(true);
    let config = read(&json).expect("a Llama");
    assert!(
        config.qkv_bias
            && config.attention_output_bias
            && config.feed_forward_bias
            && !config.tied_embeddings
    );
    assert_eq!((config.head_size, config.key_heads), (8, 2));
    assert_eq!(config.eos_tokens, [7, 8]);

    let mut json = llama("MistralForCausalLM", "mistral");
    assert_eq!(read(&json).expect("a Mistral").windows, [None; 3]);
    json["sliding_window"] = json!(6);
    assert_eq!(read(&json).expect("a Mistral").windows, [Some(6); 3]);
    json.as_object_mut().expect("fields").remove("sliding_window");
    assert_eq!(read(&json).expect("a Mistral").windows, [Some(4096); 3]);

    let mut json = llama("Qwen2ForCausalLM", "qwen2");
    json["sliding_window"] = json!(6);
    let config = read(&json).expect("a Qwen2");
    assert!(config.qkv_bias && !config.attention_output_bias);
    assert_eq!(config.windows, [None; 3], "the window is not in use");
    json["use_sliding_window"] = json!(true);
    json["max_window_layers"] = json!(1);
    assert_eq!(read(&json).expect("a Qwen2").windows, [None, Some(6), Some(6)]);
    json["layer_types"] = json!(["sliding_attention", "full_attention", "full_attention"]);
    assert_eq!(read(&json).expect("a Qwen2").windows, [Some(6), None, None]);

    let config = ModelConfig::from(read(&llama("Qwen3ForCausalLM", "qwen3")).expect("a Qwen3"));
    assert_eq!(config.title(), "Qwen3");
    let tensors = config.tensors();
    for expected in [
        ("layers.2.self_attn.q_norm.weight", [1, 128]),
        ("layers.0.self_attn.k_proj.weight", [256, 32]),
        ("layers.0.self_attn.o_proj.weight", [32, 512]),
        ("lm_head.weight", [300, 32]),
    ] {
        assert!(
            tensors.contains(&(expected.0.to_owned(), expected.1)),
            "{expected:?} in {tensors:?}"
        );
    }
    assert_eq!(config.file_name("norm.weight"), "model.norm.weight");
    assert_eq!(config.file_name(HEAD), HEAD);
}

#[test]
fn both_spellings_of_the_rotation_are_read() {
    let rope = |field: &str, value: Value| -> Rope {
        let mut json = llama("LlamaForCausalLM", "llama");
        json["rope_theta"] = json!(500_000.0);
        json[field] = value;
        read(&json).expect("a Llama").rope
    };
    let linear = Rope {
        base: 500_000.0,
        scaling: Scaling::Linear { factor: 2.0 },
    };
    assert_eq!(
        rope("rope_scaling", json!({"type": "linear", "factor": 2.0})),
        linear
    );
    assert_eq!(
        rope(
            "rope_parameters",
            json!({"rope_type": "linear", "factor": 2, "rope_theta": 500000})
        ),
        linear
    );
    assert_eq!(rope("rope_scaling", Value::Null).scaling, Scaling::None);
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    });
    assert_eq!(
        rope("rope_scaling", llama3).scaling,
        Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: 16
        }
    );
    let mut json = llama("LlamaForCausalLM", "llama");
    json["rope_scaling"] = json!({"rope_type": "dynamic", "factor": 4.0});
    assert_eq!(read(&json).expect("a Llama").context, 256);
}
