//! What of a model an adapter trains, and what of an adapter does not fit a model.
//!
//! One rule: names are matched as by PEFT. A target is the whole name of a linear layer or its end after a dot; a module to
//! save is any end of its name.

use super::{Family, Linear, Module, Shape};
use crate::{ALL_LINEAR, Lora, LoraBias, Method, SpecProblem, TrainingSpec};

/// The module of the output layer.
pub(super) const HEAD: &str = "lm_head";

/// Whether `target` of [`Lora::target_modules`] names the linear layer `name`, a whole name such as
/// `transformer.h.0.attn.c_attn`.
#[must_use]
pub fn is_targeted(name: &str, target: &str) -> bool {
    target.eq_ignore_ascii_case(ALL_LINEAR)
        || name
            .strip_suffix(target)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether `saved` of [`Lora::modules_to_save`] names the embedding, norm or head `name`, a whole name such as
/// `model.embed_tokens`.
#[must_use]
pub fn is_saved(name: &str, saved: &str) -> bool {
    !saved.is_empty() && name.ends_with(saved)
}

impl Shape {
    fn prefix(&self) -> &'static str {
        match self.family {
            Family::Gpt2 => "transformer.",
            Family::Llama => "model.",
        }
    }

    fn blocks(&self) -> impl Iterator<Item = String> + use<> {
        let (prefix, block) = match self.family {
            Family::Gpt2 => (self.prefix(), "h"),
            Family::Llama => (self.prefix(), "layers"),
        };
        (0..self.layers).map(move |number| format!("{prefix}{block}.{number}."))
    }

    /// Every linear layer under its whole name.
    fn named_linears(&self) -> Vec<(String, Linear)> {
        let linears = self.linears();
        let of_block = |block: String| {
            let named = |linear: &Linear| (format!("{block}{}", linear.name), *linear);
            linears.iter().map(named).collect::<Vec<_>>()
        };
        self.blocks().flat_map(of_block).collect()
    }

    /// Every other module under its whole name.
    fn named_modules(&self) -> Vec<(String, Module)> {
        let whole = |module: Module| -> Vec<(String, Module)> {
            match (module.in_blocks, module.name) {
                (true, name) => self
                    .blocks()
                    .map(|block| (format!("{block}{name}"), module))
                    .collect(),
                (false, HEAD) => vec![(HEAD.to_owned(), module)],
                (false, name) => vec![(format!("{}{name}", self.prefix()), module)],
            }
        };
        self.modules().into_iter().flat_map(whole).collect()
    }

    /// Numbers that are trained with the adapter `lora`: its matrices, and the biases and whole modules that learn with
    /// it.
    #[must_use]
    pub fn adapter_parameters(&self, lora: &Lora) -> u64 {
        let rank = u64::from(lora.rank);
        let of_linear = |(name, linear): &(String, Linear)| {
            let targeted = is_any(name, &lora.target_modules, is_targeted);
            let learns = linear.bias
                && match lora.bias {
                    LoraBias::None => false,
                    LoraBias::All => true,
                    LoraBias::LoraOnly => targeted,
                };
            let low_rank = if targeted { linear.input + linear.output } else { 0 };
            let bias = if learns { linear.output } else { 0 };
            rank.saturating_mul(low_rank).saturating_add(bias)
        };
        let of_module = |(name, module): &(String, Module)| match (
            is_any(name, &lora.modules_to_save, is_saved),
            lora.bias,
        ) {
            (true, _) => module.weight + module.bias,
            (false, LoraBias::All) => module.bias,
            (false, _) => 0,
        };
        let (linears, modules) = (self.named_linears(), self.named_modules());
        let numbers = linears.iter().map(of_linear).chain(modules.iter().map(of_module));
        numbers.fold(0, u64::saturating_add)
    }

    /// What of `spec` does not fit a base of this shape.
    #[must_use]
    pub fn misfits(&self, spec: &TrainingSpec) -> Vec<SpecProblem> {
        let mut found = Vec::new();
        let length = u64::from(spec.parameters.sequence_length);
        if length > self.context {
            found.push(SpecProblem {
                field: "parameters.sequenceLength",
                message: format!(
                    "{length} tokens do not fit the base's context of {}",
                    self.context
                ),
            });
        }
        if let Method::Lora(lora) = &spec.method {
            found.extend(self.adapter_misfits(lora));
        }
        found
    }

    /// What of `lora` does not fit a base of this shape: every name that matches nothing, and a rank above the smallest
    /// matrix that it applies to.
    #[must_use]
    pub fn adapter_misfits(&self, lora: &Lora) -> Vec<SpecProblem> {
        let mut found = Vec::new();
        let mut problem = |field, message| found.push(SpecProblem { field, message });
        let (linears, modules) = (self.named_linears(), self.named_modules());
        let chosen = linears
            .iter()
            .filter(|(name, _)| is_any(name, &lora.target_modules, is_targeted));
        if let Some((_, linear)) = chosen.min_by_key(|(_, linear)| linear.input.min(linear.output)) {
            let Linear {
                name, input, output, ..
            } = *linear;
            let most = input.min(output);
            if u64::from(lora.rank) > most {
                let rank = lora.rank;
                problem(
                    "lora.rank",
                    format!("{rank} is above the matrix {name} of {input} × {output}; choose at most {most}"),
                );
            }
        }
        for target in &lora.target_modules {
            if linears.iter().any(|(name, _)| is_targeted(name, target)) {
                continue;
            }
            let is_module = modules.iter().any(|(name, _)| is_targeted(name, target));
            problem("lora.targetModules", self.unknown_target(target, is_module));
        }
        for saved in &lora.modules_to_save {
            if !modules.iter().any(|(name, _)| is_saved(name, saved)) {
                let message = format!(
                    "'{saved}' is no embedding, norm or head of the base; its linear layers are trained as targetModules"
                );
                problem("lora.modulesToSave", message);
            }
        }
        found
    }

    fn unknown_target(&self, target: &str, is_module: bool) -> String {
        if is_module {
            return format!("'{target}' gets no low-rank update; name it in modulesToSave instead");
        }
        let mut known: Vec<&str> = Vec::new();
        for linear in self.linears() {
            let short = linear.name.rsplit('.').next().unwrap_or_default();
            if !known.contains(&short) {
                known.push(short);
            }
        }
        format!(
            "'{target}' is no linear layer of the base; choose among {} or {ALL_LINEAR}",
            known.join(", ")
        )
    }
}

fn is_any(name: &str, wanted: &[String], matches: impl Fn(&str, &str) -> bool) -> bool {
    wanted.iter().any(|wanted| matches(name, wanted))
}
