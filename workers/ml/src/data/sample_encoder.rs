//! Tokenizes samples and selects the tokens that contribute to the loss.
//!
//! Rule: every sample that is skipped or truncated is counted ([`SampleStats`]), with the reason of the first.

use std::{collections::BTreeMap, ops::Range};

use super::{
    chat::{self, Chat},
    document::Document,
    formats::Pair,
    plain_chat,
    template::{RenderError, Template, template_error},
    tokenizer::Tokenizer,
};
use crate::{
    failure::Failure,
    spec::{ChatTemplate, Learn, Objective},
};

/// Tokenizes samples.
#[derive(Debug)]
pub struct SampleEncoder<'a> {
    tokenizer: &'a Tokenizer,
    /// `None` is the plain template.
    template: Option<Template>,
    /// Texts of the special tokens.
    special: Vec<String>,
    learn: Learn,
    /// Maximum tokens of a sample: a sequence and the token after it.
    limit: usize,
}

/// The prompt of a generated sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// As text.
    pub text: String,
    /// As tokens.
    pub tokens: Vec<u32>,
}

/// How many samples were used, truncated and skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleStats {
    /// All samples.
    pub total: usize,
    /// Samples that were truncated to the sequence length.
    pub truncated: usize,
    /// Samples that were skipped, by reason: their number and the details of the first.
    pub skipped: BTreeMap<&'static str, (usize, String)>,
}

impl SampleStats {
    /// Number of skipped samples.
    #[must_use]
    pub fn skipped_count(&self) -> usize {
        self.skipped.values().map(|(count, _)| count).sum()
    }

    /// Counts a skipped sample.
    pub fn skip(&mut self, kind: &'static str, reason: String) {
        self.skipped.entry(kind).or_insert((0, reason)).0 += 1;
    }

    /// Warnings for the job's log; empty when every sample is used in full.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.truncated > 0 {
            lines.push(format!(
                "{} of {} samples are longer than the sequence length and were truncated; raise \
                 sequence_length to use them in full",
                self.truncated, self.total
            ));
        }
        for (kind, (count, reason)) in &self.skipped {
            let why = if reason.is_empty() {
                String::new()
            } else {
                format!(" (first: {reason})")
            };
            lines.push(format!(
                "{count} of {} samples were skipped: {kind}{why}",
                self.total
            ));
        }
        lines
    }
}

impl<'a> SampleEncoder<'a> {
    /// An encoder of samples of at most `limit` tokens for the base model of `tokenizer`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::ChatTemplateInvalid`] when the requested template does not exist or is not
    /// valid Jinja.
    pub fn new(tokenizer: &'a Tokenizer, objective: &Objective, limit: usize) -> Result<Self, Failure> {
        Ok(Self {
            tokenizer,
            template: resolve_template(tokenizer, &objective.chat_template)?,
            special: tokenizer.special_tokens(),
            learn: objective.learn,
            limit,
        })
    }

