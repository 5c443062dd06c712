//! Conversations, and the one way they are written as text.
//!
//! Rule: the template is fixed and in plain text, so that it works with every tokenizer: each message is
//! `Role: content` on a line of its own. Only what the assistant says, and where it ends, is learnt.

use serde::Deserialize;

use super::{Document, tokenizer::Tokenizer};
use crate::{failure::Failure, spec::Learn};

/// The template as `transformers` and vLLM read it from `tokenizer_config.json`. It writes what [`render`] and
/// [`prompt`] write.
pub const JINJA: &str = "{% for message in messages %}{{ message['role'][0]|upper }}{{ message['role'][1:] }}: \
{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}\
{% if add_generation_prompt %}Assistant:{% endif %}";

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Chat {
    /// What was said, in order.
    pub messages: Vec<Message>,
}

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// Whether the assistant says it.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.role == "assistant"
    }

    fn marker(&self) -> &'static str {
        match self.role.as_str() {
            "system" => "System:",
            "assistant" => "Assistant:",
            _ => "User:",
        }
    }
}

/// Reads one line of a chat file.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn parse(line: &str) -> Result<Chat, String> {
    let chat: Chat = serde_json::from_str(line).map_err(|error| format!("is no conversation: {error}"))?;
    check(&chat).map(|()| chat)
}

/// Whether each message is said by somebody known.
pub(super) fn check(chat: &Chat) -> Result<(), String> {
    let known = |message: &Message| matches!(message.role.as_str(), "system" | "user" | "assistant");
    match chat.messages.iter().find(|message| !known(message)) {
        Some(message) => Err(format!(
            "the role {:?} is none of system, user, assistant",
            message.role
        )),
        None => Ok(()),
    }
}

/// The whole of `chat` as text, without ends of texts.
#[must_use]
pub fn render(chat: &Chat) -> String {
    let line = |message: &Message| format!("{} {}\n", message.marker(), message.content);
    chat.messages.iter().map(line).collect()
}

/// What a model continues to answer `messages`.
#[must_use]
pub fn prompt(messages: &[Message]) -> String {
    format!(
        "{}Assistant:",
        render(&Chat {
            messages: messages.to_vec()
        })
    )
}

/// The tokens of `chat` in the plain template; the assistant's words and their ends are learnt.
pub(super) fn tokenise(chat: &Chat, tokenizer: &Tokenizer, learn: Learn) -> Result<Document, Failure> {
    let mut document = Document {
        tokens: Vec::new(),
        learned: Vec::new(),
        cut_anywhere: false,
    };
    let mut add = |tokens: Vec<u32>, learned: bool| {
        document
            .learned
            .extend(std::iter::repeat_n(learned, tokens.len()));
        document.tokens.extend(tokens);
    };
    let last = chat.messages.iter().rposition(Message::is_answer);
    let is_learnt = |index: usize, message: &Message| match learn {
        Learn::Answers => message.is_answer(),
        Learn::LastAnswer => Some(index) == last,
        Learn::Everything => true,
    };
    for (index, message) in chat.messages.iter().enumerate() {
        let learnt = is_learnt(index, message);
        // Each part is tokenised alone, so no token straddles what is learnt and what is not.
        let separator = if index == 0 { "" } else { "\n" };
        add(
            tokenizer.encode(&format!("{separator}{}", message.marker()))?,
            learn == Learn::Everything,
        );
        add(tokenizer.encode(&format!(" {}", message.content))?, learnt);
        if message.is_answer() {
            add(tokenizer.end_of_text().into_iter().collect(), learnt);
        }
    }
    Ok(document)
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
    fn only_answers_and_their_ends_are_learnt() {
        let tokenizer = Tokenizer::train([render(&chat())].into_iter(), 300).expect("trained");
        let document = tokenise(&chat(), &tokenizer, Learn::Answers).expect("tokenised");
        let learnt: Vec<u32> = document
            .tokens
            .iter()
            .zip(&document.learned)
            .filter(|(_, learned)| **learned)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(learnt.last().copied(), tokenizer.end_of_text());
        assert_eq!(tokenizer.decode(&learnt).expect("decoded"), " Hello!");
        let all = tokenizer.decode(&document.tokens).expect("decoded");
        assert_eq!(all, render(&chat()).trim_end());
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
