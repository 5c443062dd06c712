//! From samples to tokens, with what is learnt of them.
//!
//! Rule: no sample is left out or cut without being counted ([`Tally`]), with the reason of the first.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Document,
    chat::{self, Chat},
    formats::Pair,
    template::{Refusal, Template, at_fault},
    tokenizer::Tokenizer,
};
use crate::{
    failure::Failure,
    spec::{ChatTemplate, Learn, Objective},
};

/// How samples become tokens.
#[derive(Debug)]
pub struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    /// `None` is the plain one.
    template: Option<Template>,
    /// The texts of special tokens.
    special: Vec<String>,
    learn: Learn,
    /// Tokens of a sample that are looked at: a sequence and the token after it.
    limit: usize,
}

/// What a sample continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// As text.
    pub text: String,
    /// As tokens.
    pub tokens: Vec<u32>,
}

/// What became of the samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples met.
    pub met: usize,
    /// Samples cut to the sequence length.
    pub cut: usize,
    /// Samples left out, by the kind of reason, each with how many and the first one's own words.
    pub left_out: BTreeMap<&'static str, (usize, String)>,
}

impl Tally {
    /// Samples left out.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.left_out.values().map(|(count, _)| count).sum()
    }

    /// Counts one left out.
    pub fn leave_out(&mut self, kind: &'static str, reason: String) {
        self.left_out.entry(kind).or_insert((0, reason)).0 += 1;
    }

    /// What a log should say; empty when every sample was taken whole.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.cut > 0 {
            lines.push(format!(
                "{} of {} samples are longer than the sequence length and were cut at their ends; raise \
                 sequence_length to keep them whole",
                self.cut, self.met
            ));
        }
        for (kind, (count, reason)) in &self.left_out {
            let why = if reason.is_empty() {
                String::new()
            } else {
                format!(" (the first: {reason})")
            };
            lines.push(format!(
                "{count} of {} samples were left out: {kind}{why}",
                self.met
            ));
        }
        lines
    }
}

impl<'a> Writer<'a> {
    /// A writer of samples of at most `limit` tokens for the base model of `tokenizer`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::ChatTemplateInvalid`] when the template asked for is not there or no Jinja.
    pub fn new(tokenizer: &'a Tokenizer, objective: &Objective, limit: usize) -> Result<Self, Failure> {
        Ok(Self {
            tokenizer,
            template: chosen(tokenizer, &objective.chat_template)?,
            special: tokenizer.special_tokens(),
            learn: objective.learn,
            limit,
        })
    }

    /// What a model continues to answer the user's `question`.
    ///
    /// # Errors
    /// When the template does not take a single question.
    pub fn question(&self, question: &str) -> Result<Prompt, Failure> {
        let asked = [chat::Message {
            role: "user".to_owned(),
            content: question.to_owned(),
        }];
        let Some(template) = &self.template else {
            let text = chat::prompt(&asked);
            let tokens = self.tokenizer.encode(&text)?;
            return Ok(Prompt { text, tokens });
        };
        let rendered = template.render(&asked, true).map_err(|refusal| match refusal {
            Refusal::Template(failure) => failure,
            Refusal::Conversation(reason) => at_fault(template.name(), &reason),
        })?;
        let tokens = self.tokenizer.encode_written(&rendered.text, &rendered.literal)?;
        Ok(Prompt {
            text: rendered.text,
            tokens: tokens.into_iter().map(|(id, _)| id).collect(),
        })
    }

    /// The tokens of a conversation, or `None` when it is left out.
    ///
    /// # Errors
    /// When the template is at fault.
    pub fn conversation(&self, chat: &Chat, tally: &mut Tally) -> Result<Option<Document>, Failure> {
        let document = match &self.template {
            None => chat::tokenise(chat, self.tokenizer, self.learn)?,
            Some(template) => match self.written(chat, template) {
                Ok(document) => document,
                Err(Refusal::Template(failure)) => return Err(failure),
                Err(Refusal::Conversation(reason)) => {
                    tally.met += 1;
                    tally.leave_out("the chat template refuses them", reason);
                    return Ok(None);
                }
            },
        };
        Ok(self.kept(document, tally))
    }

    /// The tokens of a prompt with its completion, or `None` when it is left out.
    ///
    /// # Errors
    /// An internal failure of the tokenizer.
    pub fn pair(&self, pair: &Pair, tally: &mut Tally) -> Result<Option<Document>, Failure> {
        let mut tokens = self.tokenizer.start().to_vec();
        let prompt_is_first = tokens.is_empty();
        tokens.extend(self.tokenizer.encode(&pair.prompt)?);
        let given = tokens.len();
        // As at the time of use, the prompt's tokens are the same whatever follows.
        tokens.extend(if prompt_is_first && pair.prompt.is_empty() {
            self.tokenizer.encode(&pair.completion)?
        } else {
            self.tokenizer.encode_following(&pair.completion)?
        });
        self.tokenizer.end(&mut tokens);
        let everything = self.learn == Learn::Everything;
        let learned = (0..tokens.len()).map(|place| everything || place >= given);
        let document = Document {
            learned: learned.collect(),
            tokens,
            cut_anywhere: false,
        };
        Ok(self.kept(document, tally))
    }

