//! Sharded weights, indices that lie, and headers that attack: each is refused by name, none may panic.

use std::{fs, path::PathBuf};

use crate::support::{DEVICE, TestDir, fixture};
use ml::{
    Compute,
    failure::FailureCode,
    model::folder::{self, weights},
    tensor_file::TensorFile,
};
use serde_json::{Value, json};

const INDEX_FILE: &str = "model.safetensors.index.json";
const SHARD: &str = "model-00002-of-00003.safetensors";

/// A copy of the fixtures' model in three files.
fn copy(dir: &TestDir) -> PathBuf {
    let target = dir.path("base");
    fs::create_dir_all(&target).expect("made");
    for entry in fs::read_dir(fixture("llama/qwen2")).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, target.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    target
}

fn index(base: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(base.join(INDEX_FILE)).expect("an index")).expect("JSON")
}

/// What is said after `change` of a sharded model.
fn refusal(change: impl Fn(&std::path::Path)) -> String {
    let dir = TestDir::new();
    let base = copy(&dir);
    change(&base);
    let failure = folder::load::<Compute>(&base, &DEVICE).expect_err("refused");
    assert_eq!(failure.code, FailureCode::BaseModelInvalid);
    failure.message
}

/// MO-1
#[test]
fn sharded_weights_that_lie_are_refused_by_name() {
    let lost = refusal(|base| fs::remove_file(base.join(SHARD)).expect("removed"));
    assert!(lost.contains(SHARD), "{lost}");
    let strange = refusal(|base| {
        fs::copy(base.join(SHARD), base.join("model-00009-of-00003.safetensors")).expect("copied");
    });
    assert!(
        strange.contains("model-00009-of-00003.safetensors is not in the index"),
        "{strange}"
    );
    let twice = refusal(|base| {
        fs::copy(
            fixture("llama/qwen3/model.safetensors"),
            base.join("model.safetensors"),
        )
        .expect("copied");
    });
    assert!(twice.contains("both there"), "{twice}");
    let none = refusal(|base| fs::remove_file(base.join(INDEX_FILE)).expect("removed"));
    assert!(none.contains("lacks its weights"), "{none}");
    let cut = refusal(|base| {
        let bytes = fs::read(base.join(SHARD)).expect("a shard");
        fs::write(base.join(SHARD), &bytes[..bytes.len() - 1]).expect("written");
    });
    assert!(
        cut.contains(SHARD) && cut.contains("copy or download it again"),
        "{cut}"
    );
}

#[test]
fn indices_that_lie_or_lead_out_of_the_folder_are_refused_by_name() {
    const TENSOR: &str = "model.norm.weight";
    let changed = |change: &dyn Fn(&mut Value)| {
        refusal(|base| {
            let mut index = index(base);
            change(&mut index);
            fs::write(base.join(INDEX_FILE), index.to_string()).expect("written");
        })
    };
    for path in [
        "../model.safetensors",
        "/etc/model.safetensors",
        "a/../b.safetensors",
        "..",
        ".hidden.safetensors",
        "a\\b.safetensors",
        "pytorch_model.bin",
        "",
    ] {
        let said = changed(&|index| index["weight_map"][TENSOR] = json!(path));
        assert!(
            said.contains(TENSOR) && said.contains("not a file of the folder"),
            "{path}: {said}"
        );
    }
    let said = changed(&|index| index["weight_map"][TENSOR] = json!(7));
    assert!(said.contains("not a file of the folder"), "{said}");
    let said = changed(&|index| index["weight_map"]["model.extra.weight"] = json!(SHARD));
    assert!(
        said.contains("model.extra.weight is not in model-00002"),
        "{said}"
    );
    let said = changed(&|index| {
        index["weight_map"].as_object_mut().expect("a map").remove(TENSOR);
    });
    assert!(
        said.contains(&format!("{TENSOR} of model-0000")) && said.contains("not in the index"),
        "{said}"
    );
    let said = changed(&|index| {
        let other = match index["weight_map"][TENSOR].as_str() {
            Some(SHARD) => "model-00001-of-00003.safetensors",
            _ => SHARD,
        };
        index["weight_map"][TENSOR] = json!(other);
    });
    assert!(said.contains("and not only in"), "{said}");
    for none in ["", "[]", "{}", "{\"weight_map\": {}}", "{\"weight_map\": 3}"] {
        let said = refusal(|base| fs::write(base.join(INDEX_FILE), none).expect("written"));
        assert!(said.contains(INDEX_FILE), "{none}: {said}");
    }
}

