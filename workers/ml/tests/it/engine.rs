//! Whole trainings in this process: what is written, that it repeats, and what is refused.

use std::fs;

use crate::support::{DEVICE, RecordingObserver, TestDir, export, fixture};
use ml::{
    Compute, Differentiable,
    failure::FailureCode,
    inference::Network,
    job::JobFile,
    lora::{self, Plan, peft},
    model::{CausalModel, folder},
    parameters::values,
    run::{Outcome, run},
    spec::Method,
};
use serde_json::json;

fn completed(job: &JobFile, observer: &mut RecordingObserver) -> Vec<ml::files::FileEntry> {
    match run::<Differentiable>(job, &DEVICE, observer).expect("trained") {
        Outcome::Completed(artifact) => artifact.files,
        Outcome::Stopped { step } => panic!("stopped at {step}"),
    }
}

fn refusal(job: &JobFile) -> ml::failure::Failure {
    run::<Differentiable>(job, &DEVICE, &mut RecordingObserver::default()).expect_err("refused")
}

/// MO-2
#[test]
fn the_same_inputs_and_seed_give_the_same_files_and_another_seed_others() {
    let dir = TestDir::new();
    let first = completed(&dir.scratch("one"), &mut RecordingObserver::default());
    let again = completed(&dir.scratch("two"), &mut RecordingObserver::default());
    assert_eq!(first, again);
    let mut other = dir.scratch("three");
    other.spec.parameters.seed = 2;
    let other = completed(&other, &mut RecordingObserver::default());
    let weights = |files: &[ml::files::FileEntry]| {
        files
            .iter()
            .find(|file| file.name == "model.safetensors")
            .map(|file| file.sha256.clone())
    };
    assert_ne!(weights(&first), weights(&other));
}

/// JB-4, JB-5
#[test]
fn a_training_learns_and_tells_everything_once_in_order() {
    let dir = TestDir::new();
    let mut observer = RecordingObserver::default();
    completed(&dir.scratch("one"), &mut observer);
    let steps: Vec<_> = observer.steps.iter().map(|step| step.step).collect();
    assert_eq!(steps, (1..=12).collect::<Vec<_>>());
    assert!(
        observer.steps[11].loss < observer.steps[0].loss - 0.3,
        "{:?}",
        observer.steps
    );
    let evaluated: Vec<_> = observer
        .evaluations
        .iter()
        .map(|evaluation| evaluation.step)
        .collect();
    assert_eq!(evaluated, [0, 5, 10, 12]);
    assert_eq!(
        observer.samples.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        [0, 12]
    );
    assert_eq!(
        observer
            .checkpoints
            .iter()
            .map(|(step, _)| *step)
            .collect::<Vec<_>>(),
        [4, 8, 12]
    );
    let kept = fs::read_dir(dir.scratch("one").checkpoints())
        .expect("checkpoints")
        .count();
    assert_eq!(kept, 2, "older checkpoints are removed");
}

/// JB-4: stops at any step, resumes, and nobody can tell; for both methods, with dropout and accumulation.
#[test]
fn a_stopped_and_resumed_training_gives_the_bytes_of_an_uninterrupted_one() {
    let dir = TestDir::new();
    for make in [TestDir::scratch as fn(&TestDir, &str) -> JobFile, TestDir::lora] {
        let mut whole = RecordingObserver::default();
        let expected = completed(&make(&dir, "whole"), &mut whole);
        let mut job = make(&dir, "parts");
        let mut parts = RecordingObserver {
            stop_after: Some(5),
            ..RecordingObserver::default()
        };
        let outcome = run::<Differentiable>(&job, &DEVICE, &mut parts).expect("stopped");
        assert_eq!(outcome, Outcome::Stopped { step: 5 });
        job.resume_from = parts
            .checkpoints
            .last()
            .map(|(_, written)| written.folder.clone());
        parts.stop_after = None;
        assert_eq!(completed(&job, &mut parts), expected);
        assert_eq!(parts.steps, whole.steps, "losses are equal to the last bit");
        assert_eq!(parts.evaluations, whole.evaluations);
        assert_eq!(parts.samples, whole.samples);
    }
}

/// JB-4
#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_is_used() {
    let dir = TestDir::new();
    let mut whole = RecordingObserver::default();
    let mut job = dir.scratch("one");
    let expected = completed(&job, &mut whole);
    let newest = &whole.checkpoints[2].1.folder;
    let weights = newest.join("parameters.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).expect("damaged");
    job.resume_from = Some(newest.clone());
    let mut observer = RecordingObserver::default();
    assert_eq!(completed(&job, &mut observer), expected);
    assert_eq!(observer.info.map(|info| info.resumed_step), Some(8));
    assert!(
        observer.logs[0].contains("step-00000012") && observer.logs[0].contains("parameters"),
        "{:?}",
        observer.logs
    );

    for folder in [newest, &whole.checkpoints[1].1.folder] {
        fs::remove_file(folder.join("manifest.json")).expect("removed");
    }
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::CheckpointCorrupt);
    assert!(failure.message.contains("start a new training"), "{failure}");
}

