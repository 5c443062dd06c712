//! Conversations, and their plain template.
//!
//! Rule: the template is fixed plain text, so it works with every tokenizer: each message is `Role: content` on its
//! own line.

use serde::Deserialize;

/// The plain template for `transformers` and vLLM (`tokenizer_config.json`). It renders what [`render`] and
/// [`prompt`] return.
pub const JINJA: &str = "{% for message in messages %}{{ message['role'][0]|upper }}{{ message['role'][1:] }}: \
{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}\
{% if add_generation_prompt %}Assistant:{% endif %}";

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Chat {
    /// The messages in order.
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// Whether its role is assistant.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.role == "assistant"
    }

    pub(super) fn marker(&self) -> &'static str {
        match self.role.as_str() {
            "system" => "System:",
            "assistant" => "Assistant:",
            _ => "User:",
        }
    }
}

/// Parses one line of a chat file.
///
/// # Errors
/// What is wrong with the line, as the end of a sentence.
pub fn parse(line: &str) -> Result<Chat, String> {
    let chat: Chat = serde_json::from_str(line).map_err(|error| format!("is not a conversation: {error}"))?;
    check(&chat).map(|()| chat)
}

/// Checks that the role of each message is known.
pub(super) fn check(chat: &Chat) -> Result<(), String> {
    let known = |message: &Message| matches!(message.role.as_str(), "system" | "user" | "assistant");
    match chat.messages.iter().find(|message| !known(message)) {
        Some(message) => Err(format!(
            "the role {:?} is not one of system, user, assistant",
            message.role
        )),
        None => Ok(()),
    }
}

/// The text of `chat` in the plain template, without end-of-text tokens.
#[must_use]
pub fn render(chat: &Chat) -> String {
    let line = |message: &Message| format!("{} {}\n", message.marker(), message.content);
    chat.messages.iter().map(line).collect()
}

/// The prompt for an answer to `messages`.
#[must_use]
pub fn prompt(messages: &[Message]) -> String {
    format!(
        "{}Assistant:",
        render(&Chat {
            messages: messages.to_vec()
        })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat() -> Chat {
        parse(
            r#"{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye"}]}"#,
        )
        .expect("a conversation")
    }

    #[test]
    fn an_answer_is_asked_for_with_the_text_that_preceded_answers_in_training() {
        let asked = prompt(&chat().messages[..2]);
        assert_eq!(asked, "System: Be kind.\nUser: Hi\nAssistant:");
        assert!(render(&chat()).starts_with(&asked));
    }

    #[test]
    fn an_unknown_role_is_refused_by_name() {
        let reason = parse(r#"{"messages": [{"role": "robot", "content": ""}]}"#).expect_err("refused");
        assert!(reason.contains("robot"), "{reason}");
    }
}
