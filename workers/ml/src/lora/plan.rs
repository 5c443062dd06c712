//! Which tensors an adapter has for a given model.
//!
//! Rule: what an adapter may name is decided with the specification ([`crate::spec::shape`]); here its names become
//! tensors.

use crate::{
    failure::{Failure, FailureCode},
    model::config::{HEAD, LinearSpec, ModelConfig},
    spec::{
        Lora, LoraBias, SpecProblems,
        shape::{is_saved, is_targeted},
    },
    tensor_file::TensorSpec,
};

/// The tensors of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    linear_layers: Vec<LinearSpec>,
    /// Whether each of `linear_layers` has an update.
    targeted: Vec<bool>,
    /// Tensors of the base that are trained in full, in their order in the base.
    copied: Vec<TensorSpec>,
    rank: usize,
    scale: f64,
}

impl Plan {
    /// The plan of `settings` for a model of `config`.
    ///
    /// # Errors
    /// [`FailureCode::SpecInvalid`] with every name that matches nothing in the model, and the smallest matrix that
    /// is smaller than the rank.
    pub fn new(config: &ModelConfig, settings: &Lora) -> Result<Self, Failure> {
        let problems = config.shape().adapter_misfits(settings);
        if !problems.is_empty() {
            return Err(Failure::new(
                FailureCode::SpecInvalid,
                format!(
                    "the adapter does not fit the base model: {}",
                    SpecProblems(problems)
                ),
            ));
        }
        let linear_layers = config.linear_layers();
        let targeted: Vec<bool> = linear_layers
            .iter()
            .map(|linear| {
                let name = config.file_name(&linear.name);
                let mut targets = settings.target_modules.iter();
                targets.any(|target| is_targeted(&name, target))
            })
            .collect();
        let copied = copied(config, settings, &linear_layers, &targeted);
        Ok(Self {
            targeted,
            copied,
            linear_layers,
            rank: settings.rank as usize,
            scale: scale(settings),
        })
    }

    /// For each linear layer its name where it has an update, in the order of [`ModelConfig::linear_layers`].
    pub(super) fn layers(&self) -> impl Iterator<Item = Option<&str>> {
        self.linear_layers
            .iter()
            .zip(&self.targeted)
            .map(|(linear, targeted)| targeted.then_some(linear.name.as_str()))
    }

    /// The linear layers that have an update.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.layers().flatten()
    }

    /// Scale of the updates.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The low-rank matrices: `…lora_A` `[in, rank]` and `…lora_B` `[rank, out]`.
    #[must_use]
    pub fn low_rank_tensors(&self) -> Vec<TensorSpec> {
        let rank = self.rank;
        let chosen = self.linear_layers.iter().zip(&self.targeted);
        chosen
            .filter(|(_, targeted)| **targeted)
            .flat_map(|(LinearSpec { name, shape, .. }, _)| {
                [
                    (format!("{name}.lora_A"), [shape[0], rank]),
                    (format!("{name}.lora_B"), [rank, shape[1]]),
                ]
            })
            .collect()
    }

    /// The tensors of the base that are trained in full, with their names and shapes in the base.
    pub fn full_tensors(&self) -> impl Iterator<Item = (&str, [usize; 2])> {
        self.copied.iter().map(|(name, shape)| (name.as_str(), *shape))
    }

    /// Whether the tensor `name` of the base is trained in full.
    #[must_use]
    pub fn trains_fully(&self, name: &str) -> bool {
        self.copied.iter().any(|(copied, _)| copied == name)
    }

    /// All tensors of the adapter.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut tensors = self.low_rank_tensors();
        tensors.extend(self.copied.iter().cloned());
        tensors
    }
}

/// Scale of the updates: alpha / rank, or alpha / √rank for rsLoRA (Kalajdzievski, arXiv:2312.03732).
fn scale(settings: &Lora) -> f64 {
    let rank = f64::from(settings.rank);
    settings.alpha / if settings.use_rslora { rank.sqrt() } else { rank }
}

