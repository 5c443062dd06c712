//! LoRA (Hu et al., arXiv:2106.09685): a low-rank update beside each chosen matrix of a frozen model.
//!
//! Rule: the base is never touched; an adapter is a [`ParameterSet`] of pairs `A` `[in, rank]`, `B`
//! `[rank, out]`, and adds `alpha / rank · x · A · B`.

pub mod peft;

use burn::tensor::{Tensor, backend::Backend};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    failure::Failure,
    model::{
        config::Gpt2Config,
        ops::{Dropout, LowRank},
    },
    parameters::{ParameterSet, matrix},
    random::{Purpose, stream},
    spec::LoraSettings,
    tensor_file::Expected,
};

/// A matrix of a block that an adapter may update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Queries, keys and values.
    AttentionIn,
    /// Attention's output.
    AttentionOut,
    /// The feed-forward layer's first matrix.
    FeedIn,
    /// The feed-forward layer's second matrix.
    FeedOut,
}

impl Slot {
    /// All of a block.
    pub const ALL: [Self; 4] = [Self::AttentionIn, Self::AttentionOut, Self::FeedIn, Self::FeedOut];

    /// Its name inside a block, as Hugging Face has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AttentionIn => "attn.c_attn",
            Self::AttentionOut => "attn.c_proj",
            Self::FeedIn => "mlp.c_fc",
            Self::FeedOut => "mlp.c_proj",
        }
    }

    /// `[in, out]` in a model of `width`.
    #[must_use]
    pub fn shape(self, width: usize) -> [usize; 2] {
        match self {
            Self::AttentionIn => [width, 3 * width],
            Self::AttentionOut => [width, width],
            Self::FeedIn => [width, 4 * width],
            Self::FeedOut => [4 * width, width],
        }
    }

    /// PEFT's rule: a target is the whole name or its end after a dot.
    #[must_use]
    pub fn is_targeted_by(self, target: &str) -> bool {
        self.name() == target || self.name().ends_with(&format!(".{target}"))
    }
}

/// The matrices of an adapter with `settings` on a model of `config`: `…lora_A` `[in, rank]` and `…lora_B`
/// `[rank, out]`.
#[must_use]
pub fn tensors(config: &Gpt2Config, settings: &LoraSettings) -> Vec<Expected> {
    let rank = settings.rank as usize;
    let mut tensors = Vec::new();
    for block in 0..config.layers {
        for slot in Slot::ALL {
            if settings
                .target_modules
                .iter()
                .any(|target| slot.is_targeted_by(target))
            {
                let [input, output] = slot.shape(config.width);
                tensors.push((name(block, slot, "A"), [input, rank]));
                tensors.push((name(block, slot, "B"), [rank, output]));
            }
        }
    }
    tensors
}

fn name(block: usize, slot: Slot, half: &str) -> String {
    format!("h.{block}.{}.lora_{half}", slot.name())
}

/// A new adapter as PEFT draws it: `A` uniform in ±1/√in (Kaiming with a = √5), `B` zero, so that it changes
/// nothing yet.
#[must_use]
pub fn initial<B: Backend>(
    config: &Gpt2Config,
    settings: &LoraSettings,
    seed: u64,
    device: &B::Device,
) -> ParameterSet<B> {
    let mut set = ParameterSet::default();
    for (index, (name, [rows, columns])) in tensors(config, settings).into_iter().enumerate() {
        let mut rng = stream(seed, Purpose::Initialisation, 0, index as u64);
        let bound = 1.0 / (rows as f32).sqrt();
        let down = name.ends_with("lora_A");
        let mut draw = || {
            if down {
                rng.random_range(-bound..bound)
            } else {
                0.0
            }
        };
        let numbers = (0..rows * columns).map(|_| draw()).collect();
        set.insert(name, matrix(numbers, [rows, columns], device));
    }
    set
}

/// `A` `[in, rank]` and `B` `[rank, out]` of one matrix.
type Pair<B> = (Tensor<B, 2>, Tensor<B, 2>);

/// An adapter ready for the network.
#[derive(Clone, Debug)]
pub struct Adapter<B: Backend> {
    blocks: Vec<[Option<Pair<B>>; 4]>,
    scale: f64,
}

impl<B: Backend> Adapter<B> {
    /// The adapter of `settings` over `parameters`, whose tensors are shared.
    ///
    /// # Errors
    /// An internal failure when a tensor is missing.
    pub fn new(
        config: &Gpt2Config,
        settings: &LoraSettings,
        parameters: &ParameterSet<B>,
    ) -> Result<Self, Failure> {
        let mut blocks = Vec::new();
        for block in 0..config.layers {
            let mut pairs = [const { None }; 4];
            for (slot, pair) in Slot::ALL.into_iter().zip(&mut pairs) {
                if settings
                    .target_modules
                    .iter()
                    .any(|target| slot.is_targeted_by(target))
                {
                    *pair = Some((
                        parameters.get(&name(block, slot, "A"))?,
                        parameters.get(&name(block, slot, "B"))?,
                    ));
                }
            }
            blocks.push(pairs);
        }
        Ok(Self {
            blocks,
            scale: settings.alpha / f64::from(settings.rank),
        })
    }
}

/// One pass of an adapter through the network, with what it drops.
#[derive(Debug)]
pub struct AdapterPass<'a, B: Backend> {
    adapter: &'a Adapter<B>,
    dropout: Option<(f64, ChaCha8Rng)>,
}

impl<'a, B: Backend> AdapterPass<'a, B> {
    /// A pass that drops nothing.
    #[must_use]
    pub fn exact(adapter: &'a Adapter<B>) -> Self {
        Self {
            adapter,
            dropout: None,
        }
    }

    /// A pass that drops a share `probability` of its inputs and scales up the others, drawing from `rng`.
    #[must_use]
    pub fn dropping(adapter: &'a Adapter<B>, probability: f64, rng: ChaCha8Rng) -> Self {
        Self {
            adapter,
            dropout: (probability > 0.0).then_some((probability, rng)),
        }
    }

    /// The update at `slot` of `block`, with a mask of its own; `None` where there is no pair.
    pub fn update(&mut self, block: usize, slot: Slot) -> Option<LowRank<B>> {
        let (down, up) = self.adapter.blocks[block][slot as usize].clone()?;
        let dropout = self.dropout.as_mut().map(|(probability, rng)| Dropout {
            probability: *probability,
            key: rng.random(),
        });
        Some(LowRank {
            down,
            up,
            scale: self.adapter.scale,
            dropout,
        })
    }
}
