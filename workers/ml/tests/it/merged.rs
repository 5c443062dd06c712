//! Merged models (MO-3): a base with an adapter in its weights, as a folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    reference::{Reference, greatest_difference},
    support::{DEVICE, RecordingObserver, TestDir, fixture},
};
use ml::{
    Compute, Differentiable,
    artifact::merge,
    files::FileEntry,
    lora::{Plan, peft},
    model::{
        CausalModel, TokenBatch,
        folder::{self, ModelFolder},
    },
    parameters::values,
    run::{Outcome, run},
    spec::{LoraBias, Method},
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The bases of the fixtures with their adapters.
const PAIRS: [(&str, &str); 5] = [
    ("base", "adapter"),
    ("llama/llama", "llama/llama/adapter"),
    ("llama/mistral", "llama/mistral/adapter"),
    ("llama/qwen2", "llama/qwen2/adapter"),
    ("llama/qwen3", "llama/qwen3/adapter"),
];

/// A base and its adapter as the engine computes with them.
fn load(base: &Path, adapter: &str) -> (ModelFolder<Compute>, Plan, ml::parameters::ParameterSet<Compute>) {
    let base = folder::load::<Compute>(base, &DEVICE).expect("a base");
    let (settings, parameters) = peft::load(&fixture(adapter), &base.config, &DEVICE).expect("an adapter");
    let plan = Plan::new(&base.config, &settings).expect("a plan");
    (base, plan, parameters)
}

fn merged(base: &Path, adapter: &str, target: &Path, max_new_tokens: u64) -> Vec<FileEntry> {
    let (folder, plan, parameters) = load(base, adapter);
    merge::write_sharded(
        base,
        &folder.config,
        &plan,
        &parameters,
        "# A card\n",
        target,
        max_new_tokens,
    )
    .expect("merged")
}

/// A copy of the base `name` in 32-bit floats.
fn in_full(name: &str, target: &Path) -> PathBuf {
    let base = folder::load::<Compute>(&fixture(name), &DEVICE).expect("a base");
    let contents = folder::encode(&base.config, &base.parameters, &base.tokenizer).expect("encoded");
    ml::files::write_folder(target, &contents).expect("written");
    target.to_owned()
}

fn logits(model: &CausalModel<Compute>, pass: Option<&mut ml::model::AdapterPass<'_, Compute>>) -> Vec<f32> {
    let ids = Reference::read("llama/llama.safetensors").integers("ids");
    values(model.logits(model.hidden_states(&TokenBatch::rows(ids, 2), pass, None))).expect("numbers")
}

/// Every tensor of the weights in a folder, from all its files.
fn tensors(folder: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let mut tensors = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            let bytes = fs::read(&path).expect("a file");
            let file = SafeTensors::deserialize(&bytes).expect("tensors");
            for (name, view) in file.iter() {
                let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                tensors.insert(name.to_owned(), tensor);
            }
        }
    }
    tensors
}

/// MO-3: in 32-bit floats merging costs no more than the order of sums.
#[test]
fn a_merged_model_has_the_logits_of_its_adapter() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (base, adapter) in PAIRS {
        let full = in_full(base, &dir.path().join("full"));
        let target = dir.path().join("merged");
        merged(&full, adapter, &target, 20_000);
        let (folder, plan, parameters) = load(&full, adapter);
        let model =
            CausalModel::with_replaced(&folder.config, &folder.parameters, &parameters).expect("a model");
        let adapter = ml::lora::adapter(&plan, &parameters).expect("an adapter");
        let expected = logits(
            &model,
            Some(&mut ml::model::AdapterPass::without_dropout(&adapter)),
        );
        let alone = folder::load::<Compute>(&target, &DEVICE).expect("the merged model");
        let model = CausalModel::new(&alone.config, &alone.parameters).expect("a model");
        let difference = greatest_difference(&logits(&model, None), &expected);
        println!("{base}: merged logits differ by at most {difference:.2e}");
        assert!(difference < 1e-4, "{base}: {difference}");
    }
}

/// MO-3: what the adapter does not touch keeps its bytes; the rest is rounded once.
#[test]
fn a_merged_model_keeps_the_types_of_its_base() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (base, adapter) in PAIRS {
        let (target, exact) = (dir.path().join("merged"), dir.path().join("exact"));
        merged(&fixture(base), adapter, &target, 20_000);
        let full = in_full(base, &dir.path().join("full"));
        merged(&full, adapter, &exact, merge::MAX_SHARD_BYTES);
        let (before, after, exact) = (tensors(&fixture(base)), tensors(&target), tensors(&exact));
        assert!(
            before.keys().all(|name| after.contains_key(name)),
            "{base} loses nothing"
        );
        let (_, plan, _) = load(&fixture(base), adapter);
        let mut changed = 0;
        for (name, (dtype, _, bytes)) in &before {
            let (found, _, merged) = &after[name];
            assert_eq!(found, dtype, "{base}: {name}");
            if merged == bytes {
                continue;
            }
            changed += 1;
            if *dtype == Dtype::BF16 {
                let wide = exact[name].2.chunks_exact(4);
                for (half, wide) in merged.chunks_exact(2).zip(wide) {
                    let half = f32::from_le_bytes([0, 0, half[0], half[1]]);
                    let wide = f32::from_le_bytes(wide.try_into().expect("four bytes"));
                    // Eight bits of precision, to the nearest.
                    assert!(
                        (half - wide).abs() <= wide.abs() / 256.0,
                        "{name}: {half} for {wide}"
                    );
                }
            }
        }
        // A tied head that has become a second matrix is no tensor of the base.
        let own = plan.targets().count() + plan.full_tensors().count();
        assert!(changed > 0 && changed <= own, "{base}: {changed} of {own}");
    }
}

