//! Chat templates: Jinja, rendered as `transformers` renders it, over messages that nobody vouches for.
//!
//! Rule: a template is a stranger's program. It gets plain data, no files and no clock, a limited number of
//! instructions and a limited output, and in a training process limited memory and time ([`watch`]); what it writes is a pure function of the messages.

mod environment;
mod marks;
pub mod watch;

use std::{collections::BTreeMap, io};

use minijinja::{Environment, ErrorKind, context};

use super::chat::Message;
use crate::failure::{Failure, FailureCode};
use marks::Marks;
pub use marks::Rendered;

/// Bytes that a template may add to those of the messages.
const ADDED: usize = 1 << 20;
/// How often a template may repeat the messages.
const REPEATED: usize = 16;

/// A chat template ready to render.
#[derive(Debug)]
pub struct Template {
    name: String,
    environment: Environment<'static>,
    special: BTreeMap<&'static str, String>,
    marks: Marks,
    says_what_is_generated: bool,
}

/// Why a conversation was not rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The template does not take this conversation; the reason in its own words.
    Conversation(String),
    /// The template is at fault: it would go on for ever, write without end, or is in error.
    Template(Failure),
}

impl Template {
    /// The template `source`, called `name` in errors. `special` are the tokens that it knows by name, `tokens`
    /// the texts of all special ones.
    ///
    /// # Errors
    /// [`FailureCode::ChatTemplateInvalid`] with the place of what is no Jinja.
    pub fn new(
        name: &str,
        source: &str,
        special: BTreeMap<&'static str, String>,
        tokens: Vec<String>,
    ) -> Result<Self, Failure> {
        let (source, says_what_is_generated) = marks::with_generation_marked(source);
        let environment = environment::of(source)
            .map_err(|error| at_fault(name, &format!("it is no template: {error:#}")))?;
        watch::called(name);
        Ok(Self {
            name: name.to_owned(),
            environment,
            special,
            marks: Marks::new(tokens),
            says_what_is_generated,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it marks what the assistant generates (`{% generation %}`).
    #[must_use]
    pub fn says_what_is_generated(&self) -> bool {
        self.says_what_is_generated
    }

    /// `messages` as text, followed by the beginning of an answer where `answer_follows`.
    ///
    /// # Errors
    /// Whether the messages or the template are to blame, and why.
    pub fn render(&self, messages: &[Message], answer_follows: bool) -> Result<Rendered, Refusal> {
        let plain: Vec<_> = messages
            .iter()
            .map(|message| {
                context! { role => &message.role, content => self.marks.guarded(&message.content) }
            })
            .collect();
        let given: usize = messages.iter().map(|message| message.content.len()).sum();
        let variables = context! {
            messages => plain, add_generation_prompt => answer_follows, tools => (), documents => (),
            ..minijinja::Value::from_pairs(self.special.clone())
        };
        let mut output = Bounded {
            text: Vec::new(),
            room: ADDED + REPEATED * given,
            full: false,
        };
        let template = self
            .environment
            .get_template(environment::NAME)
            .map_err(|error| Refusal::Template(at_fault(&self.name, &error.to_string())))?;
        let _rendering = watch::Rendering::begin();
        match template.render_captured_to(variables, &mut output) {
            Ok(_) => String::from_utf8(output.text)
                .map(|text| marks::read(&text))
                .map_err(|error| Refusal::Template(Failure::internal("read what a template wrote", error))),
            Err(_) if output.full => Err(Refusal::Template(at_fault(
                &self.name,
                &format!("it writes more than {ADDED} bytes beside {REPEATED} times the messages"),
            ))),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    fn refusal(&self, error: &minijinja::Error) -> Refusal {
        if let Some(reason) = environment::raised(error) {
            return Refusal::Conversation(format!("the chat template {} says: {reason}", self.name));
        }
        Refusal::Template(match error.kind() {
            ErrorKind::OutOfFuel => at_fault(
                &self.name,
                &format!(
                    "it takes more than {} instructions for one conversation",
                    environment::FUEL
                ),
            ),
            _ => at_fault(&self.name, &error.to_string()),
        })
    }
}

pub(super) fn at_fault(name: &str, reason: &str) -> Failure {
    Failure::new(
        FailureCode::ChatTemplateInvalid,
        format!(
            "the chat template {name} cannot be used: {reason}; correct it, or set objective.chat_template to plain"
        ),
    )
}

/// Takes so many bytes and no more.
struct Bounded {
    text: Vec<u8>,
    room: usize,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.room {
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
