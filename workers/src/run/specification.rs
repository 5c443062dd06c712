//! From the domain's specification to the training engine's.
//!
//! One rule: every field is named on both sides, so that a new one does not get lost in between.

use domain::{
    datasets::format::Format,
    jobs::spec::{Architecture, HyperParameters, Lora, Method, Schedule, TrainingSpec},
};
use ml::{data::source::DatasetFormat, spec as engine};

use crate::end::End;

/// The engine's words for `spec`.
pub(super) fn translated(spec: &TrainingSpec) -> engine::TrainingSpec {
    let (method, architecture, lora) = match &spec.method {
        Method::Scratch(shape) => (engine::Method::Scratch, Some(shaped(shape)), None),
        Method::Lora(lora) => (engine::Method::Lora, None, Some(adapted(lora))),
    };
    engine::TrainingSpec {
        method,
        architecture,
        lora,
        objective: engine::Objective::default(),
        hyperparameters: tuned(&spec.parameters),
    }
}

/// The engine's word for a dataset's format.
///
/// # Errors
/// When the engine cannot read it.
pub(super) fn format(format: Format) -> Result<DatasetFormat, End> {
    match format {
        Format::PlainText => Ok(DatasetFormat::Text),
        Format::Chat => Ok(DatasetFormat::Chat),
        other => Err(End::failed(
            "FORMAT_UNSUPPORTED",
            format!(
                "datasets in the format {} cannot be trained on; upload the data as text or chat",
                other.name()
            ),
        )),
    }
}

fn shaped(shape: &Architecture) -> engine::Architecture {
    let Architecture {
        layers,
        heads,
        width,
        context,
        vocabulary,
    } = *shape;
    engine::Architecture {
        layers,
        heads,
        width,
        context,
        vocab_size: vocabulary,
    }
}

fn adapted(lora: &Lora) -> engine::LoraSettings {
    let Lora {
        rank,
        alpha,
        dropout,
        target_modules,
    } = lora.clone();
    engine::LoraSettings {
        rank,
        alpha,
        dropout,
        target_modules,
        ..engine::LoraSettings::default()
    }
}

fn tuned(given: &HyperParameters) -> engine::Hyperparameters {
    let HyperParameters {
        steps,
        batch_size,
        gradient_accumulation,
        learning_rate,
        schedule,
        warmup_steps,
        weight_decay,
        clip_norm,
        sequence_length,
        evaluation_share,
        evaluate_every,
        checkpoint_every,
        seed,
        sample_prompt,
        sample_tokens,
    } = given.clone();
    engine::Hyperparameters {
        steps: Some(steps),
        batch_size,
        gradient_accumulation,
        learning_rate,
        schedule: match schedule {
            Schedule::Constant => engine::Schedule::Constant,
            Schedule::Linear => engine::Schedule::Linear,
            Schedule::Cosine => engine::Schedule::Cosine,
        },
        warmup_steps: Some(warmup_steps),
        weight_decay,
        clip_norm,
        sequence_length,
        eval_fraction: evaluation_share,
        eval_every: evaluate_every,
        checkpoint_every,
        seed,
        sample_prompt,
        sample_tokens,
        ..engine::Hyperparameters::default()
    }
}

#[cfg(test)]
mod tests {
    use domain::jobs::spec::{Architecture, HyperParameters, Lora, Method, TrainingSpec};

    use super::translated;

    /// JB-1: what the domain accepts by default, the engine accepts.
    #[test]
    fn default_settings_are_valid_on_both_sides() {
        let shape = Architecture {
            layers: 2,
            heads: 2,
            width: 64,
            context: 128,
            vocabulary: 512,
        };
        let lora = Lora {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            target_modules: vec!["c_attn".to_owned()],
        };
        for method in [Method::Scratch(shape), Method::Lora(lora)] {
            let spec = TrainingSpec {
                method,
                parameters: HyperParameters::default(),
            };
            assert_eq!(spec.validate(), Ok(()));
            let problems = translated(&spec).validate();
            assert!(
                problems.is_empty(),
                "{:?}",
                problems
                    .iter()
                    .map(|problem| problem.field.clone())
                    .collect::<Vec<_>>()
            );
        }
    }
}
