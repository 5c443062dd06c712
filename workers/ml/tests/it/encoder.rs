//! Sentence embeddings against sentence-transformers (WK-4).
//!
//! Rule: coordinates of vectors of length 1 agree to 1e-5: 32-bit sums of some hundred numbers in another order.

use std::path::{Path, PathBuf};

use ml::{Compute, failure::FailureCode, model::encoder::SentenceEncoder};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{DEVICE, fixture};

#[derive(Deserialize)]
struct Reference {
    texts: Vec<String>,
    embeddings: Vec<Vec<f32>>,
}

fn encoder(folder: &Path) -> SentenceEncoder<Compute> {
    SentenceEncoder::load(folder, &DEVICE).expect("an encoder")
}

fn greatest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(theirs);
    pairs.fold(0.0, |greatest, (a, b)| greatest.max((a - b).abs()))
}

fn compare(folder: &Path, reference: &Reference) {
    let encoder = encoder(folder);
    let all = encoder.embed(&reference.texts).expect("embeddings");
    assert_eq!(all.len(), reference.embeddings.len());
    for ((text, ours), theirs) in reference.texts.iter().zip(&all).zip(&reference.embeddings) {
        let difference = greatest_difference(&ours.vector, theirs);
        println!("{difference:.1e} {} tokens {text:.30?}", ours.tokens);
        assert!(difference < 1e-5, "{text:?}: {difference}");
        let alone = encoder.embed(&[text]).expect("an embedding");
        let difference = greatest_difference(&alone[0].vector, &ours.vector);
        assert!(difference < 1e-6, "the others change nothing: {difference}");
    }
}

#[test]
fn embeddings_are_those_of_sentence_transformers() {
    let reference: Reference =
        serde_json::from_str(include_str!("../../fixtures/encoder.json")).expect("JSON");
    compare(&fixture("encoder"), &reference);
}

/// With a published model; see `fixtures/make_encoder_fixtures.py`. `ANNEAL_TEST_EMBEDDINGS` names the file with
/// what the script printed.
#[test]
#[ignore = "needs a published model; cargo xtask peers sentence-transformers runs it"]
fn embeddings_of_a_published_model_are_those_of_sentence_transformers() {
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("set {name}")));
    let embeddings = std::fs::read(path("ANNEAL_TEST_EMBEDDINGS")).expect("what the script printed");
    let reference: Reference = serde_json::from_slice(&embeddings).expect("JSON");
    compare(&path("ANNEAL_TEST_ENCODER"), &reference);
}

#[test]
fn texts_that_are_too_long_are_cut_and_none_are_no_error() {
    let encoder = encoder(&fixture("encoder"));
    let text = "fox ".repeat(500);
    let embeddings = encoder.embed(&[text.as_str(), "fox"]).expect("embeddings");
    assert_eq!(
        (embeddings[0].tokens, embeddings[0].truncated),
        (encoder.max_tokens(), true)
    );
    assert!(!embeddings[1].truncated);
    assert_eq!(embeddings[1].vector.len(), encoder.width());
    assert_eq!(encoder.embed::<&str>(&[]).expect("nothing"), []);
}

/// A copy of the fixture in which one file is changed.
fn changed(file: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("1_Pooling")).expect("a folder");
    for name in [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(fixture("encoder").join(name), folder.path().join(name)).expect("copied");
    }
    let path = folder.path().join(file);
    let mut json = serde_json::from_slice(&std::fs::read(&path).expect("it is there")).expect("JSON");
    change(&mut json);
    std::fs::write(path, json.to_string()).expect("written");
    folder
}

fn refused(file: &str, change: impl FnOnce(&mut Value), named: &str) {
    let folder = changed(file, change);
    let failure = SentenceEncoder::<Compute>::load(folder.path(), &DEVICE).expect_err(named);
    assert_eq!(failure.code, FailureCode::BaseModelInvalid);
    assert!(failure.message.contains(named), "{named}: {failure}");
}

/// MO-1
#[test]
fn what_would_be_computed_differently_is_refused_by_name() {
    let set = |name: &'static str, value: Value| move |json: &mut Value| json[name] = value;
    refused(
        "config.json",
        set("architectures", json!(["GPT2LMHeadModel"])),
        "GPT2LMHeadModel",
    );
    refused(
        "config.json",
        set("model_type", json!("roberta")),
        "not supported",
    );
    refused("config.json", set("hidden_act", json!("relu")), "hidden_act");
    refused(
        "config.json",
        set("position_embedding_type", json!("relative_key")),
        "relative_key",
    );
    refused(
        "config.json",
        set("num_attention_heads", json!(5)),
        "does not divide",
    );
    refused(
        "config.json",
        set("num_hidden_layers", json!(3)),
        "encoder.layer.2",
    );
    refused(
        "config.json",
        set("num_hidden_layers", json!(1)),
        "does not belong",
    );
    refused(
        "config.json",
        set("hidden_size", json!(64)),
        "embedding_dimension",
    );
    refused("config.json", set("intermediate_size", json!(7)), "shape");
    refused(
        "config.json",
        set("vocab_size", json!(100)),
        "do not belong together",
    );
    refused("config.json", set("vocab_size", json!(-1)), "vocab_size");
    refused(
        "1_Pooling/config.json",
        set("pooling_mode", json!("lasttoken")),
        "lasttoken",
    );
    refused(
        "1_Pooling/config.json",
        set("embedding_dimension", json!(7)),
        "embedding_dimension",
    );
    refused(
        "sentence_bert_config.json",
        set("do_lower_case", json!(true)),
        "do_lower_case",
    );
    refused(
        "sentence_bert_config.json",
        set("max_seq_length", json!(2)),
        "takes 2 for itself",
    );
    refused(
        "modules.json",
        |json| json[1]["type"] = json!("a.b.Dense"),
        "Dense",
    );
    refused(
        "modules.json",
        |json| json[1]["path"] = json!("../1_Pooling"),
        "not a folder of the model",
    );
    refused(
        "modules.json",
        |json| json[1]["path"] = json!("9_Pooling"),
        "9_Pooling/config.json is missing",
    );
}

#[test]
fn pooling_by_the_first_token_and_the_older_spelling_are_read() {
    let mean = |json: &mut Value| {
        *json = json!({ "word_embedding_dimension": 32, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true });
    };
    let first = |json: &mut Value| json["pooling_mode"] = json!("cls");
    let vector = |folder: &Path| {
        encoder(folder)
            .embed(&["the lazy dog"])
            .expect("an embedding")
            .remove(0)
            .vector
    };
    let reference = vector(&fixture("encoder"));
    assert_eq!(vector(changed("1_Pooling/config.json", mean).path()), reference);
    let other = vector(changed("1_Pooling/config.json", first).path());
    assert!(greatest_difference(&other, &reference) > 0.01);
}
