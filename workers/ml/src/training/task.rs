//! What is trained: a whole network or an adapter on a frozen one.
//!
//! Rule: the loop knows only a set of parameters and the network over it; the two methods differ here alone.

use burn::tensor::{Tensor, backend::AutodiffBackend};
use rand_chacha::ChaCha8Rng;

use crate::{
    data::batch::Batch,
    failure::Failure,
    inference::Network,
    lora::{Adapter, AdapterPass, Plan},
    model::{
        CausalModel, Tokens,
        config::{HEAD, ModelConfig},
        ops::{TransformerGradients, TransformerOps},
    },
    parameters::ParameterSet,
    spec::LoraSettings,
};

/// A backend that differentiates networks.
pub trait TrainingBackend: AutodiffBackend<InnerBackend: TransformerGradients> + TransformerOps {}
impl<B: AutodiffBackend<InnerBackend: TransformerGradients> + TransformerOps> TrainingBackend for B {}

/// What is trained.
#[derive(Clone, Debug)]
pub enum Task<B: TrainingBackend> {
    /// All weights of a model, new or not.
    Whole {
        /// Its shape.
        config: ModelConfig,
    },
    /// An adapter.
    Lora {
        /// The base's shape.
        config: ModelConfig,
        /// The adapter's settings.
        settings: LoraSettings,
        /// What the adapter has on the base.
        plan: Plan,
        /// The frozen base, as constants of graphs.
        base: ParameterSet<B>,
        /// The frozen base, for evaluation (the same memory).
        plain_base: ParameterSet<B::InnerBackend>,
    },
}

impl<B: TrainingBackend> Task<B> {
    /// An adapter of `settings` on the model `weights`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::SpecInvalid`] with all that does not fit the model.
    pub fn lora(
        config: ModelConfig,
        settings: LoraSettings,
        weights: ParameterSet<B::InnerBackend>,
    ) -> Result<Self, Failure> {
        Ok(Self::Lora {
            plan: Plan::new(&config, &settings)?,
            config,
            settings,
            base: ParameterSet::constants(&weights),
            plain_base: weights,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        match self {
            Self::Whole { config } | Self::Lora { config, .. } => config,
        }
    }

    /// Whether the output matrix learns.
    #[must_use]
    pub fn head_learns(&self) -> bool {
        match self {
            Self::Whole { .. } => true,
            Self::Lora { plan, .. } => plan.copies(HEAD),
        }
    }

    /// The share of an adapter's inputs that is dropped.
    #[must_use]
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Whole { .. } => 0.0,
            Self::Lora { settings, .. } => settings.dropout,
        }
    }

    /// The network over the leaves of a graph.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn differentiable(&self, leaves: &ParameterSet<B>) -> Result<Network<B>, Failure> {
        match self {
            Self::Whole { config } => whole(config, leaves),
            Self::Lora {
                config, plan, base, ..
            } => adapted(config, plan, base, leaves),
        }
    }

    /// The network for evaluation and generation.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn plain(
        &self,
        parameters: &ParameterSet<B::InnerBackend>,
    ) -> Result<Network<B::InnerBackend>, Failure> {
        match self {
            Self::Whole { config } => whole(config, parameters),
            Self::Lora {
                config,
                plan,
                plain_base,
                ..
            } => adapted(config, plan, plain_base, parameters),
        }
    }
}

fn whole<B: TransformerOps>(
    config: &ModelConfig,
    parameters: &ParameterSet<B>,
) -> Result<Network<B>, Failure> {
    Ok(Network {
        model: CausalModel::new(config, parameters)?,
        adapter: None,
    })
}

fn adapted<B: TransformerOps>(
    config: &ModelConfig,
    plan: &Plan,
    base: &ParameterSet<B>,
    parameters: &ParameterSet<B>,
) -> Result<Network<B>, Failure> {
    Ok(Network {
        model: CausalModel::replacing(config, base, parameters)?,
        adapter: Some(Adapter::new(plan, parameters)?),
    })
}

/// The hidden states of `batch`, with dropout drawn from `dropout` where given.
pub fn hidden<B: TransformerOps>(
    network: &Network<B>,
    batch: &Batch,
    dropout: Option<(f64, ChaCha8Rng)>,
) -> Tensor<B, 2> {
    let mut tokens = Tokens::rows(batch.inputs.clone(), batch.rows);
    if let Some(packed) = &batch.packed {
        tokens.positions = Some(packed.positions.iter().map(|position| *position as u32).collect());
        tokens.first = Some(packed.first.as_slice().into());
    }
    let mut pass = network.adapter.as_ref().map(|adapter| match dropout {
        Some((probability, rng)) => AdapterPass::dropping(adapter, probability, rng),
        None => AdapterPass::exact(adapter),
    });
    network.model.hidden(&tokens, pass.as_mut(), None)
}