#[test]
fn a_checkpoint_of_another_specification_is_refused() {
    let dir = TestDir::new();
    let mut observer = RecordingObserver::default();
    let mut job = dir.scratch("one");
    completed(&job, &mut observer);
    job.resume_from = Some(observer.checkpoints[1].1.folder.clone());
    job.spec.parameters.learning_rate = 1e-4;
    assert_eq!(refusal(&job).code, FailureCode::CheckpointMismatch);
}

/// JB-4
#[test]
fn a_training_stopped_before_its_first_step_tells_its_beginning_once() {
    let dir = TestDir::new();
    let mut job = dir.scratch("one");
    let mut observer = RecordingObserver {
        stop_after: Some(0),
        ..RecordingObserver::default()
    };
    let outcome = run::<Differentiable>(&job, &DEVICE, &mut observer).expect("stopped");
    assert_eq!(outcome, Outcome::Stopped { step: 0 });
    job.resume_from = Some(observer.checkpoints[0].1.folder.clone());
    observer.stop_after = None;
    let files = completed(&job, &mut observer);
    assert_eq!(
        observer
            .evaluations
            .iter()
            .map(|evaluation| evaluation.step)
            .collect::<Vec<_>>(),
        [0, 5, 10, 12]
    );
    assert_eq!(
        files,
        completed(&dir.scratch("two"), &mut RecordingObserver::default())
    );
}

/// MO-1
#[test]
fn a_model_from_scratch_is_a_folder_that_can_be_a_base() {
    let dir = TestDir::new();
    let job = dir.scratch("one");
    let files = completed(&job, &mut RecordingObserver::default());
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "README.md",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let base = folder::load::<Compute>(&job.artifact(), &DEVICE).expect("loads again");
    assert_eq!(base.config.vocab_size(), base.tokenizer.size());
    let mut adapted = dir.lora("two");
    adapted.base_model_dir = Some(job.artifact());
    completed(&adapted, &mut RecordingObserver::default());
}

/// MO-3. With `ML_PEFT_EXPORT` the files for `fixtures/check_peft.py` are left there.
#[test]
fn an_adapter_trained_here_is_exported_for_peft_and_read_back_unchanged() {
    let dir = TestDir::new();
    let mut job = dir.lora("one");
    job.spec.parameters.learning_rate = 0.02;
    completed(&job, &mut RecordingObserver::default());
    let base = folder::load::<Compute>(&fixture("base"), &DEVICE).expect("the base");
    let (settings, parameters) =
        peft::load::<Compute>(&job.artifact(), &base.config, &DEVICE).expect("the adapter");
    assert_eq!(job.spec.method, Method::Lora(settings.clone()));
    let again = peft::encode(&base.config, &settings, &parameters, "base").expect("encoded");
    for (name, bytes) in &again {
        assert_eq!(&fs::read(job.artifact().join(name)).expect(name), bytes, "{name}");
    }
    let up = parameters.get("h.0.attn.c_attn.lora_B").expect("a matrix");
    assert!(
        values(up)
            .expect("numbers")
            .iter()
            .any(|value| value.abs() > 1e-3),
        "the adapter has learnt"
    );

    if let Some(target) = std::env::var_os("ML_PEFT_EXPORT") {
        let plan = Plan::new(&base.config, &settings).expect("a plan");
        let network = Network {
            model: CausalModel::new(&base.config, &base.parameters).expect("a model"),
            adapter: Some(lora::adapter(&plan, &parameters).expect("an adapter")),
        };
        export(std::path::Path::new(&target), &job.artifact(), &network);
    }
}

/// MO-3
#[test]
fn adapters_that_are_not_supported_are_refused_by_name() {
    let dir = TestDir::new();
    let config = folder::load::<Compute>(&fixture("base"), &DEVICE)
        .expect("the base")
        .config;
    let original = fs::read(fixture("adapter/adapter_config.json")).expect("a configuration");
    fs::copy(
        fixture("adapter/adapter_model.safetensors"),
        dir.path("adapter_model.safetensors"),
    )
    .expect("copied");
    for (field, value, said) in [
        ("use_dora", json!(true), "use_dora"),
        ("peft_type", json!("IA3"), "IA3"),
        ("target_modules", json!(["q_proj"]), "q_proj"),
        (
            "target_modules",
            json!(["c_attn"]),
            "h.0.attn.c_proj.lora_A.weight does not belong",
        ),
        ("r", json!(5), "has the shape [4, 32], expected [5, 32]"),
    ] {
        let mut json: serde_json::Value = serde_json::from_slice(&original).expect("JSON");
        json[field] = value;
        fs::write(dir.path("adapter_config.json"), json.to_string()).expect("written");
        let failure = peft::load::<Compute>(&dir.path(""), &config, &DEVICE).expect_err(said);
        assert!(failure.message.contains(said), "{failure}");
    }
}

