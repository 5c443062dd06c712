//! Chat templates and tokenisation against transformers; `fixtures/make_chat_fixtures.py` says how the
//! references were made. Everything here is equal to the last token.

use std::fs;

use ml::{
    data::{
        chat::{Chat, Message},
        sample_encoder::{SampleEncoder, SampleStats},
        template::{RenderError, Template},
        tokenizer::Tokenizer,
    },
    spec::{ChatTemplate, Learn, Objective},
};
use serde::Deserialize;

use crate::support::fixture;

#[derive(Deserialize)]
struct Reference {
    templates: Vec<Case>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    source: String,
    conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    add_generation_prompt: bool,
    text: Option<String>,
    ids: Option<Vec<u32>>,
    mask: Option<Vec<u8>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    framed: Vec<u32>,
}

fn reference() -> (Reference, Tokenizer) {
    let json = fs::read(fixture("chat/templates.json")).expect("the references");
    let tokenizer = Tokenizer::read(&fixture("chat")).expect("the tokenizer");
    (serde_json::from_slice(&json).expect("references"), tokenizer)
}

/// WK-3
#[test]
fn templates_write_and_refuse_what_transformers_writes_and_refuses() {
    let (reference, tokenizer) = reference();
    let mut refused = 0;
    for Case {
        name,
        source,
        conversations,
    } in reference.templates
    {
        let special = tokenizer.config().tokens();
        let template = Template::new(&name, &source, special, Vec::new()).expect("a template");
        for (index, case) in conversations.into_iter().enumerate() {
            let place = format!("{name}, conversation {index}");
            match (
                template.render(&case.messages, case.add_generation_prompt),
                case.text,
            ) {
                (Ok(rendered), Some(text)) => {
                    assert_eq!(rendered.text, text, "{place}");
                    let ids = tokenizer.encode_rendered(&rendered.text, &[]).expect("tokens");
                    let ids: Vec<u32> = ids.into_iter().map(|(id, _)| id).collect();
                    assert_eq!(Some(ids), case.ids, "{place}");
                }
                (Err(RenderError::Conversation(reason)), None) => {
                    let said = case.error.expect("an error");
                    assert!(reason.ends_with(&said), "{place}: {reason} instead of {said}");
                    refused += 1;
                }
                (ours, theirs) => panic!("{place}: {ours:?} instead of {theirs:?}"),
            }
        }
    }
    assert_eq!(refused, 2, "Mistral's demands that roles alternate");
}

/// WK-3: what is learnt where a template marks it.
#[test]
fn what_is_learnt_is_what_transformers_masks() {
    let (reference, tokenizer) = reference();
    let mut compared = 0;
    for case in reference.templates {
        let objective = Objective {
            learn: Learn::Answers,
            chat_template: ChatTemplate::Custom(case.source),
        };
        let writer = SampleEncoder::new(&tokenizer, &objective, 10_000).expect("a writer");
        for conversation in case.conversations {
            let Some(mask) = conversation.mask else {
                continue;
            };
            if conversation.add_generation_prompt || !mask.contains(&1) {
                continue;
            }
            let chat = Chat {
                messages: conversation.messages,
            };
            let document = writer.conversation(&chat, &mut SampleStats::default());
            let document = document.expect("written").expect("kept");
            assert_eq!(Some(&document.tokens), conversation.ids.as_ref(), "{}", case.name);
            let loss_mask: Vec<u8> = document
                .loss_mask
                .iter()
                .map(|loss_mask| (*loss_mask).into())
                .collect();
            assert_eq!(loss_mask, mask, "{}", case.name);
            compared += 1;
        }
    }
    assert_eq!(compared, 6);
}

/// WK-3: the same answers, found in templates that mark nothing.
#[test]
fn answers_are_found_in_templates_that_mark_nothing() {
    let (reference, tokenizer) = reference();
    for (name, expected) in [
        ("llama3", "General Kenobi!<|eot_id|>"),
        ("llama3.1", "General Kenobi!<|eot_id|>"),
        ("mistral", " General Kenobi!</s>"),
        ("llama2", " General Kenobi! </s>"),
        ("qwen2", "General Kenobi!<|im_end|>"),
    ] {
        let case = reference.templates.iter().find(|case| case.name == name);
        let case = case.expect("the template");
        let objective = Objective {
            learn: Learn::Answers,
            chat_template: ChatTemplate::Custom(case.source.clone()),
        };
        let writer = SampleEncoder::new(&tokenizer, &objective, 10_000).expect("a writer");
        let chat = Chat {
            messages: case.conversations[0].messages.clone(),
        };
        let document = writer.conversation(&chat, &mut SampleStats::default());
        let document = document.expect("written").expect("kept");
        let written = case.conversations[0].text.as_ref().expect("a text");
        let learnt: Vec<u32> = document
            .tokens
            .iter()
            .zip(&document.loss_mask)
            .filter(|(_, loss_mask)| **loss_mask)
            .map(|(id, _)| *id)
            .collect();
        assert!(written.contains(expected), "{name}: {written:?}");
        let expected = tokenizer.encode_rendered(expected, &[]).expect("tokens");
        let expected: Vec<u32> = expected.into_iter().map(|(id, _)| id).collect();
        assert_eq!(learnt, expected, "{name}");
    }
}

/// WK-3
#[test]
fn texts_become_the_tokens_of_transformers_with_and_without_their_frame() {
    let (reference, tokenizer) = reference();
    for case in reference.texts {
        assert_eq!(
            tokenizer.encode(&case.text).expect("tokens"),
            case.ids,
            "{:?}",
            case.text
        );
        let framed = tokenizer.encode_document(&case.text).expect("tokens");
        let (end, framed) = framed.split_last().expect("an end");
        assert_eq!(framed, case.framed, "{:?}", case.text);
        assert_eq!(Some(*end), tokenizer.eos_token(), "</s> ends a text");
    }
}

#[test]
fn a_tokenizer_whose_special_tokens_are_not_its_own_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let text = fs::read_to_string(fixture("chat").join(name)).expect("read");
        let text = text.replace(r#""pad_token": "</s>""#, r#""pad_token": "<pad>""#);
        fs::write(dir.path().join(name), text).expect("written");
    }
    let failure = Tokenizer::read(dir.path()).expect_err("refused");
    assert!(
        failure.message.contains("<pad>") && failure.message.contains("pad_token"),
        "{failure}"
    );
}
