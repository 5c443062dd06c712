//! Text generation against transformers, many prompts at once.
//!
//! Rule: texts are compared token by token; the fixtures' random weights leave no near ties.

use ml::{
    Compute,
    inference::{Choice, Ended, Ends, Network, Prompt},
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

fn prompts(model: &Value, choice: Choice) -> Vec<Prompt> {
    let prompts = model["prompts"].as_array().expect("prompts").iter();
    prompts
        .map(|prompt| Prompt {
            tokens: tokens(prompt),
            longest: 12,
            choice,
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
            let choice = Choice {
                repetition_penalty: run["repetition_penalty"].as_f64().expect("a number"),
                ..Choice::GREEDY
            };
            let ends = Ends {
                tokens: vec![0],
                words: None,
            };
            let prompts = prompts(model, choice);
            let all = network.generate_all(&prompts, &ends).expect("texts");
            for ((ours, theirs), prompt) in all
                .iter()
                .zip(run["texts"].as_array().expect("texts"))
                .zip(&prompts)
            {
                assert_eq!(ours.tokens, tokens(theirs), "{name} {choice:?}");
                let alone = network
                    .generate_all(std::slice::from_ref(prompt), &ends)
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
        let choice = Choice {
            temperature: 1.2,
            top_p: 0.95,
            seed,
            ..Choice::GREEDY
        };
        network.generate(&[5, 6, 7], 20, choice).expect("a text")
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn texts_end_at_words_at_the_end_of_the_text_and_at_their_length() {
    let base = folder::load::<Compute>(&fixture("base"), &DEVICE).expect("a model");
    let network = network("base");
    let prompt = |longest| Prompt {
        tokens: vec![170, 270, 259],
        longest,
        choice: Choice::GREEDY,
    };
    let one =
        |prompt: Prompt, ends: &Ends<'_>| network.generate_all(&[prompt], ends).expect("a text").remove(0);
    let free = Ends::default();
    let whole = one(prompt(12), &free);
    assert_eq!((whole.tokens.len(), whole.ended), (12, Ended::Length));

    // The third token as the end of a text: it is not part of it.
    let third = whole.tokens[2];
    let first = whole
        .tokens
        .iter()
        .position(|token| *token == third)
        .expect("it is there");
    let ends = Ends {
        tokens: vec![third],
        words: None,
    };
    let ended = one(prompt(12), &ends);
    assert_eq!(
        (ended.tokens.as_slice(), ended.ended),
        (&whole.tokens[..first], Ended::EndOfText)
    );

    // A word that spans tokens.
    let text = base.tokenizer.decode(&whole.tokens).expect("text");
    let word: String = text.chars().skip(1).take(3).collect();
    let ends = Ends {
        tokens: Vec::new(),
        words: Some((&base.tokenizer, vec![word.clone()])),
    };
    let stopped = one(prompt(12), &ends);
    assert_eq!(stopped.ended, Ended::Word);
    assert!(stopped.tokens.len() < 12, "{stopped:?}");
    let cut = stopped.text(&ends, &base.tokenizer).expect("text");
    assert_eq!(cut, text[..text.find(&word).expect("the word")]);
}

#[test]
fn nothing_and_too_much_are_continued_as_far_as_there_is_something() {
    let network = network("base");
    let context = network.model.config().context();
    let prompt = |tokens: Vec<u32>, longest| Prompt {
        tokens,
        longest,
        choice: Choice::GREEDY,
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
    let texts = network.generate_all(&all, &Ends::default()).expect("texts");
    let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
    assert_eq!(lengths, [0, 6, 6, 0, context / 2]);
    assert_eq!(texts[1], texts[2], "what does not fit is left out at the start");
    assert_eq!(network.generate_all(&[], &Ends::default()), Ok(Vec::new()));
}