#[test]
fn chats_train_an_adapter_on_their_answers() {
    let dir = TestDir::new();
    let line = |number: u32| {
        json!({"messages": [
            {"role": "user", "content": format!("n {number}")},
            {"role": "assistant", "content": "the dog"}
        ]})
    };
    let lines: Vec<String> = (0..20).map(|number| line(number).to_string()).collect();
    let mut job = dir.lora("one");
    job.dataset_files = vec![dir.dataset("chats.jsonl", &lines.join("\n"), "chat")];
    job.spec.parameters.sequence_length = 48;
    job.spec.parameters.learning_rate = 0.02;
    let mut observer = RecordingObserver::default();
    completed(&job, &mut observer);
    let (first, last) = (
        observer.evaluations[0].loss,
        observer.evaluations[observer.evaluations.len() - 1].loss,
    );
    assert!(last < first - 1.0, "{first} -> {last}");
    assert_eq!(observer.prompts[0], "User: The dog\nAssistant:");
}

#[test]
fn a_training_that_diverges_is_named_and_never_written() {
    let dir = TestDir::new();
    let mut job = dir.lora("one");
    job.base_model_dir = Some(dir.exploding_base());
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::LossNotFinite);
    assert!(failure.message.contains("evaluation after step 0"), "{failure}");
    job.spec.parameters.evaluation_share = 0.0;
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::LossNotFinite);
    assert!(failure.message.contains("at step 1 the loss is"), "{failure}");
    assert!(!job.artifact().exists() && !job.checkpoints().exists());
}

#[test]
fn jobs_that_cannot_be_done_are_refused_with_every_reason() {
    let dir = TestDir::new();
    let mut job = dir.lora("one");
    job.base_model_dir = None;
    job.dataset_files.clear();
    job.spec.parameters.steps = 0;
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::SpecInvalid);
    for reason in ["base_model_dir", "dataset_files", "parameters.steps"] {
        assert!(failure.message.contains(reason), "{failure}");
    }
    let mut long = dir.lora("two");
    long.spec.parameters.sequence_length = 49;
    assert!(refusal(&long).message.contains("the base's context of 48"));
    let mut missing = dir.lora("three");
    missing.dataset_files[0].path = dir.path("nowhere.txt");
    assert_eq!(refusal(&missing).code, FailureCode::DatasetUnreadable);
}

/// A job file of a newer build may ask for what this one would leave out without a word.
#[test]
fn a_job_file_with_settings_that_this_build_does_not_know_is_refused_by_name() {
    let dir = TestDir::new();
    let path = dir.path("job.json");
    let mut json = serde_json::to_value(dir.lora("one")).expect("encoded");
    json["spec"]["outputs"] = json!({"merged": true});
    fs::write(&path, json.to_string()).expect("written");
    assert!(JobFile::read(&path).is_ok(), "as this build writes it");
    json["spec"]["parameters"]["learnig_rate"] = json!(1);
    json["spec"]["outputs"]["quantized"] = json!(true);
    fs::write(&path, json.to_string()).expect("written");
    let failure = JobFile::read(&path).expect_err("refused");
    assert_eq!(failure.code, FailureCode::SpecInvalid);
    for field in ["parameters.learnig_rate", "outputs.quantized"] {
        assert!(failure.message.contains(field), "{failure}");
    }
}

/// MO-2: nothing of one training gets into another of the same process, in this one's case into its gradients
/// (`ml::graphs`).
#[test]
fn trainings_side_by_side_give_what_each_gives_alone() {
    let dir = TestDir::new();
    let makes = [TestDir::scratch as fn(&TestDir, &str) -> JobFile, TestDir::lora];
    let alone = [0, 1].map(|index| {
        let mut observer = RecordingObserver::default();
        completed(&makes[index](&dir, &format!("alone{index}")), &mut observer);
        observer.steps
    });
    let (dir, alone) = (&dir, &alone);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..4 {
                    let index = (thread + round) % 2;
                    let mut observer = RecordingObserver::default();
                    completed(
                        &makes[index](dir, &format!("beside{thread}-{round}")),
                        &mut observer,
                    );
                    assert_eq!(observer.steps, alone[index]);
                }
            });
        }
    });
}