/// What is wrong with a file of the given header and contents.
fn header_refusal(header: &[u8], contents: usize) -> String {
    let dir = TestDir::new();
    let path = dir.path("attack.safetensors");
    let bytes = [
        &(header.len() as u64).to_le_bytes()[..],
        header,
        &vec![0; contents],
    ]
    .concat();
    fs::write(&path, bytes).expect("written");
    let failure = TensorFile::open(&path, FailureCode::BaseModelInvalid).expect_err("refused");
    assert_eq!(failure.code, FailureCode::BaseModelInvalid);
    assert!(
        failure.message.starts_with("attack.safetensors is rejected"),
        "{failure}"
    );
    failure.message
}

#[test]
fn headers_that_attack_are_refused() {
    let tensor = |dtype: &str, shape: Value, offsets: Value| {
        json!({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).to_string()
    };
    let largest = u64::MAX;
    for (header, contents) in [
        (tensor("F32", json!([2]), json!([0, 8])), 7),
        (tensor("F32", json!([2]), json!([0, 8])), 9),
        (tensor("F32", json!([2]), json!([4, 12])), 12),
        (tensor("F32", json!([2]), json!([8, 0])), 8),
        (tensor("F32", json!([3]), json!([0, 8])), 8),
        (tensor("F32", json!([largest, largest]), json!([0, 8])), 8),
        (tensor("F32", json!([largest]), json!([0, largest])), 8),
        (tensor("F32", json!([1u64 << 62]), json!([0, 0])), 0),
        (tensor("F32", json!([-1]), json!([0, 4])), 4),
        (tensor("F32", json!([1.5]), json!([0, 4])), 4),
        (tensor("COMPLEX1024", json!([1]), json!([0, 4])), 4),
        (tensor("F32", json!("two"), json!([0, 8])), 8),
        (tensor("F32", json!([2]), json!([0])), 8),
        (json!({"a": 3}).to_string(), 0),
        (json!([]).to_string(), 0),
        ("{}}".to_owned(), 0),
        (String::new(), 0),
        ("{".repeat(100_000), 0),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#.to_owned(), 2),
    ] {
        header_refusal(header.as_bytes(), contents);
    }
    let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    assert!(header_refusal(twice.as_bytes(), 2).contains("names a twice"));
    header_refusal(b"\xff\xfe{}", 0);

    let dir = TestDir::new();
    let path = dir.path("attack.safetensors");
    for (size, length) in [(u64::MAX, 100), (200_000_000, 100), (93, 100), (0, 8), (0, 4)] {
        let mut bytes = size.to_le_bytes().to_vec();
        bytes.resize(length, b' ');
        fs::write(&path, bytes).expect("written");
        TensorFile::open(&path, FailureCode::BaseModelInvalid).expect_err("refused");
    }
    TensorFile::open(&dir.path(""), FailureCode::BaseModelInvalid).expect_err("a folder is no file");
}

#[test]
fn a_header_with_words_of_its_own_and_empty_tensors_is_read() {
    let dir = TestDir::new();
    let path = dir.path("good.safetensors");
    let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"F32","shape":[0,3],"data_offsets":[2,2]}}  "#;
    let bytes = [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[5, 6],
    ]
    .concat();
    fs::write(&path, bytes).expect("written");
    let file = TensorFile::open(&path, FailureCode::BaseModelInvalid).expect("a file");
    assert_eq!(file.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(file.bytes("b").expect("bytes"), [5, 6]);
    assert!(file.bytes("a").expect("bytes").is_empty());
}

/// The hash of a folder covers every file that matters.
#[test]
fn the_hash_of_a_folder_follows_every_file_that_matters() {
    let dir = TestDir::new();
    let base = copy(&dir);
    let hash = || folder::load::<Compute>(&base, &DEVICE).expect("loaded").sha256;
    let mut observer = vec![hash()];
    fs::write(base.join("logs.txt"), "nothing").expect("written");
    assert_eq!(hash(), observer[0]);
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        INDEX_FILE,
    ] {
        let mut bytes = fs::read(base.join(name)).expect(name);
        bytes.push(b'\n');
        fs::write(base.join(name), bytes).expect("written");
        let now = hash();
        assert!(!observer.contains(&now), "{name}");
        observer.push(now);
    }
    assert_eq!(weights::open(&base).expect("weights").files().len(), 3);
}
