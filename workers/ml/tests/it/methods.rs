//! Methods, objectives and the loop as a whole: packing that changes nothing, stopping early, keeping the best,
//! and resuming all of it to the last bit.

use std::fs;

use burn::tensor::Tensor;
use ml::{
    Compute, Differentiable,
    data::batch::{Batch, Packed},
    failure::FailureCode,
    files::FileEntry,
    graphs::Turn,
    job::JobFile,
    model::folder,
    parameters::{ParameterSet, values},
    spec::Hyperparameters,
    training::{
        Outcome,
        loss::{Targets, head_loss},
        run,
        task::{Task, hidden},
    },
};
use safetensors::SafeTensors;
use serde_json::json;

use crate::support::{DEVICE, Room, Seen, fixture};

type Gradients = Vec<(String, Vec<f32>)>;

fn completed(job: &JobFile, seen: &mut Seen) -> Vec<FileEntry> {
    match run::<Differentiable>(job, &DEVICE, seen).expect("trained") {
        Outcome::Completed(artifact) => artifact.files,
        Outcome::Stopped { step } => panic!("stopped at {step}"),
    }
}

fn refusal(job: &JobFile) -> ml::failure::Failure {
    run::<Differentiable>(job, &DEVICE, &mut Seen::default()).expect_err("refused")
}

/// All weights of the fixtures' base, twelve steps.
fn full(room: &Room, name: &str) -> JobFile {
    let mut job = room.lora(name);
    job.spec = serde_json::from_value(json!({
        "method": "full", "hyperparameters": job.spec.hyperparameters
    }))
    .expect("a specification");
    job
}

/// Conversations of different lengths.
fn chats(room: &Room, job: &mut JobFile) {
    let line = |number: usize| {
        json!({"messages": [
            {"role": "user", "content": format!("n {number}")},
            {"role": "assistant", "content": "the dog ".repeat(number % 4 + 1)}
        ]})
        .to_string()
    };
    let lines: Vec<String> = (0..40).map(line).collect();
    job.dataset_files = vec![room.dataset("chats.jsonl", &lines.join("\n"), "chat")];
    job.spec.hyperparameters.sequence_length = 48;
}

/// Logits' loss and all gradients of the fixtures' base for `batch`.
fn gradients(batch: &Batch) -> (f64, Gradients) {
    let base = folder::load::<Compute>(&fixture("base"), &DEVICE).expect("the base");
    let turn = Turn::wait();
    let leaves = ParameterSet::<Differentiable>::leaves(&base.parameters, &turn);
    let task = Task::Whole { config: base.config };
    let network = task.differentiable(&leaves).expect("a network");
    let targets = Targets {
        places: &batch.places,
        tokens: &batch.targets,
    };
    let states = hidden(&network, batch, None);
    let found = head_loss(states, network.model.head(), true, targets, 1.0).expect("a loss");
    let graph = found.surrogate.backward();
    let gradient = |(name, leaf): (&str, &Tensor<Differentiable, 2>)| {
        let numbers = values(leaf.grad(&graph).expect(name)).expect("numbers");
        (name.to_owned(), numbers)
    };
    (found.loss, leaves.iter().map(gradient).collect())
}

fn close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    for (one, other) in ours.iter().zip(theirs) {
        assert!(
            (one - other).abs() <= 1e-5 * largest.max(1e-3),
            "{what}: {one} and {other}"
        );
    }
}

/// Samples of `lengths` tokens as rows of their own, padded at the end.
fn alone(samples: &[Vec<i32>]) -> Batch {
    let length = samples.iter().map(Vec::len).max().expect("samples");
    let mut batch = Batch {
        rows: samples.len(),
        length,
        inputs: Vec::new(),
        places: Vec::new(),
        targets: Vec::new(),
        packed: None,
    };
    for sample in samples {
        let start = batch.inputs.len();
        batch.inputs.extend(sample);
        batch.inputs.resize(start + length, 0);
        for (place, next) in sample.iter().skip(1).enumerate() {
            batch.places.push((start + place) as i32);
            batch.targets.push(*next);
        }
    }
    batch
}

