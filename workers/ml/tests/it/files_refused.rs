//! Model folders that lie: each must be refused by name, none may panic.

use std::{fs, path::PathBuf};

use crate::support::{DEVICE, TestDir, fixture};
use ml::{
    Compute,
    failure::{Failure, FailureCode},
    model::folder,
    parameters::values,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// A copy of the base of the fixtures.
fn copy(dir: &TestDir) -> PathBuf {
    let target = dir.path("base");
    fs::create_dir_all(&target).expect("made");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(fixture("base").join(name), target.join(name)).expect("copied");
    }
    target
}

fn weights() -> Vec<u8> {
    fs::read(fixture("base/model.safetensors")).expect("weights")
}

/// What is said about a base with the given weights.
fn refusal(weights: &[u8]) -> Failure {
    let dir = TestDir::new();
    let base = copy(&dir);
    fs::write(base.join("model.safetensors"), weights).expect("written");
    let failure = folder::load::<Compute>(&base, &DEVICE).expect_err("refused");
    assert_eq!(failure.code, FailureCode::BaseModelInvalid);
    assert!(failure.message.contains("model.safetensors"), "{failure}");
    failure
}

/// The weights with another header.
fn with_header(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let weights = weights();
    let length = u64::from_le_bytes(weights[..8].try_into().expect("eight bytes")) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&weights[8..8 + length]).expect("a header");
    change(&mut header);
    let header = header.to_string();
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &weights[8 + length..],
    ]
    .concat()
}

/// The weights with some tensors changed: `change` gives the type and the bytes of each.
fn re_encoded(change: impl Fn(&str, &[u8]) -> Option<(Dtype, Vec<u8>)>) -> Vec<u8> {
    let weights = weights();
    let file = SafeTensors::deserialize(&weights).expect("a file");
    let tensors: Vec<_> = file
        .iter()
        .filter_map(|(name, view)| {
            change(name, view.data()).map(|(dtype, bytes)| (name, dtype, view.shape().to_vec(), bytes))
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (
            *name,
            TensorView::new(*dtype, shape.clone(), bytes).expect("a view"),
        )
    });
    safetensors::serialize(views, None).expect("encoded")
}

const NAME: &str = "transformer.h.1.mlp.c_fc.weight";