/// The biases and saved modules that are trained in full.
fn copied(
    config: &ModelConfig,
    settings: &Lora,
    linear_layers: &[LinearSpec],
    targeted: &[bool],
) -> Vec<TensorSpec> {
    let mut tensors = config.tensors();
    if config.has_tied_embeddings() {
        tensors.push((HEAD.to_owned(), [config.vocab_size(), config.width()]));
    }
    let of_linear = |module: &str| linear_layers.iter().position(|linear| linear.name == module);
    let module = |name: &str| {
        name.rsplit_once('.')
            .map_or(String::new(), |(module, _)| module.to_owned())
    };
    let saves = |module: &str, saved: &String| {
        of_linear(module).is_none() && is_saved(&config.file_name(module), saved)
    };
    tensors.retain(|(name, _)| {
        let module = module(name);
        let bias = name.ends_with(".bias")
            && match settings.bias {
                LoraBias::None => false,
                LoraBias::All => true,
                LoraBias::LoraOnly => of_linear(&module).is_some_and(|place| targeted[place]),
            };
        bias || settings.modules_to_save.iter().any(|saved| saves(&module, saved))
    });
    tensors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn llama(tied: bool) -> ModelConfig {
        let json = json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": 24, "vocab_size": 50,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": true,
            "max_position_embeddings": 64, "tie_word_embeddings": tied,
        });
        ModelConfig::from_json(json.to_string().as_bytes()).expect("a configuration")
    }

    fn settings(targets: &[&str]) -> Lora {
        Lora {
            rank: 2,
            target_modules: targets.iter().map(|&name| name.to_owned()).collect(),
            ..Lora::default()
        }
    }

    fn targets(targets: &[&str]) -> Vec<String> {
        let plan = Plan::new(&llama(true), &settings(targets)).expect("a plan");
        plan.targets().map(str::to_owned).collect()
    }

    #[test]
    fn targets_are_whole_names_ends_after_a_dot_or_all() {
        assert_eq!(targets(&["q_proj"]).len(), 2);
        assert_eq!(targets(&["self_attn.q_proj", "mlp.up_proj"]).len(), 4);
        assert_eq!(targets(&["model.layers.1.mlp.up_proj"]), ["layers.1.mlp.up_proj"]);
        assert_eq!(targets(&["all-linear"]).len(), 14);
        for nothing in ["proj", "_proj", "", "layers.1"] {
            let failure = Plan::new(&llama(true), &settings(&[nothing])).expect_err(nothing);
            assert!(
                failure.message.contains("choose among q_proj, k_proj"),
                "{failure}"
            );
        }
    }

    /// What PEFT 0.21 saves for the same settings.
    #[test]
    fn biases_and_saved_modules_are_those_of_peft() {
        let copied = |settings: &Lora| -> Vec<String> {
            let plan = Plan::new(&llama(true), settings).expect("a plan");
            let mut names: Vec<String> = plan.full_tensors().map(|(name, _)| name.to_owned()).collect();
            names.sort();
            names
        };
        let mut chosen = settings(&["q_proj"]);
        assert!(copied(&chosen).is_empty());
        chosen.bias = LoraBias::LoraOnly;
        assert_eq!(
            copied(&chosen),
            ["layers.0.self_attn.q_proj.bias", "layers.1.self_attn.q_proj.bias"]
        );
        chosen.bias = LoraBias::All;
        assert_eq!(copied(&chosen).len(), 8);
        chosen.bias = LoraBias::None;
        chosen.modules_to_save = vec!["norm".to_owned(), "lm_head".to_owned(), "embed_tokens".to_owned()];
        assert_eq!(
            copied(&chosen),
            [
                "embed_tokens.weight",
                "layers.0.input_layernorm.weight",
                "layers.0.post_attention_layernorm.weight",
                "layers.1.input_layernorm.weight",
                "layers.1.post_attention_layernorm.weight",
                "lm_head.weight",
                "norm.weight",
            ]
        );
    }

    #[test]
    fn all_that_does_not_fit_is_told_at_once() {
        let mut chosen = settings(&["c_attn", "lm_head", "k_proj"]);
        chosen.rank = 9;
        chosen.modules_to_save = vec!["mlp".to_owned(), "q_proj".to_owned(), String::new()];
        let failure = Plan::new(&llama(false), &chosen).expect_err("refused");
        assert_eq!(failure.code, FailureCode::SpecInvalid);
        for said in [
            "'c_attn' is no linear layer of the base; choose among q_proj, k_proj",
            "'lm_head' gets no low-rank update; name it in modulesToSave",
            "9 is above the matrix self_attn.k_proj of 16 × 8; choose at most 8",
            "'mlp' is no embedding, norm or head",
            "'q_proj' is no embedding, norm or head",
            "'' is no embedding, norm or head",
        ] {
            assert!(failure.message.contains(said), "{said}: {failure}");
        }
    }
}