/// The same in one row.
fn together(samples: &[Vec<i32>]) -> Batch {
    let mut batch = alone(&[samples.concat()]);
    let mut packed = Packed {
        positions: Vec::new(),
        first: Vec::new(),
    };
    (batch.places, batch.targets) = (Vec::new(), Vec::new());
    for sample in samples {
        let start = packed.first.len();
        for (place, _) in sample.iter().enumerate() {
            packed.positions.push(place as u32);
            packed.first.push(start as u32);
            if place > 0 {
                batch.places.push((start + place - 1) as i32);
                batch.targets.push(sample[place]);
            }
        }
    }
    batch.packed = Some(packed);
    batch
}

/// Issue: samples that share a row do not see each other.
#[test]
fn packed_samples_have_the_loss_and_the_gradients_of_the_samples_alone() {
    let samples = [
        vec![5, 9, 200, 41, 7],
        vec![77, 3, 18],
        vec![250, 1, 1, 90, 33, 62, 8],
    ];
    let (loss, ours) = gradients(&together(&samples));
    let (expected, theirs) = gradients(&alone(&samples));
    assert!((loss - expected).abs() < 1e-5, "{loss} and {expected}");
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        close(ours, theirs, name);
    }
    // Without what keeps them apart it is another loss: the test would see it.
    let mut seeing = together(&samples);
    seeing.packed = None;
    assert!((gradients(&seeing).0 - expected).abs() > 1e-2);
}

/// WK-3: against transformers with a block-diagonal mask and positions that restart.
#[test]
fn a_packed_row_is_computed_as_transformers_computes_it() {
    let bytes = fs::read(fixture("packed.safetensors")).expect("the reference");
    let file = SafeTensors::deserialize(&bytes).expect("a file");
    let words = |name: &str| -> Vec<[u8; 4]> {
        let data = file.tensor(name).expect(name).data().to_vec();
        data.chunks_exact(4)
            .map(|word| [word[0], word[1], word[2], word[3]])
            .collect()
    };
    let integers = |name: &str| -> Vec<i32> { words(name).into_iter().map(i32::from_le_bytes).collect() };
    let floats = |name: &str| -> Vec<f32> { words(name).into_iter().map(f32::from_le_bytes).collect() };
    let (ids, mut samples) = (integers("ids"), Vec::new());
    let mut rest = ids.as_slice();
    for length in integers("lengths") {
        let (sample, after) = rest.split_at(length as usize);
        samples.push(sample.to_vec());
        rest = after;
    }
    let batch = together(&samples);
    let positions: Vec<i32> = batch
        .packed
        .iter()
        .flat_map(|packed| packed.positions.iter().map(|position| *position as i32))
        .collect();
    assert_eq!(positions, integers("positions"));
    let (loss, ours) = gradients(&batch);
    assert!((loss - f64::from(floats("loss")[0])).abs() < 1e-5, "{loss}");
    for name in ["wpe.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.bias"] {
        let found = ours.iter().find(|(ours, _)| ours == name).expect(name);
        close(&found.1, &floats(&format!("gradient.{name}")), name);
    }
}

