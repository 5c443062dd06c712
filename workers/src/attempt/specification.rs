//! From the domain's specification to the training engine's.
//!
//! One rule: every field is named on both sides, so that a new one does not get lost in between.

use domain::{
    datasets::format::Format,
    jobs::spec::{
        Adam, Architecture, ChatTemplate, EarlyStopping, HyperParameters, Learn, Lora, LoraBias, Method,
        Objective, Outputs, Precision, Schedule, TrainingSpec,
    },
};
use ml::{data::source::DatasetFormat, spec as engine};

use super::outcome::AttemptOutcome;

/// The engine's words for `spec`.
pub(super) fn translated(spec: &TrainingSpec) -> engine::TrainingSpec {
    let (method, architecture, lora) = match &spec.method {
        Method::Scratch(shape) => (engine::Method::Scratch, Some(shaped(shape)), None),
        Method::Lora(lora) => (engine::Method::Lora, None, Some(adapted(lora))),
        Method::Full => (engine::Method::Full, None, None),
    };
    engine::TrainingSpec {
        method,
        architecture,
        lora,
        objective: learnt(&spec.objective),
        hyperparameters: tuned(&spec.parameters),
    }
}

/// What the engine shall write besides the result.
pub(super) fn outputs(spec: &TrainingSpec) -> ml::job::Outputs {
    let Outputs { merged } = spec.outputs;
    ml::job::Outputs { merged }
}

