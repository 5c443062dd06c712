//! Tokenization of conversations in the plain template ([`super::chat::JINJA`]).
//!
//! Rule: each part of a message is tokenized on its own, so no token spans text with and without loss.

use super::{
    chat::{Chat, Message},
    document::Document,
    tokenizer::Tokenizer,
};
use crate::{failure::Failure, spec::Learn};

/// Tokenizes `chat`; `learn` selects which messages, and the end-of-text tokens after answers, contribute to the
/// loss.
pub(super) fn tokenize(chat: &Chat, tokenizer: &Tokenizer, learn: Learn) -> Result<Document, Failure> {
    let mut document = Document {
        tokens: Vec::new(),
        loss_mask: Vec::new(),
        splittable: false,
    };
    let mut add = |tokens: Vec<u32>, loss_mask: bool| {
        document
            .loss_mask
            .extend(std::iter::repeat_n(loss_mask, tokens.len()));
        document.tokens.extend(tokens);
    };
    let last = chat.messages.iter().rposition(Message::is_answer);
    let contributes = |index: usize, message: &Message| match learn {
        Learn::Answers => message.is_answer(),
        Learn::LastAnswer => Some(index) == last,
        Learn::Everything => true,
    };
    for (index, message) in chat.messages.iter().enumerate() {
        let has_loss = contributes(index, message);
        // Tokenized separately, so that no token spans text with and without loss.
        let separator = if index == 0 { "" } else { "\n" };
        add(
            tokenizer.encode(&format!("{separator}{}", message.marker()))?,
            learn == Learn::Everything,
        );
        add(tokenizer.encode(&format!(" {}", message.content))?, has_loss);
        if message.is_answer() {
            add(tokenizer.eos_token().into_iter().collect(), has_loss);
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::chat::{parse, render};

    #[test]
    fn only_answers_and_their_ends_are_learnt() {
        let chat = parse(
            r#"{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye"}]}"#,
        )
        .expect("a conversation");
        let tokenizer = Tokenizer::train([render(&chat)].into_iter(), 300).expect("trained");
        let document = tokenize(&chat, &tokenizer, Learn::Answers).expect("tokenised");
        let has_loss: Vec<u32> = document
            .tokens
            .iter()
            .zip(&document.loss_mask)
            .filter(|(_, loss_mask)| **loss_mask)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(has_loss.last().copied(), tokenizer.eos_token());
        assert_eq!(tokenizer.decode(&has_loss).expect("decoded"), " Hello!");
        let all = tokenizer.decode(&document.tokens).expect("decoded");
        assert_eq!(all, render(&chat).trim_end());
    }
}