/// Issue: accumulation is over learnt tokens, so how a step is cut into micro-batches does not matter.
#[test]
fn a_step_in_several_micro_batches_is_the_step_in_one() {
    let room = Room::new();
    let mut losses = Vec::new();
    for (rows, micro) in [(8, 1), (2, 4)] {
        let mut job = full(&room, &format!("rows-{rows}"));
        chats(&room, &mut job);
        let chosen = &mut job.spec.hyperparameters;
        (chosen.steps, chosen.epochs) = (None, Some(1.0));
        (chosen.batch_size, chosen.gradient_accumulation) = (rows, micro);
        let mut seen = Seen::default();
        completed(&job, &mut seen);
        losses.push(seen.steps);
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
    let room = Room::new();
    let job = full(&room, "one");
    let mut seen = Seen::default();
    completed(&job, &mut seen);
    let facts = seen.facts.expect("facts");
    assert_eq!(facts.parameters, facts.trainable_parameters);
    assert!(seen.steps[11].loss < seen.steps[0].loss - 0.3, "{:?}", seen.steps);
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

type Change = fn(&mut Hyperparameters);

/// JB-4, JB-8: wherever it is broken, and with everything switched on.
#[test]
fn a_training_with_everything_resumes_to_the_last_bit_wherever_it_is_broken() {
    let room = Room::new();
    let changes: [(&str, Change); 2] = [
        ("packed", |chosen| {
            (chosen.steps, chosen.epochs, chosen.packing) = (None, Some(4.0), true);
        }),
        ("stopped", |chosen| {
            chosen.steps = Some(30);
            // Nobody gets better by ten nats: it ends at the third evaluation after the first.
            let stopping = json!({"patience": 3, "min_delta": 10});
            chosen.early_stopping = Some(serde_json::from_value(stopping).expect("settings"));
        }),
    ];
    for (name, change) in changes {
        let make = |name: &str| {
            let mut job = room.lora(name);
            chats(&room, &mut job);
            let chosen = &mut job.spec.hyperparameters;
            change(chosen);
            (chosen.eval_every, chosen.eval_fraction) = (2, 0.2);
            (chosen.keep_best, chosen.sample_every, chosen.checkpoint_every) = (true, 3, 2);
            job
        };
        let mut whole = Seen::default();
        let expected = completed(&make(&format!("{name}-whole")), &mut whole);
        let steps = whole.steps.len() as u32;
        assert!(steps > 5, "{name}: {steps} steps");
        assert_eq!(
            name == "stopped",
            whole.notes.iter().any(|note| note.starts_with("early stopping"))
        );
        for broken in [1, 3, 4, steps - 1] {
            let mut job = make(&format!("{name}-{broken}"));
            let mut parts = Seen {
                stop_after: Some(broken),
                ..Seen::default()
            };
            let outcome = run::<Differentiable>(&job, &DEVICE, &mut parts).expect("stopped");
            assert_eq!(outcome, Outcome::Stopped { step: broken });
            job.resume_from = parts.saved.last().map(|(_, written)| written.folder.clone());
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
    let room = Room::new();
    let mut job = full(&room, "one");
    let chosen = &mut job.spec.hyperparameters;
    // Faster and faster: it learns at first, then it falls apart.
    (chosen.learning_rate, chosen.steps, chosen.warmup_steps) = (1.0, Some(60), Some(60));
    (chosen.eval_every, chosen.keep_best) = (1, true);
    chosen.schedule = ml::spec::Schedule::Constant;
    chosen.early_stopping = Some(serde_json::from_value(json!({"patience": 4})).expect("settings"));
    let mut seen = Seen::default();
    let Outcome::Completed(artifact) = run::<Differentiable>(&job, &DEVICE, &mut seen).expect("trained")
    else {
        panic!("stopped");
    };
    assert!(artifact.steps < 40, "it ended after {} steps", artifact.steps);
    let best = seen
        .evaluations
        .iter()
        .min_by(|one, other| one.loss.total_cmp(&other.loss));
    let best = best.expect("an evaluation");
    assert_eq!(best.step + 4, artifact.steps, "{:?}", seen.evaluations);
    assert_eq!(artifact.evaluation.map(|(_, result)| result), Some(best.loss));
    assert!(
        seen.notes
            .iter()
            .any(|note| note.contains(&format!("after step {}", best.step))),
        "{:?}",
        seen.notes
    );
    // As the base of another training it is evaluated as it was then, to the last bit.
    assert!(best.step > 0, "{:?}", seen.evaluations);
    let mut next = full(&room, "two");
    next.base_model_dir = Some(job.artifact());
    next.spec.hyperparameters.steps = Some(2);
    let mut again = Seen::default();
    completed(&next, &mut again);
    assert_eq!(again.evaluations[0].loss, best.loss);
}

/// JB-5
#[test]
fn samples_are_told_while_training() {
    let room = Room::new();
    let mut job = room.lora("one");
    job.spec.hyperparameters.sample_every = 5;
    let mut seen = Seen::default();
    completed(&job, &mut seen);
    let steps: Vec<u32> = seen.samples.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 5, 10, 12]);
}

#[test]
fn prompts_with_completions_and_both_other_forms_of_conversations_are_trained_on() {
    let room = Room::new();
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
        let mut job = room.lora(format);
        job.dataset_files =
            vec![room.dataset(&format!("{format}.jsonl"), &vec![line; 20].join("\n"), format)];
        job.spec.hyperparameters.sequence_length = 48;
        job.spec.hyperparameters.learning_rate = 0.02;
        let mut seen = Seen::default();
        completed(&job, &mut seen);
        let (first, last) = (
            seen.evaluations[0].loss,
            seen.evaluations.last().expect("one").loss,
        );
        assert!(last < first - 1.0, "{format}: {first} -> {last}");
    }
}

#[test]
fn samples_that_cannot_be_used_are_counted_and_a_dataset_of_them_is_refused() {
    let room = Room::new();
    let mut job = room.lora("one");
    let good = r#"{"prompt": "The dog", "completion": " jumps"}"#;
    let long = format!(r#"{{"prompt": "a", "completion": "{}"}}"#, "fox ".repeat(60));
    let empty = r#"{"prompt": "", "completion": ""}"#;
    let late = format!(r#"{{"prompt": "{}", "completion": "b"}}"#, "fox ".repeat(60));
    let lines = [[good; 10].join("\n"), long, empty.to_owned(), late.clone()].join("\n");
    job.dataset_files = vec![room.dataset("pairs", &lines, "prompt_completion")];
    let mut seen = Seen::default();
    completed(&job, &mut seen);
    let notes = seen.notes.join("\n");
    for said in [
        "1 of 13 samples are longer",
        "fewer than two tokens",
        "begins after the sequence length",
    ] {
        assert!(notes.contains(said), "{notes}");
    }
    job.dataset_files = vec![room.dataset("late", &late, "prompt_completion")];
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::DatasetEmpty);
    assert!(failure.message.contains("sequence_length"), "{failure}");
}

#[test]
fn what_this_machine_cannot_do_is_refused_by_name() {
    let room = Room::new();
    let mut job = room.lora("one");
    job.spec.hyperparameters.precision = ml::spec::Precision::Bf16;
    let failure = refusal(&job);
    assert_eq!(failure.code, FailureCode::SpecInvalid);
    assert!(
        failure.message.contains("bf16") && failure.message.contains("CUDA"),
        "{failure}"
    );
    let mut named = room.lora("two");
    chats(&room, &mut named);
    named.spec.objective =
        serde_json::from_value(json!({"chat_template": {"named": "tool_use"}})).expect("one");
    let failure = refusal(&named);
    assert_eq!(failure.code, FailureCode::ChatTemplateInvalid);
    assert!(failure.message.contains("tool_use"), "{failure}");
}

/// JB-4
#[test]
fn a_damaged_best_state_is_noticed() {
    let room = Room::new();
    let mut job = room.lora("one");
    job.spec.hyperparameters.keep_best = true;
    let mut whole = Seen::default();
    let expected = completed(&job, &mut whole);
    let newest = &whole.saved.last().expect("a checkpoint").1.folder;
    fs::write(newest.join("best.safetensors"), b"nothing").expect("damaged");
    job.resume_from = Some(newest.clone());
    let mut seen = Seen::default();
    assert_eq!(completed(&job, &mut seen), expected);
    assert!(seen.notes[0].contains("best.safetensors"), "{:?}", seen.notes);
}