/// The engine's word for a dataset's format.
///
/// # Errors
/// When the engine cannot read it.
pub(super) fn format(format: Format) -> Result<DatasetFormat, AttemptOutcome> {
    match format {
        Format::PlainText => Ok(DatasetFormat::Text),
        Format::Chat => Ok(DatasetFormat::Chat),
        Format::PromptCompletion => Ok(DatasetFormat::PromptCompletion),
        Format::Alpaca => Ok(DatasetFormat::Alpaca),
        Format::ShareGpt => Ok(DatasetFormat::Sharegpt),
        other => Err(AttemptOutcome::failed(
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
        use_rslora,
        bias,
        modules_to_save,
    } = lora.clone();
    engine::LoraSettings {
        rank,
        alpha,
        dropout,
        target_modules,
        use_rslora,
        bias: match bias {
            LoraBias::None => engine::LoraBias::None,
            LoraBias::All => engine::LoraBias::All,
            LoraBias::LoraOnly => engine::LoraBias::LoraOnly,
        },
        modules_to_save,
    }
}

fn learnt(objective: &Objective) -> engine::Objective {
    let Objective { learn, chat_template } = objective.clone();
    engine::Objective {
        learn: match learn {
            Learn::Answers => engine::Learn::Answers,
            Learn::LastAnswer => engine::Learn::LastAnswer,
            Learn::Everything => engine::Learn::Everything,
        },
        chat_template: match chat_template {
            ChatTemplate::Plain => engine::ChatTemplate::Plain,
            ChatTemplate::Model => engine::ChatTemplate::Model,
            ChatTemplate::Named(name) => engine::ChatTemplate::Named(name),
            ChatTemplate::Custom(source) => engine::ChatTemplate::Custom(source),
        },
    }
}

fn tuned(given: &HyperParameters) -> engine::Hyperparameters {
    let HyperParameters {
        steps,
        epochs,
        batch_size,
        gradient_accumulation,
        learning_rate,
        schedule,
        minimum_share,
        warmup_steps,
        warmup_ratio,
        weight_decay,
        adam,
        clip_norm,
        sequence_length,
        packing,
        precision,
        evaluation_share,
        evaluate_every,
        early_stopping,
        keep_best,
        checkpoint_every,
        seed,
        sample_prompt,
        sample_tokens,
        sample_every,
    } = given.clone();
    engine::Hyperparameters {
        steps: epochs.is_none().then_some(steps),
        epochs,
        batch_size,
        gradient_accumulation,
        learning_rate,
        schedule: engine_schedule(schedule),
        minimum_share,
        warmup_steps: warmup_ratio.is_none().then_some(warmup_steps),
        warmup_ratio,
        weight_decay,
        adam: engine_adam(adam),
        clip_norm,
        sequence_length,
        packing,
        precision: engine_precision(precision),
        eval_fraction: evaluation_share,
        eval_every: evaluate_every,
        early_stopping: early_stopping.map(engine_early_stopping),
        keep_best,
        checkpoint_every,
        seed,
        sample_prompt,
        sample_tokens,
        sample_every,
    }
}

fn engine_schedule(schedule: Schedule) -> engine::Schedule {
    match schedule {
        Schedule::Constant => engine::Schedule::Constant,
        Schedule::Linear => engine::Schedule::Linear,
        Schedule::Cosine => engine::Schedule::Cosine,
    }
}

fn engine_adam(adam: Adam) -> engine::Adam {
    let Adam {
        beta_1,
        beta_2,
        epsilon,
    } = adam;
    engine::Adam {
        beta_1,
        beta_2,
        epsilon,
    }
}

fn engine_precision(precision: Precision) -> engine::Precision {
    match precision {
        Precision::F32 => engine::Precision::F32,
        Precision::Bf16 => engine::Precision::Bf16,
    }
}

fn engine_early_stopping(early_stopping: EarlyStopping) -> engine::EarlyStopping {
    let EarlyStopping { patience, min_delta } = early_stopping;
    engine::EarlyStopping { patience, min_delta }
}

#[cfg(test)]
mod tests {
    use domain::jobs::spec::{
        Architecture, EarlyStopping, HyperParameters, Lora, Method, Objective, Outputs, TrainingSpec,
    };

    use super::translated;

    fn named(spec: &TrainingSpec) -> Vec<String> {
        let problems = translated(spec).validate().into_iter();
        problems
            .map(|problem| format!("{} {}", problem.field, problem.message))
            .collect()
    }

    /// JB-1: what the domain accepts, the engine accepts: defaults, and what excludes each other's defaults.
    #[test]
    fn settings_that_are_valid_here_are_valid_on_the_other_side() {
        let shape = Architecture {
            layers: 2,
            heads: 2,
            width: 64,
            context: 128,
            vocabulary: 512,
        };
        let tuned = HyperParameters {
            steps: 0,
            epochs: Some(2.5),
            warmup_steps: 0,
            warmup_ratio: Some(0.1),
            packing: true,
            early_stopping: Some(EarlyStopping {
                patience: 2,
                min_delta: 0.0,
            }),
            keep_best: true,
            ..HyperParameters::default()
        };
        for method in [
            Method::Scratch(shape),
            Method::Lora(Lora::default()),
            Method::Full,
        ] {
            for parameters in [HyperParameters::default(), tuned.clone()] {
                let spec = TrainingSpec {
                    outputs: Outputs::default(),
                    method: method.clone(),
                    objective: Objective::default(),
                    parameters,
                };
                assert_eq!(spec.validate(), Ok(()));
                assert_eq!(named(&spec), Vec::<String>::new());
            }
        }
    }

    /// JB-1: at the ends of what may be ordered both sides agree, so that nothing is refused after it was queued.
    #[test]
    fn shapes_at_both_ends_are_valid_on_both_sides() {
        let shape = |layers, heads, width, context, vocabulary| Architecture {
            layers,
            heads,
            width,
            context,
            vocabulary,
        };
        let with = |shape: Architecture| TrainingSpec {
            method: Method::Scratch(shape),
            objective: Objective::default(),
            parameters: HyperParameters {
                sequence_length: shape.context.min(128),
                ..HyperParameters::default()
            },
            outputs: Outputs::default(),
        };
        for whole in [shape(1, 1, 16, 16, 260), shape(48, 64, 2_048, 4_096, 65_536)] {
            assert_eq!(with(whole).validate(), Ok(()));
            assert_eq!(named(&with(whole)), Vec::<String>::new());
        }
        for beyond in [
            shape(49, 1, 16, 16, 260),
            shape(1, 65, 65 * 16, 16, 260),
            shape(1, 1, 2_049, 16, 260),
            shape(1, 1, 16, 4_097, 260),
            shape(1, 1, 16, 16, 65_537),
        ] {
            let problems = with(beyond).validate().expect_err("too large").0;
            assert_eq!((problems.len(), named(&with(beyond)).len()), (1, 1), "{beyond:?}");
        }
    }

    /// MO-2: a job that was recorded before there were more settings is the same training as then.
    #[test]
    fn a_job_of_an_earlier_version_is_the_same_training() {
        let spec = TrainingSpec {
            outputs: Outputs::default(),
            method: Method::Full,
            objective: Objective::default(),
            parameters: HyperParameters::default(),
        };
        let json = serde_json::to_value(translated(&spec)).expect("encoded");
        let object = json["hyperparameters"].as_object().expect("an object");
        assert_eq!(object.len(), 15, "{object:?}");
        assert_eq!(json.get("objective"), None);
    }
}
