//! What is trained: a whole network or an adapter on a frozen one.
//!
//! Rule: the loop knows only a set of parameters and the network over it; the two methods differ here alone.

use burn::tensor::{
    Int, Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};
use rand_chacha::ChaCha8Rng;

use crate::{
    data::batch::Batch,
    failure::Failure,
    inference::Network,
    lora::{Adapter, AdapterPass},
    model::{Gpt2, config::Gpt2Config, ops::{TransformerGradients, TransformerOps}},
    parameters::ParameterSet,
    spec::LoraSettings,
};

/// A backend that differentiates networks.
pub trait TrainingBackend: AutodiffBackend<InnerBackend: TransformerGradients> + TransformerOps {}
impl<B: AutodiffBackend<InnerBackend: TransformerGradients> + TransformerOps> TrainingBackend for B {}

/// What is trained.
#[derive(Clone, Debug)]
pub enum Task<B: TrainingBackend> {
    /// All weights of a new model.
    Scratch {
        /// Its shape.
        config: Gpt2Config,
    },
    /// An adapter.
    Lora {
        /// The base's shape.
        config: Gpt2Config,
        /// The adapter's shape.
        settings: LoraSettings,
        /// The frozen base, as constants of graphs.
        base: Box<Gpt2<B>>,
        /// The frozen base, for evaluation (the same memory).
        plain_base: Box<Gpt2<B::InnerBackend>>,
    },
}

impl<B: TrainingBackend> Task<B> {
    /// An adapter of `settings` on the model `weights`.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn lora(
        config: Gpt2Config,
        settings: LoraSettings,
        weights: &ParameterSet<B::InnerBackend>,
    ) -> Result<Self, Failure> {
        let base = Box::new(Gpt2::new(&config, &ParameterSet::constants(weights))?);
        let plain_base = Box::new(Gpt2::new(&config, weights)?);
        Ok(Self::Lora {
            config,
            settings,
            base,
            plain_base,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Gpt2Config {
        match self {
            Self::Scratch { config } | Self::Lora { config, .. } => config,
        }
    }

    /// Whether the output matrix learns.
    #[must_use]
    pub fn head_learns(&self) -> bool {
        matches!(self, Self::Scratch { .. })
    }

    /// The share of an adapter's inputs that is dropped.
    #[must_use]
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Scratch { .. } => 0.0,
            Self::Lora { settings, .. } => settings.dropout,
        }
    }

    /// The network over the leaves of a graph.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn differentiable(&self, leaves: &ParameterSet<B>) -> Result<Network<B>, Failure> {
        match self {
            Self::Scratch { config } => Ok(Network {
                model: Gpt2::new(config, leaves)?,
                adapter: None,
            }),
            Self::Lora {
                config,
                settings,
                base,
                ..
            } => Ok(Network {
                model: (**base).clone(),
                adapter: Some(Adapter::new(config, settings, leaves)?),
            }),
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
            Self::Scratch { config } => Ok(Network {
                model: Gpt2::new(config, parameters)?,
                adapter: None,
            }),
            Self::Lora {
                config,
                settings,
                plain_base,
                ..
            } => Ok(Network {
                model: (**plain_base).clone(),
                adapter: Some(Adapter::new(config, settings, parameters)?),
            }),
        }
    }
}

/// The hidden states of `batch`, with dropout drawn from `dropout` where given.
pub fn hidden<B: TransformerOps>(
    network: &Network<B>,
    batch: &Batch,
    dropout: Option<(f64, ChaCha8Rng)>,
) -> Tensor<B, 2> {
    let ids = ids::<B>(batch, &network.model.head().device());
    let mut pass = network.adapter.as_ref().map(|adapter| match dropout {
        Some((probability, rng)) => AdapterPass::dropping(adapter, probability, rng),
        None => AdapterPass::exact(adapter),
    });
    network.model.hidden(ids, pass.as_mut(), None)
}

fn ids<B: Backend>(batch: &Batch, device: &B::Device) -> Tensor<B, 2, Int> {
    Tensor::from_data(
        TensorData::new(batch.inputs.clone(), [batch.rows, batch.length]),
        device,
    )
}
