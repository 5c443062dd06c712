//! The model card (Mitchell et al., arXiv:1810.03993, in the Hugging Face form): where a model comes from and
//! how well it does.
//!
//! Rule: every line follows from the inputs; see [`super`].

use std::fmt::Write;

use super::Lineage;
use crate::{
    failure::Failure,
    job::JobFile,
    spec::Method,
    training::{Evaluation, checkpoint::Progress},
};

/// What a card is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The result of the training itself, with its family where it is a new model.
    Result(&'static str),
    /// The base with the adapter merged into it.
    Merged,
}

/// The text of the card.
///
/// # Errors
/// An internal failure when the specification cannot be encoded.
pub(super) fn text(
    subject: Subject,
    job: &JobFile,
    progress: &Progress,
    judged: Option<(Evaluation, Evaluation)>,
    lineage: &Lineage,
) -> Result<String, Failure> {
    let mut card = String::new();
    compose(&mut card, subject, job, progress, judged, lineage)
        .map_err(|error| Failure::internal("write the model card", error))?;
    Ok(card)
}

fn compose(
    card: &mut String,
    subject: Subject,
    job: &JobFile,
    progress: &Progress,
    judged: Option<(Evaluation, Evaluation)>,
    lineage: &Lineage,
) -> Result<(), std::fmt::Error> {
    let base = one_line(job.base_model_name.as_deref().unwrap_or("base"));
    let adapter = job.spec.method == Method::Lora && subject != Subject::Merged;
    card.push_str("---\n");
    if adapter {
        writeln!(
            card,
            "base_model: {}\nlibrary_name: peft",
            serde_json::Value::from(base.as_str())
        )?;
    } else {
        if job.spec.method.needs_base() {
            writeln!(card, "base_model: {}", serde_json::Value::from(base.as_str()))?;
        }
        card.push_str("library_name: transformers\n");
    }
    card.push_str("pipeline_tag: text-generation\n---\n\n");
    writeln!(
        card,
        "# {}\n",
        one_line(job.model_name.as_deref().unwrap_or("model"))
    )?;
    if adapter {
        writeln!(card, "A LoRA adapter for `{base}`.\n")?;
    } else if job.spec.method == Method::Full {
        writeln!(card, "`{base}`, all of whose weights were trained further.\n")?;
    } else if let Subject::Result(family) = subject {
        writeln!(card, "A {family} trained from scratch, with its own tokenizer.\n")?;
    } else {
        writeln!(card, "`{base}` with a LoRA adapter merged into its weights.\n")?;
    }
    card.push_str("## Result\n\n| | |\n| --- | --- |\n");
    writeln!(
        card,
        "| steps | {} |\n| tokens seen | {} |",
        progress.step, progress.tokens
    )?;
    if let Some(loss) = progress.loss {
        writeln!(card, "| training loss, last step | {loss:.4} |")?;
    }
    if let Some((first, last)) = judged {
        writeln!(
            card,
            "| held-out loss, before → after | {:.4} → {:.4} |",
            first.loss, last.loss
        )?;
        writeln!(card, "| held-out perplexity, after | {:.2} |", last.loss.exp())?;
    }
    card.push_str("\n## Lineage\n\n");
    for (index, hash) in lineage.dataset_hashes.iter().enumerate() {
        writeln!(card, "- dataset file {}: `sha256:{hash}`", index + 1)?;
    }
    if let Some(hash) = &lineage.base_hash {
        writeln!(card, "- base model: `sha256:{hash}`")?;
    }
    writeln!(
        card,
        "- engine: anneal {}\n- seed: {}",
        env!("CARGO_PKG_VERSION"),
        progress.seed
    )?;
    let spec = serde_json::to_string_pretty(&job.spec).map_err(|_| std::fmt::Error)?;
    writeln!(card, "\n## Specification\n\n```json\n{spec}\n```")
}

/// A name that cannot break out of its line.
fn one_line(name: &str) -> String {
    name.chars()
        .map(|letter| {
            if letter.is_control() || letter == '`' {
                ' '
            } else {
                letter
            }
        })
        .collect()
}
