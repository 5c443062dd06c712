//! The model of a run, its tokenizer and what of it is trained, before the dataset is tokenized.
//!
//! Rule: memory is checked before a model is loaded or created.

use burn::tensor::backend::{AutodiffBackend, Backend, BackendTypes};

use crate::{
    data::{source::Source, tokenizer::Tokenizer},
    failure::{Failure, FailureCode},
    job::JobFile,
    lora, memory,
    model::{
        config::{Gpt2Config, ModelConfig},
        folder::{self, ModelFolder},
        ops::precision::dtype_of,
    },
    parameters::ParameterSet,
    spec::{Architecture, Lora, Method, Precision, SpecProblems, memory::needs_with},
    tensor_file::TensorSpec,
    training::trainable::{Trainable, TrainingBackend},
};

/// A device of the backend that `B` differentiates.
pub(super) type DeviceOf<B> = <<B as AutodiffBackend>::InnerBackend as BackendTypes>::Device;

/// What is trained, before the dataset is tokenized.
pub(super) struct ModelSetup<B: TrainingBackend> {
    pub(super) trainable: Trainable<B>,
    pub(super) tokenizer: Tokenizer,
    pub(super) parameters: ParameterSet<B::InnerBackend>,
    /// The tensors of a checkpoint.
    pub(super) expected: Vec<TensorSpec>,
    /// Parameters of the whole model.
    pub(super) size: u64,
    /// SHA-256 of the base model; `None` from scratch.
    pub(super) base_hash: Option<String>,
}

impl<B: TrainingBackend> ModelSetup<B> {
    /// The model of `job`. A model from scratch uses the tokenizer `stored` in a checkpoint, or trains one on `sources`.
    pub(super) fn new(
        job: &JobFile,
        sources: &[Source],
        stored: Option<Tokenizer>,
        device: &DeviceOf<B>,
    ) -> Result<Self, Failure> {
        match &job.spec.method {
            Method::Scratch(architecture) => Self::from_scratch(job, architecture, sources, stored, device),
            Method::Full => Ok(Self::full(load_base::<B::InnerBackend>(job, device)?)),
            Method::Lora(settings) => {
                let base = load_base::<B::InnerBackend>(job, device)?;
                Self::lora(base, settings, job.spec.parameters.seed, device)
            }
        }
    }

    fn from_scratch(
        job: &JobFile,
        architecture: &Architecture,
        sources: &[Source],
        stored: Option<Tokenizer>,
        device: &DeviceOf<B>,
    ) -> Result<Self, Failure> {
        let tokenizer = match stored {
            Some(tokenizer) => tokenizer,
            None => train_tokenizer(sources, architecture.vocabulary as usize)?,
        };
        let config: ModelConfig =
            Gpt2Config::of(architecture, tokenizer.size(), tokenizer.eos_token()).into();
        check_memory(job, &config)?;
        let parameters = folder::initialize(&config, job.spec.parameters.seed, device);
        Ok(Self {
            expected: config.tensors(),
            size: parameters.count(),
            trainable: Trainable::FullModel { config },
            tokenizer,
            parameters,
            base_hash: None,
        })
    }

    fn full(base: ModelFolder<B::InnerBackend>) -> Self {
        Self {
            expected: base.config.tensors(),
            size: base.parameters.count(),
            trainable: Trainable::FullModel { config: base.config },
            tokenizer: base.tokenizer,
            parameters: base.parameters,
            base_hash: Some(base.sha256),
        }
    }

    fn lora(
        base: ModelFolder<B::InnerBackend>,
        settings: &Lora,
        seed: u64,
        device: &DeviceOf<B>,
    ) -> Result<Self, Failure> {
        let plan = lora::Plan::new(&base.config, settings)?;
        let parameters = lora::initialize(&plan, &base.parameters, &base.config, seed, device)?;
        Ok(Self {
            expected: plan.tensors(),
            size: base.parameters.count() + parameters.count(),
            trainable: Trainable::lora(base.config, settings.clone(), base.parameters)?,
            tokenizer: base.tokenizer,
            parameters,
            base_hash: Some(base.sha256),
        })
    }
}

fn train_tokenizer(sources: &[Source], size: usize) -> Result<Tokenizer, Failure> {
    let texts: Vec<String> = sources.iter().flat_map(Source::texts).collect();
    let lines = texts.iter().flat_map(|text| text.split_inclusive('\n'));
    Tokenizer::train(lines, size)
}

/// Loads the base model of `job`, after checking that the training fits it and that both fit into memory.
fn load_base<B: Backend>(job: &JobFile, device: &B::Device) -> Result<ModelFolder<B>, Failure> {
    let folder = job
        .base_model_dir
        .as_ref()
        .ok_or_else(|| Failure::new(FailureCode::SpecInvalid, "the job file names no base model"))?;
    let config = folder::config(folder)?;
    let problems = config.shape().misfits(&job.spec);
    if !problems.is_empty() {
        return Err(Failure::new(
            FailureCode::SpecInvalid,
            format!(
                "the training does not fit the base model: {}",
                SpecProblems(problems)
            ),
        ));
    }
    check_memory(job, &config)?;
    // Trained parameters are 32-bit floats; a frozen base has the precision of the computation.
    let precision = match job.spec.method {
        Method::Lora(_) => job.spec.parameters.precision,
        Method::Full | Method::Scratch(_) => Precision::F32,
    };
    folder::load_with_dtype::<B>(folder, dtype_of(precision), device)
}

/// Rejects a training that cannot fit into memory, before its model is loaded or created.
fn check_memory(job: &JobFile, config: &ModelConfig) -> Result<(), Failure> {
    let required = needs_with(&job.spec, &config.shape()).memory_bytes;
    match memory::available_bytes(job.device) {
        Some(available) => memory::check_fits(required, available),
        None => Ok(()),
    }
}
