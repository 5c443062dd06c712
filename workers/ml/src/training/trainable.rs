//! What is trained: all parameters of a model, or an adapter on a frozen base.
//!
//! Rule: the training loop knows only a parameter set and the network over it; the methods differ here alone.

use burn::tensor::{Tensor, backend::AutodiffBackend};
use rand_chacha::ChaCha8Rng;

use crate::{
    data::batch::Batch,
    failure::Failure,
    inference::Network,
    lora::{self, Plan},
    model::{
        AdapterPass, CausalModel, TokenBatch,
        config::{HEAD, ModelConfig},
        ops::{TransformerGradients, TransformerOps},
    },
    parameters::ParameterSet,
    spec::Lora,
};

/// A backend that can train networks.
pub trait TrainingBackend: AutodiffBackend<InnerBackend: TransformerGradients> + TransformerOps {}
impl<B: AutodiffBackend<InnerBackend: TransformerGradients> + TransformerOps> TrainingBackend for B {}

/// What is trained.
#[derive(Clone, Debug)]
pub enum Trainable<B: TrainingBackend> {
    /// All parameters of a model.
    FullModel {
        /// The model's configuration.
        config: ModelConfig,
    },
    /// An adapter.
    Lora {
        /// The base's configuration.
        config: ModelConfig,
        /// The adapter's settings.
        settings: Lora,
        /// Which tensors the adapter has.
        plan: Box<Plan>,
        /// The frozen base, as constants of the graph.
        base: ParameterSet<B>,
        /// The frozen base, for evaluation (the same memory).
        evaluation_base: ParameterSet<B::InnerBackend>,
    },
}

impl<B: TrainingBackend> Trainable<B> {
    /// An adapter with `settings` on the model `weights`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::SpecInvalid`] with everything that does not fit the model.
    pub fn lora(
        config: ModelConfig,
        settings: Lora,
        weights: ParameterSet<B::InnerBackend>,
    ) -> Result<Self, Failure> {
        Ok(Self::Lora {
            plan: Box::new(Plan::new(&config, &settings)?),
            config,
            settings,
            base: ParameterSet::constants(&weights),
            evaluation_base: weights,
        })
    }

    /// The model's configuration.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        match self {
            Self::FullModel { config } | Self::Lora { config, .. } => config,
        }
    }

    /// Whether the output matrix is trained.
    #[must_use]
    pub fn trains_head(&self) -> bool {
        match self {
            Self::FullModel { .. } => true,
            Self::Lora { plan, .. } => plan.trains_fully(HEAD),
        }
    }

    /// Dropout probability of the adapter.
    #[must_use]
    pub fn dropout(&self) -> f64 {
        match self {
            Self::FullModel { .. } => 0.0,
            Self::Lora { settings, .. } => settings.dropout,
        }
    }

    /// The network over the leaves of an autodiff graph.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn training_network(&self, leaves: &ParameterSet<B>) -> Result<Network<B>, Failure> {
        match self {
            Self::FullModel { config } => full_model(config, leaves),
            Self::Lora {
                config, plan, base, ..
            } => adapted_model(config, plan, base, leaves),
        }
    }

    /// The network for evaluation and generation.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn evaluation_network(
        &self,
        parameters: &ParameterSet<B::InnerBackend>,
    ) -> Result<Network<B::InnerBackend>, Failure> {
        match self {
            Self::FullModel { config } => full_model(config, parameters),
            Self::Lora {
                config,
                plan,
                evaluation_base,
                ..
            } => adapted_model(config, plan, evaluation_base, parameters),
        }
    }
}

fn full_model<B: TransformerOps>(
    config: &ModelConfig,
    parameters: &ParameterSet<B>,
) -> Result<Network<B>, Failure> {
    Ok(Network {
        model: CausalModel::new(config, parameters)?,
        adapter: None,
    })
}

fn adapted_model<B: TransformerOps>(
    config: &ModelConfig,
    plan: &Plan,
    base: &ParameterSet<B>,
    parameters: &ParameterSet<B>,
) -> Result<Network<B>, Failure> {
    Ok(Network {
        model: CausalModel::with_replaced(config, base, parameters)?,
        adapter: Some(lora::adapter(plan, parameters)?),
    })
}

/// The hidden states of `batch`; with `dropout`, its probability and the source of its masks.
pub fn hidden_states<B: TransformerOps>(
    network: &Network<B>,
    batch: &Batch,
    dropout: Option<(f64, ChaCha8Rng)>,
) -> Tensor<B, 2> {
    let mut tokens = TokenBatch::rows(batch.inputs.clone(), batch.rows);
    if let Some(packed) = &batch.packed {
        tokens.positions = Some(packed.positions.clone());
        tokens.first_visible = Some(packed.first_visible.as_slice().into());
    }
    let mut pass = network.adapter.as_ref().map(|adapter| match dropout {
        Some((probability, rng)) => AdapterPass::with_dropout(adapter, probability, rng),
        None => AdapterPass::without_dropout(adapter),
    });
    network.model.hidden_states(&tokens, pass.as_mut(), None)
}
