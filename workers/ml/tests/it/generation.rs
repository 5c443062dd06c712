//! Text generation against transformers, many prompts at once.
//!
//! Rule: texts are compared token by token; the fixtures' random weights leave no near ties.

use ml::{
    Compute,
    inference::{FinishReason, Network, Prompt, SamplingParams, StopConditions},
    model::{CausalModel, folder},
};
use serde_json::Value;

use crate::support::{DEVICE, fixture};

fn network(name: &str) -> Network<Compute> {
    let base = folder::load::<Compute>(&fixture(name), &DEVICE).expect("a model");
    Network {
        model: CausalModel::new(&base.config, &base.parameters).expect("a network"),
        adapter: None,
    }
}

fn tokens(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("tokens").iter();
    ids.map(|id| id.as_u64().expect("a token") as u32).collect()
}

fn prompts(model: &Value, sampling: SamplingParams) -> Vec<Prompt> {
    let prompts = model["prompts"].as_array().expect("prompts").iter();
    prompts
        .map(|prompt| Prompt {
            tokens: tokens(prompt),
            max_new_tokens: 12,
            sampling,
        })
        .collect()
}

/// WK-3, MO-1: prompts of 1 to 9 tokens in one batch, each continued as transformers continues it.
#[test]
fn a_batch_of_prompts_is_continued_as_transformers_does() {
    let generated: Value = serde_json::from_str(include_str!("../../fixtures/generated.json")).expect("JSON");
    let models = generated.as_object().expect("models");
    assert_eq!(models.len(), 4);
    for (name, model) in models {
        let network = network(model["folder"].as_str().expect("a folder"));
        for run in model["runs"].as_array().expect("runs") {
            let sampling = SamplingParams {
                repetition_penalty: run["repetition_penalty"].as_f64().expect("a number"),
                ..SamplingParams::GREEDY
            };
            let stop = StopConditions {
                eos_tokens: vec![0],
                stop_sequences: None,
            };
            let prompts = prompts(model, sampling);
            let all = network.generate_batch(&prompts, &stop).expect("texts");
            for ((ours, theirs), prompt) in all
                .iter()
                .zip(run["texts"].as_array().expect("texts"))
                .zip(&prompts)
            {
                assert_eq!(ours.tokens, tokens(theirs), "{name} {sampling:?}");
                let alone = network
                    .generate_batch(std::slice::from_ref(prompt), &stop)
                    .expect("a text");
                assert_eq!(
                    alone,
                    std::slice::from_ref(ours),
                    "{name}: the others change nothing"
                );
            }
        }
    }
}

#[test]
fn a_seed_gives_a_text_again_and_another_gives_another() {
    let network = network("llama/llama");
    let text = |seed| {
        let sampling = SamplingParams {
            temperature: 1.2,
            top_p: 0.95,
            seed,
            ..SamplingParams::GREEDY
        };
        network.generate(&[5, 6, 7], 20, sampling).expect("a text")
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn texts_end_at_words_at_the_end_of_the_text_and_at_their_length() {
    let base = folder::load::<Compute>(&fixture("base"), &DEVICE).expect("a model");
    let network = network("base");
    let prompt = |max_new_tokens| Prompt {
        tokens: vec![170, 270, 259],
        max_new_tokens,
        sampling: SamplingParams::GREEDY,
    };
    let one = |prompt: Prompt, stop: &StopConditions<'_>| {
        network.generate_batch(&[prompt], stop).expect("a text").remove(0)
    };
    let free = StopConditions::default();
    let whole = one(prompt(12), &free);
    assert_eq!(
        (whole.tokens.len(), whole.finish_reason),
        (12, FinishReason::Length)
    );

    // The third token as the end of a text: it is not part of it.
    let third = whole.tokens[2];
    let first = whole
        .tokens
        .iter()
        .position(|token| *token == third)
        .expect("it is there");
    let stop = StopConditions {
        eos_tokens: vec![third],
        stop_sequences: None,
    };
    let finish_reason = one(prompt(12), &stop);
    assert_eq!(
        (finish_reason.tokens.as_slice(), finish_reason.finish_reason),
        (&whole.tokens[..first], FinishReason::EndOfText)
    );

    // A word that spans tokens.
    let text = base.tokenizer.decode(&whole.tokens).expect("text");
    let word: String = text.chars().skip(1).take(3).collect();
    let stop = StopConditions {
        eos_tokens: Vec::new(),
        stop_sequences: Some((&base.tokenizer, vec![word.clone()])),
    };
    let stopped = one(prompt(12), &stop);
    assert_eq!(stopped.finish_reason, FinishReason::StopSequence);
    assert!(stopped.tokens.len() < 12, "{stopped:?}");
    let cut = stopped.text(&stop, &base.tokenizer).expect("text");
    assert_eq!(cut, text[..text.find(&word).expect("the word")]);
}

#[test]
fn nothing_and_too_much_are_continued_as_far_as_there_is_something() {
    let network = network("base");
    let context = network.model.config().context();
    let prompt = |tokens: Vec<u32>, max_new_tokens| Prompt {
        tokens,
        max_new_tokens,
        sampling: SamplingParams::GREEDY,
    };
    let long: Vec<u32> = (0..3 * context).map(|place| 1 + (place % 200) as u32).collect();
    let tail = long[long.len() - (context - 6)..].to_vec();
    let all = [
        prompt(Vec::new(), 5),
        prompt(long, 6),
        prompt(tail, 6),
        prompt(vec![3], 0),
        prompt(vec![3], usize::MAX),
    ];
    let texts = network
        .generate_batch(&all, &StopConditions::default())
        .expect("texts");
    let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
    assert_eq!(lengths, [0, 6, 6, 0, context / 2]);
    assert_eq!(texts[1], texts[2], "what does not fit is left out at the start");
    assert_eq!(
        network.generate_batch(&[], &StopConditions::default()),
        Ok(Vec::new())
    );
}
