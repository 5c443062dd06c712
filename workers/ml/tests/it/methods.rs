//! Methods, objectives and the training loop: early stopping, keeping the best state, and bit-exact resumption.

use std::fs;

use ml::{
    Compute, Differentiable,
    failure::FailureCode,
    files::FileEntry,
    job::JobFile,
    model::folder,
    parameters::{ParameterSet, values},
    run::{Outcome, run},
    spec::{ChatTemplate, EarlyStopping, HyperParameters, Method, Precision, Schedule},
};
use serde_json::json;

use crate::support::{DEVICE, RecordingObserver, TestDir, fixture};

fn completed(job: &JobFile, observer: &mut RecordingObserver) -> Vec<FileEntry> {
    match run::<Differentiable>(job, &DEVICE, observer).expect("trained") {
        Outcome::Completed(artifact) => artifact.files,
        Outcome::Stopped { step } => panic!("stopped at {step}"),
    }
}

fn refusal(job: &JobFile) -> ml::failure::Failure {
    run::<Differentiable>(job, &DEVICE, &mut RecordingObserver::default()).expect_err("refused")
}

/// All weights of the fixtures' base, twelve steps.
fn full(dir: &TestDir, name: &str) -> JobFile {
    let mut job = dir.lora(name);
    job.spec.method = Method::Full;
    job
}

/// Conversations of different lengths.
fn chats(dir: &TestDir, job: &mut JobFile) {
    let line = |number: usize| {
        json!({"messages": [
            {"role": "user", "content": format!("n {number}")},
            {"role": "assistant", "content": "the dog ".repeat(number % 4 + 1)}
        ]})
        .to_string()
    };
    let lines: Vec<String> = (0..40).map(line).collect();
    job.dataset_files = vec![dir.dataset("chats.jsonl", &lines.join("\n"), "chat")];
    job.spec.parameters.sequence_length = 48;
}

/// Issue: accumulation is over learnt tokens, so how a step is cut into micro-batches does not matter.
#[test]
fn a_step_in_several_micro_batches_is_the_step_in_one() {
    let dir = TestDir::new();
    let mut losses = Vec::new();
    for (rows, micro) in [(8, 1), (2, 4)] {
        let mut job = full(&dir, &format!("rows-{rows}"));
        chats(&dir, &mut job);
        let hyperparameters = &mut job.spec.parameters;
        (hyperparameters.steps, hyperparameters.epochs) = (0, Some(1.0));
        (hyperparameters.batch_size, hyperparameters.gradient_accumulation) = (rows, micro);
        let mut observer = RecordingObserver::default();
        completed(&job, &mut observer);
        losses.push(observer.steps);
    }
    assert_eq!(losses[0].len(), losses[1].len());
    for (one, many) in losses[0].iter().zip(&losses[1]) {
        assert!((one.loss - many.loss).abs() < 1e-4, "{one:?} and {many:?}");
        assert!(
            (one.grad_norm - many.grad_norm).abs() < 1e-3 * one.grad_norm,
            "{one:?} and {many:?}"
        );
    }
}

/// MO-1, MO-3: what `full` writes is a model folder that can be a base again, with the tokenizer it came with.
#[test]
fn all_weights_of_a_base_learn_and_are_written_as_a_model() {
    let dir = TestDir::new();
    let job = full(&dir, "one");
    let mut observer = RecordingObserver::default();
    completed(&job, &mut observer);
    let info = observer.info.expect("facts");
    assert_eq!(info.parameters, info.trainable_parameters);
    assert!(
        observer.steps[11].loss < observer.steps[0].loss - 0.3,
        "{:?}",
        observer.steps
    );
    let before = folder::load::<Compute>(&fixture("base"), &DEVICE).expect("the base");
    let after = folder::load::<Compute>(&job.artifact(), &DEVICE).expect("the result");
    assert_eq!(before.config, after.config);
    for name in before.parameters.names() {
        let of = |set: &ParameterSet<Compute>| values(set.get(&name).expect("there")).expect("numbers");
        assert_ne!(of(&before.parameters), of(&after.parameters), "{name} has learnt");
    }
    let card = fs::read_to_string(job.artifact().join("README.md")).expect("a card");
    assert!(
        card.contains("base_model:") && card.contains("trained further"),
        "{card}"
    );
}

type Change = fn(&mut HyperParameters);

