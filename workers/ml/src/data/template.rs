//! Chat templates: Jinja, rendered as by `transformers`, with untrusted messages.
//!
//! Rule: templates are untrusted programs. They have no access to files or the clock, a limited number of
//! instructions, limited output and, in a training process, limited memory and time ([`watchdog`]); their output is a
//! pure function of the messages.

mod environment;
mod error;
mod markers;
pub mod watchdog;

use std::{collections::BTreeMap, io};

use minijinja::{Environment, ErrorKind, context};

use self::markers::ContentMarkers;
pub use self::{
    error::{RenderError, template_error},
    markers::Rendered,
};
use super::chat::Message;
use crate::failure::Failure;

/// Bytes that a template may add to those of the messages.
const MAX_ADDED_BYTES: usize = 1 << 20;
/// How often a template may repeat the messages.
const MAX_REPETITIONS: usize = 16;

/// A compiled chat template.
#[derive(Debug)]
pub struct Template {
    name: String,
    environment: Environment<'static>,
    special: BTreeMap<&'static str, String>,
    marks: ContentMarkers,
    has_generation_blocks: bool,
}

impl Template {
    /// Compiles `source`, which errors call `name`. `special` are the tokens that the template can refer to by name,
    /// `tokens` the texts of all special tokens.
    ///
    /// # Errors
    /// [`FailureCode::ChatTemplateInvalid`](crate::failure::FailureCode::ChatTemplateInvalid) with the position of a
    /// syntax error.
    pub fn new(
        name: &str,
        source: &str,
        special: BTreeMap<&'static str, String>,
        tokens: Vec<String>,
    ) -> Result<Self, Failure> {
        let (source, has_generation_blocks) = markers::mark_generation_blocks(source);
        let environment = environment::of(source)
            .map_err(|error| template_error(name, &format!("it is not a valid template: {error:#}")))?;
        watchdog::set_template_name(name);
        Ok(Self {
            name: name.to_owned(),
            environment,
            special,
            marks: ContentMarkers::new(tokens),
            has_generation_blocks,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it marks the assistant's text (`{% generation %}`).
    #[must_use]
    pub fn has_generation_blocks(&self) -> bool {
        self.has_generation_blocks
    }

    /// Renders `messages`, followed by the beginning of an answer where `answer_follows`.
    ///
    /// # Errors
    /// Whether the messages or the template are the cause, and the reason.
    pub fn render(&self, messages: &[Message], answer_follows: bool) -> Result<Rendered, RenderError> {
        let plain: Vec<_> = messages
            .iter()
            .map(|message| {
                context! { role => &message.role, content => self.marks.escape_special_tokens(&message.content) }
            })
            .collect();
        let given: usize = messages.iter().map(|message| message.content.len()).sum();
        let variables = context! {
            messages => plain, add_generation_prompt => answer_follows, tools => (), documents => (),
            ..minijinja::Value::from_pairs(self.special.clone())
        };
        let mut output = BoundedWriter {
            text: Vec::new(),
            remaining: MAX_ADDED_BYTES + MAX_REPETITIONS * given,
            full: false,
        };
        let template = self
            .environment
            .get_template(environment::NAME)
            .map_err(|error| RenderError::Template(template_error(&self.name, &error.to_string())))?;
        let _rendering = watchdog::RenderGuard::begin();
        match template.render_captured_to(variables, &mut output) {
            Ok(_) => String::from_utf8(output.text)
                .map(|text| markers::read(&text))
                .map_err(|error| {
                    RenderError::Template(Failure::internal("read what a template wrote", error))
                }),
            Err(_) if output.full => Err(RenderError::Template(template_error(
                &self.name,
                &format!(
                    "it writes more than {MAX_REPETITIONS} times the messages plus {MAX_ADDED_BYTES} bytes"
                ),
            ))),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    fn refusal(&self, error: &minijinja::Error) -> RenderError {
        if let Some(reason) = environment::raised(error) {
            return RenderError::Conversation(format!("the chat template {} says: {reason}", self.name));
        }
        RenderError::Template(match error.kind() {
            ErrorKind::OutOfFuel => template_error(
                &self.name,
                &format!(
                    "it takes more than {} instructions for one conversation",
                    environment::FUEL
                ),
            ),
            _ => template_error(&self.name, &error.to_string()),
        })
    }
}

/// Accepts a limited number of bytes.
struct BoundedWriter {
    text: Vec<u8>,
    remaining: usize,
    full: bool,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.remaining {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