    /// The prompt for an answer to the user's `question`.
    ///
    /// # Errors
    /// When the template rejects a single question.
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
            RenderError::Template(failure) => failure,
            RenderError::Conversation(reason) => template_error(template.name(), &reason),
        })?;
        let tokens = self
            .tokenizer
            .encode_rendered(&rendered.text, &rendered.literal)?;
        Ok(Prompt {
            text: rendered.text,
            tokens: tokens.into_iter().map(|(id, _)| id).collect(),
        })
    }

    /// The tokens of a conversation; `None` when it is skipped.
    ///
    /// # Errors
    /// When the template is invalid.
    pub fn conversation(&self, chat: &Chat, stats: &mut SampleStats) -> Result<Option<Document>, Failure> {
        let document = match &self.template {
            None => plain_chat::tokenize(chat, self.tokenizer, self.learn)?,
            Some(template) => match self.encode_with_template(chat, template) {
                Ok(document) => document,
                Err(RenderError::Template(failure)) => return Err(failure),
                Err(RenderError::Conversation(reason)) => {
                    stats.total += 1;
                    stats.skip("the chat template rejects them", reason);
                    return Ok(None);
                }
            },
        };
        Ok(self.truncate(document, stats))
    }

    /// The tokens of a prompt with its completion; `None` when it is skipped.
    ///
    /// # Errors
    /// An internal failure of the tokenizer.
    pub fn pair(&self, pair: &Pair, stats: &mut SampleStats) -> Result<Option<Document>, Failure> {
        let mut tokens = self.tokenizer.start().to_vec();
        let prompt_is_first = tokens.is_empty();
        tokens.extend(self.tokenizer.encode(&pair.prompt)?);
        let given = tokens.len();
        // Tokenized separately, so the prompt's tokens are the same as at inference.
        tokens.extend(if prompt_is_first && pair.prompt.is_empty() {
            self.tokenizer.encode(&pair.completion)?
        } else {
            self.tokenizer.encode_continuation(&pair.completion)?
        });
        self.tokenizer.end(&mut tokens);
        let everything = self.learn == Learn::Everything;
        let loss_mask = (0..tokens.len()).map(|place| everything || place >= given);
        let document = Document {
            loss_mask: loss_mask.collect(),
            tokens,
            splittable: false,
        };
        Ok(self.truncate(document, stats))
    }

    /// Truncates `document` to the limit and counts it.
    fn truncate(&self, mut document: Document, stats: &mut SampleStats) -> Option<Document> {
        stats.total += 1;
        if document.tokens.len() < 2 {
            stats.skip("they have fewer than two tokens", String::new());
            return None;
        }
        // The first token is never predicted.
        document.loss_mask[0] = false;
        if !document.loss_mask.contains(&true) {
            stats.skip("no token contributes to the loss", String::new());
            return None;
        }
        if document.tokens.len() > self.limit {
            document.tokens.truncate(self.limit);
            document.loss_mask.truncate(self.limit);
            if !document.loss_mask.contains(&true) {
                stats.skip(
                    "the tokens to train on begin after the sequence length",
                    String::new(),
                );
                return None;
            }
            stats.truncated += 1;
        }
        Some(document)
    }

    fn encode_with_template(&self, chat: &Chat, template: &Template) -> Result<Document, RenderError> {
        let whole = template.render(&chat.messages, false)?;
        let parts = if self.learn == Learn::Everything {
            std::iter::once(0..whole.text.len()).collect()
        } else if template.has_generation_blocks() {
            whole.generated.clone()
        } else {
            self.answers_by_prefix(chat, template, &whole.text)?
        };
        let parts = match (self.learn, parts.last()) {
            (Learn::LastAnswer, Some(last)) => vec![last.clone()],
            _ => parts,
        };
        let tokens = self
            .tokenizer
            .encode_rendered(&whole.text, &whole.literal)
            .map_err(RenderError::Template)?;
        let overlaps = |place: &Range<usize>| {
            let after = parts.partition_point(|part| part.end <= place.start);
            parts.get(after).is_some_and(|part| part.start < place.end)
        };
        Ok(Document {
            loss_mask: tokens.iter().map(|(_, place)| overlaps(place)).collect(),
            tokens: tokens.into_iter().map(|(id, _)| id).collect(),
            splittable: false,
        })
    }

    /// The byte ranges of the answers in `whole`: what each adds to the rendering of the conversation before it plus
    /// the beginning of an answer.
    fn answers_by_prefix(
        &self,
        chat: &Chat,
        template: &Template,
        whole: &str,
    ) -> Result<Vec<Range<usize>>, RenderError> {
        let mut parts = Vec::new();
        for (index, message) in chat.messages.iter().enumerate() {
            if !message.is_answer() {
                continue;
            }
            let through = template.render(&chat.messages[..=index], false)?.text;
            // Many templates reject an empty conversation.
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
                return Err(RenderError::Template(template_error(
                    template.name(),
                    &format!(
                        "its output for the first {} messages is not a prefix of its output for the whole conversation, so \
                         answers cannot be located; put {{% generation %}} … {{% endgeneration %}} around \
                         answers in it, or set objective.learn to everything",
                        index + 1
                    ),
                )));
            }
            parts.push(start.len()..self.answer_end(&through));
        }
        Ok(parts)
    }

    /// The end of the last answer in `through`, at its end-of-turn token; whitespace after that belongs to no
    /// message.
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

/// The template that `wanted` selects for the model of `tokenizer`; `None` is the plain template.
fn resolve_template(tokenizer: &Tokenizer, wanted: &ChatTemplate) -> Result<Option<Template>, Failure> {
    let settings = tokenizer.config();
    let (name, source) = match wanted {
        ChatTemplate::Plain => return Ok(None),
        ChatTemplate::Custom(source) => ("of the specification".to_owned(), source.clone()),
        ChatTemplate::Model => match settings.templates()?.remove("default") {
            // Models that this engine has trained from scratch name the plain template.
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
                template_error(
                    name,
                    &format!("the base model has no template of that name; {known}"),
                )
            })?;
            (name.clone(), source)
        }
    };
    Template::new(&name, &source, settings.tokens(), tokenizer.special_tokens()).map(Some)
}

#[cfg(test)]
mod tests;
