//! The model card (Mitchell et al., arXiv:1810.03993, in the Hugging Face format): the origin of a model and its
//! evaluation.
//!
//! Rule: every line follows from the inputs; see [`super`].

use std::fmt::{Result as FmtResult, Write};

use super::lineage::Lineage;
use crate::{
    failure::Failure,
    job::JobFile,
    spec::Method,
    training::{Evaluation, Progress},
};

/// The model that a card describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The result of the training; for a new model with the name of its family.
    Result(&'static str),
    /// The base with the adapter merged into it.
    Merged,
}

/// The text of the card. `evaluations` are the first one and that of the result.
///
/// # Errors
/// An internal failure when the specification cannot be encoded.
pub(super) fn text(
    subject: Subject,
    job: &JobFile,
    progress: &Progress,
    evaluations: Option<(Evaluation, Evaluation)>,
    lineage: &Lineage,
) -> Result<String, Failure> {
    let mut card = String::new();
    let mut compose = || {
        write_header(&mut card, subject, job)?;
        write_result(&mut card, progress, evaluations)?;
        write_lineage(&mut card, progress, lineage)?;
        let spec = serde_json::to_string_pretty(&job.spec).map_err(|_| std::fmt::Error)?;
        writeln!(card, "\n## Specification\n\n```json\n{spec}\n```")
    };
    compose().map_err(|error| Failure::internal("write the model card", error))?;
    Ok(card)
}

/// Metadata, title and description.
fn write_header(card: &mut String, subject: Subject, job: &JobFile) -> FmtResult {
    let base = one_line(job.base_model_name.as_deref().unwrap_or("base"));
    let is_adapter = matches!(job.spec.method, Method::Lora(_)) && subject != Subject::Merged;
    card.push_str("---\n");
    if job.spec.method.needs_base() {
        writeln!(card, "base_model: {}", serde_json::Value::from(base.as_str()))?;
    }
    let library = if is_adapter { "peft" } else { "transformers" };
    writeln!(
        card,
        "library_name: {library}\npipeline_tag: text-generation\n---\n"
    )?;
    let title = one_line(job.model_name.as_deref().unwrap_or("model"));
    writeln!(card, "# {title}\n")?;
    if is_adapter {
        writeln!(card, "A LoRA adapter for `{base}`.\n")
    } else if job.spec.method == Method::Full {
        writeln!(card, "`{base}`, all of whose weights were trained further.\n")
    } else if let Subject::Result(family) = subject {
        writeln!(card, "A {family} trained from scratch, with its own tokenizer.\n")
    } else {
        writeln!(card, "`{base}` with a LoRA adapter merged into its weights.\n")
    }
}

fn write_result(
    card: &mut String,
    progress: &Progress,
    evaluations: Option<(Evaluation, Evaluation)>,
) -> FmtResult {
    card.push_str("## Result\n\n| | |\n| --- | --- |\n");
    writeln!(
        card,
        "| steps | {} |\n| tokens seen | {} |",
        progress.step, progress.tokens
    )?;
    if let Some(loss) = progress.loss {
        writeln!(card, "| training loss, last step | {loss:.4} |")?;
    }
    if let Some((first, last)) = evaluations {
        writeln!(
            card,
            "| held-out loss, before → after | {:.4} → {:.4} |",
            first.loss, last.loss
        )?;
        writeln!(card, "| held-out perplexity, after | {:.2} |", last.loss.exp())?;
    }
    Ok(())
}

fn write_lineage(card: &mut String, progress: &Progress, lineage: &Lineage) -> FmtResult {
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
    )
}

/// `name` with control characters and backticks replaced, so that it stays on one line.
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
