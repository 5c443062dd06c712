//! Which tensors an adapter has for a given model.
//!
//! Rule: names are matched as by PEFT. A target is the full name of a linear layer or its suffix after a dot; a
//! module to save is a suffix of its name. Names without a match are problems; all problems are reported at once.

use crate::{
    failure::{Failure, FailureCode},
    model::config::{HEAD, LinearSpec, ModelConfig},
    spec::{ALL_LINEAR, LoraBias, LoraSettings},
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
    pub fn new(config: &ModelConfig, settings: &LoraSettings) -> Result<Self, Failure> {
        let linear_layers = config.linear_layers();
        let mut problems = Vec::new();
        let full: Vec<String> = linear_layers
            .iter()
            .map(|linear| config.file_name(&linear.name))
            .collect();
        let targeted: Vec<bool> = full
            .iter()
            .map(|name| {
                settings
                    .target_modules
                    .iter()
                    .any(|target| is_targeted(name, target))
            })
            .collect();
        for target in &settings.target_modules {
            if !full.iter().any(|name| is_targeted(name, target)) {
                problems.push(unknown_target(config, &linear_layers, target));
            }
        }
        let rank = settings.rank as usize;
        let chosen = || {
            linear_layers
                .iter()
                .zip(&targeted)
                .filter(|(_, targeted)| **targeted)
        };
        let smallest = chosen().min_by_key(|(linear, _)| linear.shape[0].min(linear.shape[1]));
        if let Some((linear, _)) = smallest {
            let [input, output] = linear.shape;
            let most = input.min(output);
            if rank > most {
                problems.push(format!(
                    "rank {rank} is above the matrix {} of {input} × {output}; choose at most {most}",
                    linear.name
                ));
            }
        }
        let copied = copied(config, settings, &linear_layers, &targeted, &mut problems);
        if !problems.is_empty() {
            return Err(Failure::new(
                FailureCode::SpecInvalid,
                format!("the adapter does not fit the base model: {}", problems.join("; ")),
            ));
        }
        Ok(Self {
            targeted,
            copied,
            linear_layers,
            rank,
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
fn scale(settings: &LoraSettings) -> f64 {
    let rank = f64::from(settings.rank);
    settings.alpha / if settings.use_rslora { rank.sqrt() } else { rank }
}

fn is_targeted(name: &str, target: &str) -> bool {
    target.eq_ignore_ascii_case(ALL_LINEAR)
        || name
            .strip_suffix(target)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn unknown_target(config: &ModelConfig, linear_layers: &[LinearSpec], target: &str) -> String {
    let whole = [HEAD, config.embedding()].map(|name| config.file_name(name.trim_end_matches(".weight")));
    if whole.iter().any(|name| is_targeted(name, target)) {
        return format!("target module {target} gets no low-rank update; name it in modules_to_save instead");
    }
    let mut known: Vec<&str> = Vec::new();
    for linear in linear_layers {
        let short = linear.name.rsplit('.').next().unwrap_or_default();
        if !known.contains(&short) {
            known.push(short);
        }
    }
    format!(
        "target module {target} is not one of {}; choose among {} or {ALL_LINEAR}",
        config.title(),
        known.join(", ")
    )
}

/// The biases and saved modules that are trained in full.
fn copied(
    config: &ModelConfig,
    settings: &LoraSettings,
    linear_layers: &[LinearSpec],
    targeted: &[bool],
    problems: &mut Vec<String>,
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
        !saved.is_empty() && of_linear(module).is_none() && config.file_name(module).ends_with(saved.as_str())
    };
    for saved in &settings.modules_to_save {
        if !tensors.iter().any(|(name, _)| saves(&module(name), saved)) {
            problems.push(format!(
                "module to save {saved:?} is not an embedding, norm or head of {}; its linear layers are trained as \
                 target_modules",
                config.title()
            ));
        }
    }
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

    fn settings(targets: &[&str]) -> LoraSettings {
        LoraSettings {
            rank: 2,
            target_modules: targets.iter().map(|&name| name.to_owned()).collect(),
            ..LoraSettings::default()
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
        let copied = |settings: &LoraSettings| -> Vec<String> {
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
            "target module c_attn is not one of Llama",
            "target module lm_head gets no low-rank update; name it in modules_to_save",
            "rank 9 is above the matrix layers.0.self_attn.k_proj of 16 × 8; choose at most 8",
            "module to save \"mlp\"",
            "module to save \"q_proj\"",
            "module to save \"\"",
        ] {
            assert!(failure.message.contains(said), "{said}: {failure}");
        }
    }
}
