//! One line of the formats that name their parts otherwise than chat does: prompts with completions, Alpaca,
//! ShareGPT.
//!
//! One rule: what passes here can be trained on, by the same rules as chat; other keys are allowed.

use serde_json::{Map, Value};

use super::{
    Format, ProblemCode,
    chat::{self, Chat, Refused},
};

/// Reads one line of `format`, which is not text.
pub(super) fn parse(format: Format, text: &str) -> Result<Chat, Refused> {
    match format {
        Format::PlainText | Format::Chat => chat::parse(text),
        Format::PromptCompletion => {
            let mut object = chat::object(text, "'prompt' and 'completion'")?;
            // An empty prompt is fine: the completion is learnt on its own.
            let prompt = field(&mut object, "prompt")?;
            let completion = said(&mut object, "completion")?;
            Ok(Chat {
                messages: vec![
                    ("prompt".to_owned(), prompt),
                    ("completion".to_owned(), completion),
                ],
                other_keys: !object.is_empty(),
            })
        }
        Format::Alpaca => {
            let mut object = chat::object(text, "'instruction' and 'output'")?;
            let instruction = said(&mut object, "instruction")?;
            let input = match object.contains_key("input") {
                true => field(&mut object, "input")?,
                false => String::new(),
            };
            let asked = if input.is_empty() {
                instruction
            } else {
                format!("{instruction}\n\n{input}")
            };
            let output = said(&mut object, "output")?;
            Ok(Chat {
                messages: vec![("user".to_owned(), asked), ("assistant".to_owned(), output)],
                other_keys: !object.is_empty(),
            })
        }
        Format::ShareGpt => sharegpt(text),
    }
}

fn sharegpt(text: &str) -> Result<Chat, Refused> {
    let mut object = chat::object(text, "'conversations'")?;
    let Some(Value::Array(turns)) = object.remove("conversations") else {
        return Err((
            ProblemCode::Messages,
            "'conversations' is missing or not a list".to_owned(),
        ));
    };
    let turn = |(number, value): (usize, Value)| {
        let Value::Object(mut turn) = value else {
            return Err((ProblemCode::Message, format!("turn {number} is not an object")));
        };
        let numbered = |(code, reason): Refused| (code, format!("turn {number}: {reason}"));
        let from = field(&mut turn, "from").map_err(numbered)?;
        let role = match from.as_str() {
            "human" | "user" => "user",
            "gpt" | "assistant" | "chatgpt" | "bot" => "assistant",
            "system" => "system",
            other => {
                let shown: String = other
                    .chars()
                    .take(32)
                    .filter(|letter| !letter.is_control())
                    .collect();
                let reason = format!("turn {number} is from '{shown}', not from system, human or gpt");
                return Err((ProblemCode::Role, reason));
            }
        };
        Ok((role.to_owned(), said(&mut turn, "value").map_err(numbered)?))
    };
    let messages = (1..).zip(turns).map(turn).collect::<Result<Vec<_>, _>>()?;
    if messages.is_empty() {
        return Err((ProblemCode::Messages, "'conversations' is empty".to_owned()));
    }
    let roles: Vec<&str> = messages.iter().map(|(role, _)| role.as_str()).collect();
    chat::order(&roles)?;
    Ok(Chat {
        messages,
        other_keys: !object.is_empty(),
    })
}

/// The text under `key`, which may be empty.
fn field(object: &mut Map<String, Value>, key: &str) -> Result<String, Refused> {
    match object.remove(key) {
        Some(Value::String(text)) if text.contains('\0') => {
            Err((ProblemCode::Nul, format!("'{key}' has a NUL (\\u0000)")))
        }
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err((ProblemCode::Field, format!("'{key}' is not a string"))),
        None => Err((ProblemCode::Field, format!("'{key}' is missing"))),
    }
}

/// The text under `key`, which may not be blank.
fn said(object: &mut Map<String, Value>, key: &str) -> Result<String, Refused> {
    let text = field(object, key)?;
    if text.trim().is_empty() {
        return Err((ProblemCode::EmptyContent, format!("'{key}' is empty")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{Format, ProblemCode, parse};

    fn said(format: Format, line: &str) -> Vec<(String, String)> {
        parse(format, line).expect("a sample").messages
    }

    fn refused(format: Format, line: &str) -> ProblemCode {
        parse(format, line).expect_err("refused").0
    }

    fn turns(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(role, text): &(&str, &str)| ((*role).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    }

    /// DS-1
    #[test]
    fn each_format_is_read_as_what_is_given_and_what_is_learnt() {
        assert_eq!(
            said(Format::PromptCompletion, r#"{"prompt": "", "completion": "b"}"#),
            turns(&[("prompt", ""), ("completion", "b")])
        );
        assert_eq!(
            said(
                Format::Alpaca,
                r#"{"instruction": "Add.", "input": "1 2", "output": "3"}"#
            ),
            turns(&[("user", "Add.\n\n1 2"), ("assistant", "3")])
        );
        let shared =
            r#"{"id": 1, "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#;
        assert_eq!(
            said(Format::ShareGpt, shared),
            turns(&[("user", "a"), ("assistant", "b")])
        );
        assert!(parse(Format::ShareGpt, shared).expect("a sample").other_keys);
    }

    #[test]
    fn what_cannot_be_learnt_from_is_refused_by_its_kind() {
        for (format, line, code) in [
            (Format::PromptCompletion, r#"{"prompt": "a"}"#, ProblemCode::Field),
            (
                Format::PromptCompletion,
                r#"{"prompt": "a", "completion": " "}"#,
                ProblemCode::EmptyContent,
            ),
            (
                Format::Alpaca,
                r#"{"instruction": 1, "output": "a"}"#,
                ProblemCode::Field,
            ),
            (
                Format::Alpaca,
                r#"{"instruction": "\u0000", "output": "a"}"#,
                ProblemCode::Nul,
            ),
            (Format::Alpaca, "[]", ProblemCode::NotAnObject),
            (Format::ShareGpt, "{}", ProblemCode::Messages),
            (
                Format::ShareGpt,
                r#"{"conversations": []}"#,
                ProblemCode::Messages,
            ),
            (
                Format::ShareGpt,
                r#"{"conversations": [{"from": "robot", "value": "a"}]}"#,
                ProblemCode::Role,
            ),
            (
                Format::ShareGpt,
                r#"{"conversations": [{"from": "human", "value": "a"}]}"#,
                ProblemCode::RoleOrder,
            ),
            (Format::ShareGpt, "{", ProblemCode::InvalidJson),
        ] {
            assert_eq!(refused(format, line), code, "{line}");
        }
    }
}