#[test]
fn merging_repeats_to_the_byte_and_shards_have_an_index_that_is_true() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    for (base, adapter) in PAIRS {
        let first = merged(&fixture(base), adapter, &one, 9_000);
        assert_eq!(first, merged(&fixture(base), adapter, &two, 9_000));
        let shards: Vec<_> = first
            .iter()
            .filter(|entry| entry.name.ends_with(".safetensors"))
            .collect();
        assert!(shards.len() > 1, "{shards:?}");
        let longest_tensor = tensors(&one).values().map(|(.., bytes)| bytes.len()).max();
        for shard in shards {
            let most = 9_000usize.max(longest_tensor.expect("tensors")) + 4_000;
            assert!((shard.bytes as usize) < most, "{shard:?}");
        }
        let index = fs::read(one.join("model.safetensors.index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        let total: usize = tensors(&one).values().map(|(.., bytes)| bytes.len()).sum();
        assert_eq!(index["metadata"]["total_size"], total);
        for name in [
            "config.json",
            "tokenizer.json",
            "generation_config.json",
            "README.md",
        ] {
            assert!(first.iter().any(|entry| entry.name == name), "{name}");
        }
        folder::load::<Compute>(&one, &DEVICE).expect("it loads again");
    }
    let whole = merged(&fixture("base"), "adapter", &one, merge::MAX_SHARD_BYTES);
    assert!(whole.iter().any(|entry| entry.name == "model.safetensors"));
    assert!(whole.iter().all(|entry| !entry.name.contains("index")));
}

#[test]
fn a_merged_number_that_the_type_cannot_hold_is_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (base, plan, parameters) = load(&fixture("llama/mistral"), "llama/mistral/adapter");
    let mut huge = ml::parameters::ParameterSet::default();
    for (name, tensor) in parameters.iter() {
        huge.insert(name, tensor.clone().mul_scalar(1e20));
    }
    let target = dir.path().join("merged");
    let folder = fixture("llama/mistral");
    let failure = merge::write(&folder, &base.config, &plan, &huge, "", &target).expect_err("refused");
    assert_eq!(failure.code, ml::failure::FailureCode::LossNotFinite);
    assert!(failure.message.contains("BF16 cannot hold"), "{failure}");
    assert!(!target.exists());
}

/// MO-3. With `ML_MERGED_EXPORT` the folders for `fixtures/check_merged.py` are left there.
#[test]
fn a_job_of_the_llama_family_writes_adapter_and_merged_model_when_asked() {
    let dir = TestDir::new();
    for member in ["llama", "qwen2"] {
        let mut job = dir.lora(member);
        job.base_model_dir = Some(fixture(&format!("llama/{member}")));
        job.spec.outputs.merged = true;
        job.spec.parameters.learning_rate = 0.02;
        let Method::Lora(lora) = &mut job.spec.method else {
            panic!("an adapter")
        };
        lora.target_modules = vec!["q_proj".to_owned(), "down_proj".to_owned()];
        (lora.use_rslora, lora.bias) = (true, LoraBias::All);
        lora.modules_to_save = vec!["embed_tokens".to_owned(), "norm".to_owned()];
        let mut observer = RecordingObserver::default();
        let outcome = run::<Differentiable>(&job, &DEVICE, &mut observer).expect("trained");
        let Outcome::Completed(artifact) = outcome else {
            panic!("stopped")
        };
        let (first, last) = artifact.evaluation.expect("evaluations");
        assert!(last < first, "{member} learns: {first} -> {last}");
        let (target, files) = artifact.merged.expect("a merged model");
        assert_eq!(target, job.merged());
        let card = fs::read_to_string(target.join("README.md")).expect("a card");
        assert!(
            card.contains("library_name: transformers") && card.contains("merged into"),
            "{card}"
        );
        assert!(files.iter().any(|entry| entry.name == "model.safetensors"));
        let model = folder::load::<Compute>(&target, &DEVICE).expect("it loads");
        assert!(
            !model.config.has_tied_embeddings(),
            "the adapter has its own token embedding"
        );

        if let Some(export) = std::env::var_os("ML_MERGED_EXPORT") {
            let export = Path::new(&export).join(member);
            for (name, from) in [("adapter", job.artifact()), ("merged", target)] {
                fs::create_dir_all(export.join(name)).expect("made");
                for entry in fs::read_dir(&from).expect("listed") {
                    let path = entry.expect("an entry").path();
                    let to = export.join(name).join(path.file_name().expect("a name"));
                    fs::copy(&path, to).expect("copied");
                }
            }
        }
    }
}
