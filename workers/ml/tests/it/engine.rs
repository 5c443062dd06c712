//! Whole trainings in this process: what is written, that it repeats, and what is refused.

use std::fs;

use crate::support::{DEVICE, Room, Seen, export, fixture};
use ml::{
    Compute, Differentiable,
    failure::FailureCode,
    inference::Network,
    job::JobFile,
    lora::{Adapter, Plan, peft},
    model::{CausalModel, folder},
    parameters::values,
    training::{Outcome, run},
};
use serde_json::json;

fn completed(job: &JobFile, seen: &mut Seen) -> Vec<ml::files::FileEntry> {
    match run::<Differentiable>(job, &DEVICE, seen).expect("trained") {
        Outcome::Completed(artifact) => artifact.files,
        Outcome::Stopped { step } => panic!("stopped at {step}"),
    }
}

fn refusal(job: &JobFile) -> ml::failure::Failure {
    run::<Differentiable>(job, &DEVICE, &mut Seen::default()).expect_err("refused")
}

/// MO-2
#[test]
fn the_same_inputs_and_seed_give_the_same_files_and_another_seed_others() {
    let room = Room::new();
    let first = completed(&room.scratch("one"), &mut Seen::default());
    let again = completed(&room.scratch("two"), &mut Seen::default());
    assert_eq!(first, again);
    let mut other = room.scratch("three");
    other.spec.hyperparameters.seed = 2;
    let other = completed(&other, &mut Seen::default());
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
    let room = Room::new();
    let mut seen = Seen::default();
    completed(&room.scratch("one"), &mut seen);
    let steps: Vec<_> = seen.steps.iter().map(|step| step.step).collect();
    assert_eq!(steps, (1..=12).collect::<Vec<_>>());
    assert!(seen.steps[11].loss < seen.steps[0].loss - 0.3, "{:?}", seen.steps);
    let evaluated: Vec<_> = seen
        .evaluations
        .iter()
        .map(|evaluation| evaluation.step)
        .collect();
    assert_eq!(evaluated, [0, 5, 10, 12]);
    assert_eq!(
        seen.samples.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        [0, 12]
    );
    assert_eq!(
        seen.saved.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        [4, 8, 12]
    );
    let kept = fs::read_dir(room.scratch("one").checkpoints())
        .expect("checkpoints")
        .count();
    assert_eq!(kept, 2, "older checkpoints are removed");
}

/// JB-4: stops at any step, resumes, and nobody can tell; for both methods, with dropout and accumulation.
#[test]
fn a_stopped_and_resumed_training_gives_the_bytes_of_an_uninterrupted_one() {
    let room = Room::new();
    for make in [Room::scratch as fn(&Room, &str) -> JobFile, Room::lora] {
        let mut whole = Seen::default();
        let expected = completed(&make(&room, "whole"), &mut whole);
        let mut job = make(&room, "parts");
        let mut parts = Seen {
            stop_after: Some(5),
            ..Seen::default()
        };
        let outcome = run::<Differentiable>(&job, &DEVICE, &mut parts).expect("stopped");
        assert_eq!(outcome, Outcome::Stopped { step: 5 });
        job.resume_from = parts.saved.last().map(|(_, written)| written.folder.clone());
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
    let room = Room::new();
    let mut whole = Seen::default();
    let mut job = room.scratch("one");
    let expected = completed(&job, &mut whole);
    let newest = &whole.saved[2].1.folder;
    let weights = newest.join("parameters.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).expect("damaged");
    job.resume_from = Some(newest.clone());
    let mut seen = Seen::default();
    assert_eq!(completed(&job, &mut seen), expected);
    assert_eq!(seen.facts.map(|facts| facts.resumed_step), Some(8));
    assert!(
        seen.notes[0].contains("step-00000012") && seen.notes[0].contains("parameters"),
        "{:?}",
        seen.notes
    );

    for folder in [newest, &whole.saved[1].1.folder] {
        fs::remove_file(folder.join("manifest.json")).expect("removed");
    }
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::CheckpointCorrupt);
    assert!(failure.message.contains("start the training anew"), "{failure}");
}

#[test]
fn a_checkpoint_of_another_specification_is_refused() {
    let room = Room::new();
    let mut seen = Seen::default();
    let mut job = room.scratch("one");
    completed(&job, &mut seen);
    job.resume_from = Some(seen.saved[1].1.folder.clone());
    job.spec.hyperparameters.learning_rate = 1e-4;
    assert_eq!(refusal(&job).code, FailureCode::CheckpointMismatch);
}

/// JB-4
#[test]
fn a_training_stopped_before_its_first_step_tells_its_beginning_once() {
    let room = Room::new();
    let mut job = room.scratch("one");
    let mut seen = Seen {
        stop_after: Some(0),
        ..Seen::default()
    };
    let outcome = run::<Differentiable>(&job, &DEVICE, &mut seen).expect("stopped");
    assert_eq!(outcome, Outcome::Stopped { step: 0 });
    job.resume_from = Some(seen.saved[0].1.folder.clone());
    seen.stop_after = None;
    let files = completed(&job, &mut seen);
    assert_eq!(
        seen.evaluations
            .iter()
            .map(|evaluation| evaluation.step)
            .collect::<Vec<_>>(),
        [0, 5, 10, 12]
    );
    assert_eq!(files, completed(&room.scratch("two"), &mut Seen::default()));
}

/// MO-1
#[test]
fn a_model_from_scratch_is_a_folder_that_can_be_a_base() {
    let room = Room::new();
    let job = room.scratch("one");
    let files = completed(&job, &mut Seen::default());
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
    let mut adapted = room.lora("two");
    adapted.base_model_dir = Some(job.artifact());
    completed(&adapted, &mut Seen::default());
}

/// MO-3. With `ML_PEFT_EXPORT` the files for `fixtures/check_peft.py` are left there.
#[test]
fn an_adapter_trained_here_is_exported_for_peft_and_read_back_unchanged() {
    let room = Room::new();
    let mut job = room.lora("one");
    job.spec.hyperparameters.learning_rate = 0.02;
    completed(&job, &mut Seen::default());
    let base = folder::load::<Compute>(&fixture("base"), &DEVICE).expect("the base");
    let (settings, parameters) =
        peft::load::<Compute>(&job.artifact(), &base.config, &DEVICE).expect("the adapter");
    assert_eq!(Some(&settings), job.spec.lora.as_ref());
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
            adapter: Some(Adapter::new(&plan, &parameters).expect("an adapter")),
        };
        export(std::path::Path::new(&target), &job.artifact(), &network);
    }
}