/// JB-4, JB-8: wherever it is broken, and with everything switched on.
#[test]
fn a_training_with_everything_resumes_to_the_last_bit_wherever_it_is_broken() {
    let dir = TestDir::new();
    let changes: [(&str, Change); 2] = [
        ("packed", |hyperparameters| {
            (
                hyperparameters.steps,
                hyperparameters.epochs,
                hyperparameters.packing,
            ) = (0, Some(4.0), true);
        }),
        ("stopped", |hyperparameters| {
            hyperparameters.steps = 30;
            // Nobody gets better by ten nats: it ends at the third evaluation after the first.
            hyperparameters.early_stopping = Some(EarlyStopping {
                patience: 3,
                min_delta: 10.0,
            });
        }),
    ];
    for (name, change) in changes {
        let make = |name: &str| {
            let mut job = dir.lora(name);
            chats(&dir, &mut job);
            let hyperparameters = &mut job.spec.parameters;
            change(hyperparameters);
            (hyperparameters.evaluate_every, hyperparameters.evaluation_share) = (2, 0.2);
            (
                hyperparameters.keep_best,
                hyperparameters.sample_every,
                hyperparameters.checkpoint_every,
            ) = (true, 3, 2);
            job
        };
        let mut whole = RecordingObserver::default();
        let expected = completed(&make(&format!("{name}-whole")), &mut whole);
        let steps = whole.steps.len() as u32;
        assert!(steps > 5, "{name}: {steps} steps");
        assert_eq!(
            name == "stopped",
            whole.logs.iter().any(|note| note.starts_with("early stopping"))
        );
        for broken in [1, 3, 4, steps - 1] {
            let mut job = make(&format!("{name}-{broken}"));
            let mut parts = RecordingObserver {
                stop_after: Some(broken),
                ..RecordingObserver::default()
            };
            let outcome = run::<Differentiable>(&job, &DEVICE, &mut parts).expect("stopped");
            assert_eq!(outcome, Outcome::Stopped { step: broken });
            job.resume_from = parts
                .checkpoints
                .last()
                .map(|(_, written)| written.folder.clone());
            parts.stop_after = None;
            assert_eq!(
                completed(&job, &mut parts),
                expected,
                "{name}, broken after {broken}"
            );
            assert_eq!(parts.steps, whole.steps);
            assert_eq!(parts.evaluations, whole.evaluations);
            assert_eq!(parts.samples, whole.samples);
        }
    }
}

/// JB-8
#[test]
fn the_best_state_is_the_result_and_training_ends_when_it_gets_no_better() {
    let dir = TestDir::new();
    let mut job = full(&dir, "one");
    let hyperparameters = &mut job.spec.parameters;
    // Faster and faster: it learns at first, then it falls apart.
    (
        hyperparameters.learning_rate,
        hyperparameters.steps,
        hyperparameters.warmup_steps,
    ) = (1.0, 61, 60);
    (hyperparameters.evaluate_every, hyperparameters.keep_best) = (1, true);
    hyperparameters.schedule = Schedule::Constant;
    hyperparameters.early_stopping = Some(EarlyStopping {
        patience: 4,
        min_delta: 0.0,
    });
    let mut observer = RecordingObserver::default();
    let Outcome::Completed(artifact) = run::<Differentiable>(&job, &DEVICE, &mut observer).expect("trained")
    else {
        panic!("stopped");
    };
    assert!(artifact.steps < 40, "it ended after {} steps", artifact.steps);
    let best = observer
        .evaluations
        .iter()
        .min_by(|one, other| one.loss.total_cmp(&other.loss));
    let best = best.expect("an evaluation");
    assert_eq!(best.step + 4, artifact.steps, "{:?}", observer.evaluations);
    assert_eq!(artifact.evaluation.map(|(_, result)| result), Some(best.loss));
    assert!(
        observer
            .logs
            .iter()
            .any(|note| note.contains(&format!("after step {}", best.step))),
        "{:?}",
        observer.logs
    );
    // As the base of another training it is evaluated as it was then, to the last bit.
    assert!(best.step > 0, "{:?}", observer.evaluations);
    let mut next = full(&dir, "two");
    next.base_model_dir = Some(job.artifact());
    (next.spec.parameters.steps, next.spec.parameters.warmup_steps) = (2, 1);
    let mut again = RecordingObserver::default();
    completed(&next, &mut again);
    assert_eq!(again.evaluations[0].loss, best.loss);
}