#[test]
fn truncated_and_lying_headers_are_refused() {
    let whole = weights();
    for length in [0, 7, 8, 100, whole.len() - 1] {
        refusal(&whole[..length]);
    }
    let mut endless = whole.clone();
    endless[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refusal(&endless);
    refusal(&[whole.clone(), vec![0]].concat());
    refusal(&with_header(|header| {
        header[NAME]["data_offsets"] = serde_json::json!([0, 1u64 << 40]);
    }));
    refusal(&with_header(|header| {
        header[NAME]["data_offsets"] = serde_json::json!([8, 4]);
    }));
    refusal(&with_header(|header| {
        header[NAME]["data_offsets"] = header["transformer.wte.weight"]["data_offsets"].clone();
    }));
    refusal(&with_header(|header| {
        header[NAME]["dtype"] = serde_json::json!("F64");
    }));
    refusal(&with_header(|header| {
        header[NAME]["shape"] = serde_json::json!([u64::MAX, u64::MAX]);
    }));
}

#[test]
fn missing_surplus_and_misshapen_tensors_are_all_listed() {
    let weights = with_header(|header| {
        let fields = header.as_object_mut().expect("fields");
        let tensor = fields.remove(NAME).expect("a tensor");
        fields.insert("transformer.h.9.extra".to_owned(), tensor);
        fields["transformer.wpe.weight"]["shape"] = serde_json::json!([32, 48]);
    });
    let message = refusal(&weights).message;
    for said in [
        format!("{NAME} is missing"),
        "transformer.h.9.extra does not belong".to_owned(),
        "transformer.wpe.weight has the shape [32, 48], expected [48, 32]".to_owned(),
    ] {
        assert!(message.contains(&said), "{said}: {message}");
    }
}

#[test]
fn other_types_than_floats_are_refused_by_name() {
    let weights = with_header(|header| header[NAME]["dtype"] = serde_json::json!("I32"));
    assert!(
        refusal(&weights)
            .message
            .contains(&format!("{NAME} has the type I32"))
    );
}

/// MO-1: the weights of the fixtures are exact in bfloat16, so both types give the same numbers.
#[test]
fn half_precision_and_files_without_prefix_give_the_same_numbers() {
    let dir = TestDir::new();
    let base = copy(&dir);
    let numbers = |base: &std::path::Path| {
        let parameters = folder::load::<Compute>(base, &DEVICE).expect("loaded").parameters;
        parameters
            .iter()
            .map(|(name, tensor)| (name.to_owned(), values(tensor.clone()).expect("numbers")))
            .collect::<Vec<_>>()
    };
    let expected = numbers(&base);
    let upper = |_: &str, bytes: &[u8]| {
        Some((
            Dtype::BF16,
            bytes
                .chunks_exact(4)
                .flat_map(|word| [word[2], word[3]])
                .collect(),
        ))
    };
    fs::write(base.join("model.safetensors"), re_encoded(upper)).expect("written");
    assert_eq!(numbers(&base), expected);
    let bare = String::from_utf8_lossy(&weights()[8..]).contains("transformer.");
    assert!(
        bare,
        "the fixture has the prefix, so that the next check means something"
    );
    let unprefixed = with_header(|header| {
        let fields = std::mem::take(header.as_object_mut().expect("fields"));
        let renamed = fields
            .into_iter()
            .map(|(name, value)| (name.replace("transformer.", ""), value));
        *header = renamed.collect::<serde_json::Map<_, _>>().into();
    });
    fs::write(base.join("model.safetensors"), unprefixed).expect("written");
    assert_eq!(numbers(&base), expected);
}

#[test]
fn sixteen_bit_floats_of_ieee_are_read() {
    let dir = TestDir::new();
    let base = copy(&dir);
    // 0x3C00 is 1.0.
    let ones = |name: &str, bytes: &[u8]| match name {
        "transformer.ln_f.weight" => Some((Dtype::F16, [0x00, 0x3C].repeat(bytes.len() / 4))),
        _ => Some((Dtype::F32, bytes.to_vec())),
    };
    fs::write(base.join("model.safetensors"), re_encoded(ones)).expect("written");
    let parameters = folder::load::<Compute>(&base, &DEVICE)
        .expect("loaded")
        .parameters;
    assert_eq!(
        values(parameters.get("ln_f.weight").expect("a tensor")).expect("numbers"),
        [1.0; 32]
    );
}

#[test]
fn a_second_head_and_a_foreign_tokenizer_are_refused() {
    let untied = with_header(|header| {
        let fields = header.as_object_mut().expect("fields");
        let tensor = fields
            .remove("transformer.h.0.mlp.c_fc.weight")
            .expect("a tensor");
        fields.insert("lm_head.weight".to_owned(), tensor);
    });
    assert!(refusal(&untied).message.contains("lm_head"));

    let dir = TestDir::new();
    let base = copy(&dir);
    let config = fs::read_to_string(base.join("config.json")).expect("a configuration");
    fs::write(
        base.join("config.json"),
        config.replace("\"vocab_size\": 300", "\"vocab_size\": 299"),
    )
    .expect("written");
    let failure = folder::load::<Compute>(&base, &DEVICE).expect_err("refused");
    assert!(
        failure.message.contains("300 tokens but the model only 299"),
        "{failure}"
    );
    fs::remove_file(base.join("tokenizer.json")).expect("removed");
    let failure = folder::load::<Compute>(&base, &DEVICE).expect_err("refused");
    assert!(failure.message.contains("tokenizer.json"), "{failure}");
}

/// Sparse, they take no room on the disk; read whole, each would take 3 GiB of memory.
#[test]
fn a_file_larger_than_any_of_its_kind_is_refused_by_name_before_it_is_read() {
    let sizes = [
        ("config.json", 16 << 20),
        ("generation_config.json", 16 << 20),
        ("chat_template.jinja", 16 << 20),
        ("tokenizer_config.json", 64 << 20),
        ("special_tokens_map.json", 64 << 20),
        ("added_tokens.json", 64 << 20),
        ("tokenizer.json", 256 << 20),
        ("vocab.json", 256 << 20),
        ("merges.txt", 256 << 20),
    ];
    for (name, limit) in sizes {
        let dir = TestDir::new();
        let base = copy(&dir);
        let file = fs::File::create(base.join(name)).expect("made");
        file.set_len(3 << 30).expect("sparse");
        let failure = folder::load::<Compute>(&base, &DEVICE).expect_err(name);
        assert_eq!(failure.code, FailureCode::BaseModelInvalid);
        let expected = format!("{name} has 3221225472 bytes, at most {limit} are supported");
        assert!(failure.message.contains(&expected), "{failure}");
    }
    // The index decides which weights there are, so it is read before anything else is known of the model.
    let dir = TestDir::new();
    let base = copy(&dir);
    fs::remove_file(base.join("model.safetensors")).expect("removed");
    let index = base.join("model.safetensors.index.json");
    fs::File::create(&index)
        .and_then(|file| file.set_len(3 << 30))
        .expect("sparse");
    let failure = folder::files(&base).expect_err("refused");
    assert!(failure.message.contains("67108864 bytes"), "{failure}");
    let adapter = dir.path("adapter");
    fs::create_dir_all(&adapter).expect("made");
    fs::File::create(adapter.join("adapter_config.json"))
        .and_then(|file| file.set_len(3 << 30))
        .expect("sparse");
    let config = folder::config(&base).expect("a configuration");
    let failure = ml::lora::peft::load::<Compute>(&adapter, &config, &DEVICE).expect_err("refused");
    assert!(
        failure.message.contains("adapter_config.json") && failure.message.contains("16777216 bytes"),
        "{failure}"
    );
}

/// The training child reads the folder too, and nothing there makes it wait.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_by_name_and_never_waited_for() {
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ] {
        let dir = TestDir::new();
        let base = copy(&dir);
        drop(fs::remove_file(base.join(name)));
        let made = std::process::Command::new("mkfifo").arg(base.join(name)).status();
        assert!(made.expect("mkfifo runs").success());
        let failure = folder::load::<Compute>(&base, &DEVICE).expect_err(name);
        assert!(
            failure.message.contains(name) && failure.message.contains("a named pipe"),
            "{failure}"
        );
    }
}