/// MO-3
#[test]
fn adapters_that_are_not_supported_are_refused_by_name() {
    let room = Room::new();
    let config = folder::load::<Compute>(&fixture("base"), &DEVICE)
        .expect("the base")
        .config;
    let original = fs::read(fixture("adapter/adapter_config.json")).expect("a configuration");
    fs::copy(
        fixture("adapter/adapter_model.safetensors"),
        room.path("adapter_model.safetensors"),
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
        fs::write(room.path("adapter_config.json"), json.to_string()).expect("written");
        let failure = peft::load::<Compute>(&room.path(""), &config, &DEVICE).expect_err(said);
        assert!(failure.message.contains(said), "{failure}");
    }
}

#[test]
fn chats_train_an_adapter_on_their_answers() {
    let room = Room::new();
    let line = |number: u32| {
        json!({"messages": [
            {"role": "user", "content": format!("n {number}")},
            {"role": "assistant", "content": "the dog"}
        ]})
    };
    let lines: Vec<String> = (0..20).map(|number| line(number).to_string()).collect();
    let mut job = room.lora("one");
    job.dataset_files = vec![room.dataset("chats.jsonl", &lines.join("\n"), "chat")];
    job.spec.hyperparameters.sequence_length = 48;
    job.spec.hyperparameters.learning_rate = 0.02;
    let mut seen = Seen::default();
    completed(&job, &mut seen);
    let (first, last) = (
        seen.evaluations[0].loss,
        seen.evaluations[seen.evaluations.len() - 1].loss,
    );
    assert!(last < first - 1.0, "{first} -> {last}");
    assert_eq!(seen.prompts[0], "User: The dog\nAssistant:");
}

#[test]
fn a_training_that_diverges_is_named_and_never_written() {
    let room = Room::new();
    let mut job = room.lora("one");
    job.base_model_dir = Some(room.exploding_base());
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::LossNotFinite);
    assert!(failure.message.contains("evaluation after step 0"), "{failure}");
    job.spec.hyperparameters.eval_fraction = 0.0;
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::LossNotFinite);
    assert!(failure.message.contains("at step 1 the loss is"), "{failure}");
    assert!(!job.artifact().exists() && !job.checkpoints().exists());
}

#[test]
fn jobs_that_cannot_be_done_are_refused_with_every_reason() {
    let room = Room::new();
    let mut job = room.lora("one");
    job.base_model_dir = None;
    job.dataset_files.clear();
    job.spec.hyperparameters.steps = Some(0);
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::SpecInvalid);
    for reason in ["base_model_dir", "dataset_files", "hyperparameters.steps"] {
        assert!(failure.message.contains(reason), "{failure}");
    }
    let mut long = room.lora("two");
    long.spec.hyperparameters.sequence_length = 49;
    assert!(refusal(&long).message.contains("at most 48 tokens"));
    let mut missing = room.lora("three");
    missing.dataset_files[0].path = room.path("nowhere.txt");
    assert_eq!(refusal(&missing).code, FailureCode::DatasetUnreadable);
}

/// MO-2: nothing of one training gets into another of the same process, in this one's case into its gradients
/// (`ml::graphs`).
#[test]
fn trainings_side_by_side_give_what_each_gives_alone() {
    let room = Room::new();
    let makes = [Room::scratch as fn(&Room, &str) -> JobFile, Room::lora];
    let alone = [0, 1].map(|index| {
        let mut seen = Seen::default();
        completed(&makes[index](&room, &format!("alone{index}")), &mut seen);
        seen.steps
    });
    let (room, alone) = (&room, &alone);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..4 {
                    let index = (thread + round) % 2;
                    let mut seen = Seen::default();
                    completed(&makes[index](room, &format!("beside{thread}-{round}")), &mut seen);
                    assert_eq!(seen.steps, alone[index]);
                }
            });
        }
    });
}
