//! Parsers of the lines of dataset files.
//!
//! Rule: formats differ in field names only; every line becomes a conversation or a prompt with its completion.

use serde::Deserialize;

use super::chat::{self, Chat, Message};

/// A prompt and its completion.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Pair {
    /// The prompt, which does not contribute to the loss.
    pub prompt: String,
    /// The completion to train on.
    pub completion: String,
}

/// Parses one line of a file of prompts and completions: `{"prompt": …, "completion": …}`.
///
/// # Errors
/// What is wrong with the line, as the end of a sentence.
pub fn pair(line: &str) -> Result<Pair, String> {
    serde_json::from_str(line).map_err(|error| format!("is not a prompt with a completion: {error}"))
}

#[derive(Deserialize)]
struct Alpaca {
    instruction: String,
    #[serde(default)]
    input: String,
    output: String,
}

/// Parses one line in Alpaca's format, `{"instruction": …, "input": …, "output": …}`: the user's message is the
/// instruction, followed by the input (if any) after an empty line; the output is the assistant's answer.
///
/// # Errors
/// What is wrong with the line, as the end of a sentence.
pub fn alpaca(line: &str) -> Result<Chat, String> {
    let Alpaca {
        instruction,
        input,
        output,
    } = serde_json::from_str(line)
        .map_err(|error| format!("is not an instruction with its output: {error}"))?;
    let asked = if input.is_empty() {
        instruction
    } else {
        format!("{instruction}\n\n{input}")
    };
    Ok(Chat {
        messages: vec![message("user", asked), message("assistant", output)],
    })
}

#[derive(Deserialize)]
struct ShareGpt {
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

/// Parses one line in ShareGPT's format, `{"conversations": [{"from": "human", "value": …}, …]}`.
///
/// # Errors
/// What is wrong with the line, as the end of a sentence.
pub fn sharegpt(line: &str) -> Result<Chat, String> {
    let found: ShareGpt =
        serde_json::from_str(line).map_err(|error| format!("is not a conversation: {error}"))?;
    let messages = found.conversations.into_iter().map(|turn| {
        let role = match turn.from.as_str() {
            "human" | "user" => "user",
            "gpt" | "assistant" | "chatgpt" | "bot" => "assistant",
            "system" => "system",
            other => return Err(format!("the speaker {other:?} is not one of system, human, gpt")),
        };
        Ok(message(role, turn.value))
    });
    let chat = Chat {
        messages: messages.collect::<Result<_, _>>()?,
    };
    chat::check(&chat).map(|()| chat)
}

fn message(role: &str, content: String) -> Message {
    Message {
        role: role.to_owned(),
        content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(chat: &Chat) -> Vec<(&str, &str)> {
        let messages = chat.messages.iter();
        messages
            .map(|message| (message.role.as_str(), message.content.as_str()))
            .collect()
    }

    #[test]
    fn alpaca_and_sharegpt_are_conversations() {
        let plain = alpaca(r#"{"instruction": "Add.", "input": "1 2", "output": "3"}"#).expect("a sample");
        assert_eq!(said(&plain), [("user", "Add.\n\n1 2"), ("assistant", "3")]);
        let bare = alpaca(r#"{"instruction": "Sing.", "output": "La"}"#).expect("a sample");
        assert_eq!(said(&bare)[0], ("user", "Sing."));
        let shared = sharegpt(
            r#"{"id": 7, "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "h"},
                {"from": "gpt", "value": "g"}]}"#,
        )
        .expect("a sample");
        assert_eq!(
            said(&shared),
            [("system", "s"), ("user", "h"), ("assistant", "g")]
        );
    }

    #[test]
    fn what_is_not_of_the_form_is_refused_by_what_is_missing() {
        assert!(
            pair(r#"{"prompt": "a"}"#)
                .expect_err("refused")
                .contains("completion")
        );
        assert!(
            alpaca(r#"{"instruction": "a"}"#)
                .expect_err("refused")
                .contains("output")
        );
        let unknown = sharegpt(r#"{"conversations": [{"from": "robot", "value": ""}]}"#);
        assert!(unknown.expect_err("refused").contains("robot"));
    }
}