/// JB-5
#[test]
fn samples_are_told_while_training() {
    let dir = TestDir::new();
    let mut job = dir.lora("one");
    job.spec.parameters.sample_every = 5;
    let mut observer = RecordingObserver::default();
    completed(&job, &mut observer);
    let steps: Vec<u32> = observer.samples.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 5, 10, 12]);
}

#[test]
fn prompts_with_completions_and_both_other_forms_of_conversations_are_trained_on() {
    let dir = TestDir::new();
    for (format, line) in [
        (
            "prompt_completion",
            r#"{"prompt": "The dog", "completion": " jumps over the fox"}"#,
        ),
        (
            "alpaca",
            r#"{"instruction": "The dog", "input": "", "output": "jumps over the fox"}"#,
        ),
        (
            "sharegpt",
            r#"{"conversations": [{"from": "human", "value": "dog"}, {"from": "gpt", "value": "jumps"}]}"#,
        ),
    ] {
        let mut job = dir.lora(format);
        job.dataset_files = vec![dir.dataset(&format!("{format}.jsonl"), &vec![line; 20].join("\n"), format)];
        job.spec.parameters.sequence_length = 48;
        job.spec.parameters.learning_rate = 0.02;
        let mut observer = RecordingObserver::default();
        completed(&job, &mut observer);
        let (first, last) = (
            observer.evaluations[0].loss,
            observer.evaluations.last().expect("one").loss,
        );
        assert!(last < first - 1.0, "{format}: {first} -> {last}");
    }
}

#[test]
fn samples_that_cannot_be_used_are_counted_and_a_dataset_of_them_is_refused() {
    let dir = TestDir::new();
    let mut job = dir.lora("one");
    let good = r#"{"prompt": "The dog", "completion": " jumps"}"#;
    let long = format!(r#"{{"prompt": "a", "completion": "{}"}}"#, "fox ".repeat(60));
    let empty = r#"{"prompt": "", "completion": ""}"#;
    let late = format!(r#"{{"prompt": "{}", "completion": "b"}}"#, "fox ".repeat(60));
    let lines = [[good; 10].join("\n"), long, empty.to_owned(), late.clone()].join("\n");
    job.dataset_files = vec![dir.dataset("pairs", &lines, "prompt_completion")];
    let mut observer = RecordingObserver::default();
    completed(&job, &mut observer);
    let logs = observer.logs.join("\n");
    for said in [
        "1 of 13 samples are longer",
        "fewer than two tokens",
        "begin after the sequence length",
    ] {
        assert!(logs.contains(said), "{logs}");
    }
    job.dataset_files = vec![dir.dataset("late", &late, "prompt_completion")];
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::DatasetEmpty);
    assert!(failure.message.contains("sequence_length"), "{failure}");
}

#[test]
fn what_this_machine_cannot_do_is_refused_by_name() {
    let dir = TestDir::new();
    let mut job = dir.lora("one");
    job.spec.parameters.precision = Precision::Bf16;
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::SpecInvalid);
    assert!(
        failure.message.contains("bf16") && failure.message.contains("CUDA"),
        "{failure}"
    );
    let mut named = dir.lora("two");
    chats(&dir, &mut named);
    named.spec.objective.chat_template = ChatTemplate::Named("tool_use".to_owned());
    let failure = refusal(&named);
    assert_eq!(failure.code, FailureCode::ChatTemplateInvalid);
    assert!(failure.message.contains("tool_use"), "{failure}");
}

/// JB-4
#[test]
fn a_damaged_best_state_is_noticed() {
    let dir = TestDir::new();
    let mut job = dir.lora("one");
    job.spec.parameters.keep_best = true;
    let mut whole = RecordingObserver::default();
    let expected = completed(&job, &mut whole);
    let newest = &whole.checkpoints.last().expect("a checkpoint").1.folder;
    fs::write(newest.join("best.safetensors"), b"nothing").expect("damaged");
    job.resume_from = Some(newest.clone());
    let mut observer = RecordingObserver::default();
    assert_eq!(completed(&job, &mut observer), expected);
    assert!(
        observer.logs[0].contains("best.safetensors"),
        "{:?}",
        observer.logs
    );
}