    /// Cuts `document` to the limit and counts it.
    fn kept(&self, mut document: Document, tally: &mut Tally) -> Option<Document> {
        tally.met += 1;
        if document.tokens.len() < 2 {
            tally.leave_out("they have fewer than two tokens", String::new());
            return None;
        }
        // The first token is given, never predicted.
        document.learned[0] = false;
        if !document.learned.contains(&true) {
            tally.leave_out("nothing in them is to be learnt", String::new());
            return None;
        }
        if document.tokens.len() > self.limit {
            document.tokens.truncate(self.limit);
            document.learned.truncate(self.limit);
            if !document.learned.contains(&true) {
                tally.leave_out(
                    "what is to be learnt begins after the sequence length",
                    String::new(),
                );
                return None;
            }
            tally.cut += 1;
        }
        Some(document)
    }

    fn written(&self, chat: &Chat, template: &Template) -> Result<Document, Refusal> {
        let whole = template.render(&chat.messages, false)?;
        let parts = if self.learn == Learn::Everything {
            std::iter::once(0..whole.text.len()).collect()
        } else if template.says_what_is_generated() {
            whole.generated.clone()
        } else {
            self.by_prefixes(chat, template, &whole.text)?
        };
        let parts = match (self.learn, parts.last()) {
            (Learn::LastAnswer, Some(last)) => vec![last.clone()],
            _ => parts,
        };
        let tokens = self
            .tokenizer
            .encode_written(&whole.text, &whole.literal)
            .map_err(Refusal::Template)?;
        let overlaps = |place: &Range<usize>| {
            let after = parts.partition_point(|part| part.end <= place.start);
            parts.get(after).is_some_and(|part| part.start < place.end)
        };
        Ok(Document {
            learned: tokens.iter().map(|(_, place)| overlaps(place)).collect(),
            tokens: tokens.into_iter().map(|(id, _)| id).collect(),
            cut_anywhere: false,
        })
    }

    /// The answers in `whole` as what each adds to the conversation before it and the beginning of an answer.
    fn by_prefixes(
        &self,
        chat: &Chat,
        template: &Template,
        whole: &str,
    ) -> Result<Vec<Range<usize>>, Refusal> {
        let mut parts = Vec::new();
        for (index, message) in chat.messages.iter().enumerate() {
            if !message.is_answer() {
                continue;
            }
            let through = template.render(&chat.messages[..=index], false)?.text;
            // A first message has nothing before it, which many templates do not take.
            let before = |asked: bool| match index {
                0 => Ok(String::new()),
                _ => template
                    .render(&chat.messages[..index], asked)
                    .map(|rendered| rendered.text),
            };
            let (mut start, mut agrees) = (before(true)?, true);
            if !through.starts_with(&start) {
                start = before(false)?;
                agrees = through.starts_with(&start);
            }
            if !(agrees && whole.starts_with(&through)) {
                return Err(Refusal::Template(at_fault(
                    template.name(),
                    &format!(
                        "what it writes for the first {} messages is not how it begins the whole conversation, so \
                         answers cannot be told from questions; put {{% generation %}} … {{% endgeneration %}} around \
                         answers in it, or learn everything",
                        index + 1
                    ),
                )));
            }
            parts.push(start.len()..self.answer_end(&through));
        }
        Ok(parts)
    }

    /// The end of the last answer of `through`: what follows its end-of-turn token belongs to no one.
    fn answer_end(&self, through: &str) -> usize {
        let trimmed = through.trim_end();
        let ends_with_special = || {
            let mut tokens = self.special.iter();
            tokens.any(|token| !token.is_empty() && trimmed.ends_with(token.as_str()))
        };
        if trimmed.len() < through.len() && ends_with_special() {
            trimmed.len()
        } else {
            through.len()
        }
    }
}

/// The template that `wanted` means for the model of `tokenizer`; `None` is the plain one.
fn chosen(tokenizer: &Tokenizer, wanted: &ChatTemplate) -> Result<Option<Template>, Failure> {
    let settings = tokenizer.named();
    let (name, source) = match wanted {
        ChatTemplate::Plain => return Ok(None),
        ChatTemplate::Custom(source) => ("of the specification".to_owned(), source.clone()),
        ChatTemplate::Model => match settings.templates()?.remove("default") {
            // What this engine writes into its own models is the plain one.
            Some(source) if source != chat::JINJA => ("default".to_owned(), source),
            _ => return Ok(None),
        },
        ChatTemplate::Named(name) => {
            let mut templates = settings.templates()?;
            let source = templates.remove(name).ok_or_else(|| {
                let known: Vec<_> = templates.into_keys().collect();
                let known = if known.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("it has {}", known.join(", "))
                };
                at_fault(name, &format!("the base model has none of that name; {known}"))
            })?;
            (name.clone(), source)
        }
    };
    Template::new(&name, &source, settings.tokens(), tokenizer.special_tokens()).map(Some)
}

#[cfg(test)]
mod tests;
