//! How much memory and time a training is likely to take (JB-1).
//!
//! One rule: what cannot be known is `None`, never a guess. Memory is an estimate from below, by the formula of
//! the training engine (`ml::memory::required_bytes`; a test of `workers` compares the two). Time is what similar
//! trainings took.

use super::{
    shape::Shape,
    spec::{Method, Precision, TrainingSpec},
};

/// Bytes of a number that is trained.
const NUMBER: u64 = 4;
/// A run is similar when its model is at most so many times larger or smaller.
const SIMILAR: f64 = 4.0;
/// Runs that an estimate looks at, the newest first.
const RUNS: usize = 20;

/// What a training needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Numbers in the model that is computed, an adapter's included.
    pub parameters: u64,
    /// Numbers of them that are trained.
    pub trained: u64,
    /// Bytes of memory, at least.
    pub memory_bytes: u64,
}

/// What `spec` needs; `base` is the shape of its base model. `None` when that is not known.
#[must_use]
pub fn needs(spec: &TrainingSpec, base: Option<&Shape>) -> Option<Needs> {
    let (shape, adapter) = match &spec.method {
        Method::Scratch(architecture) => (Shape::from(architecture), None),
        Method::Full => (*base?, None),
        Method::Lora(lora) => {
            let base = *base?;
            let adapter = base.adapter_parameters(lora.rank.into(), &lora.target_modules);
            (base, Some(adapter))
        }
    };
    let (trained, frozen) = match adapter {
        None => (shape.parameters(), 0),
        Some(adapter) => (adapter, shape.parameters()),
    };
    let length = u64::from(spec.parameters.sequence_length);
    let tokens = u64::from(spec.parameters.batch_size).saturating_mul(length);
    let kept = shape
        .layers
        .saturating_mul(tokens)
        .saturating_mul(shape.kept_per_token(length));
    // Of what is trained: the numbers, their gradients, the optimiser's two, and their best state.
    let copies = if spec.parameters.keep_best { 5 } else { 4 };
    // Of what is frozen, and of what passes through the network.
    let passing = match spec.parameters.precision {
        Precision::F32 => NUMBER,
        Precision::Bf16 => NUMBER / 2,
    };
    let bytes = trained
        .saturating_mul(copies)
        .saturating_mul(NUMBER)
        .saturating_add(frozen.saturating_add(kept).saturating_mul(passing));
    Some(Needs {
        parameters: trained + frozen,
        trained,
        memory_bytes: bytes,
    })
}

/// Tokens that `spec` trains on, over all its steps; `None` where it counts epochs, whose length shows when the
/// data is read.
#[must_use]
pub fn tokens(spec: &TrainingSpec) -> Option<u64> {
    let chosen = &spec.parameters;
    let factors = [
        chosen.steps,
        chosen.batch_size,
        chosen.gradient_accumulation,
        chosen.sequence_length,
    ];
    let product = |product: u64, factor: u32| product.saturating_mul(factor.into());
    chosen
        .epochs
        .is_none()
        .then(|| factors.into_iter().fold(1, product))
}

/// A training that came to its end, by the same method as the one that is estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Numbers in the model that was computed.
    pub parameters: u64,
    /// Tokens per second, over the whole run.
    pub tokens_per_second: f64,
    /// What it ran on: `cpu` or `cuda`.
    pub device: String,
}

/// How long a training is likely to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Duration {
    /// Seconds.
    pub seconds: f64,
    /// On this kind of device.
    pub device: String,
    /// From so many similar runs.
    pub runs: usize,
}

/// How long a training of `tokens` on a model of `parameters` numbers takes on `device`, by `runs`, the newest
/// first. The work per token grows with the model (Kaplan et al., 2020, arXiv:2001.08361), so speeds are
/// compared per number; the median counts. `None` without a similar run.
#[must_use]
pub fn duration(tokens: u64, parameters: u64, device: &str, runs: &[Run]) -> Option<Duration> {
    let size = parameters.max(1) as f64;
    let similar = |run: &&Run| {
        let ratio = run.parameters.max(1) as f64 / size;
        run.device == device
            && run.tokens_per_second > 0.0
            && run.tokens_per_second.is_finite()
            && (1.0 / SIMILAR..=SIMILAR).contains(&ratio)
    };
    let mut speeds: Vec<f64> = runs
        .iter()
        .filter(similar)
        .take(RUNS)
        .map(|run| run.tokens_per_second * run.parameters.max(1) as f64 / size)
        .collect();
    speeds.sort_unstable_by(f64::total_cmp);
    let speed = *speeds.get(speeds.len() / 2)?;
    Some(Duration {
        seconds: tokens as f64 / speed,
        device: device.to_owned(),
        runs: speeds.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Run, duration, needs, tokens};
    use crate::jobs::{
        shape::Shape,
        spec::{Architecture, HyperParameters, Lora, Method, Objective, Outputs, TrainingSpec},
    };

    const SHAPE: Architecture = Architecture {
        layers: 6,
        heads: 6,
        width: 384,
        context: 256,
        vocabulary: 8_000,
    };

    fn spec(method: Method) -> TrainingSpec {
        TrainingSpec {
            outputs: Outputs::default(),
            method,
            objective: Objective::default(),
            parameters: HyperParameters::default(),
        }
    }

    /// JB-1
    #[test]
    fn an_adapter_needs_less_than_the_whole_model_and_its_base_must_be_known() {
        let whole = needs(&spec(Method::Scratch(SHAPE)), None).expect("known");
        let lora = spec(Method::Lora(Lora {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            target_modules: vec!["c_attn".into(), "c_proj".into()],
            ..Lora::default()
        }));
        assert_eq!(needs(&lora, None), None);
        let adapter = needs(&lora, Some(&Shape::from(&SHAPE))).expect("known");
        // Per block 8 · (384 + 1152), 8 · (384 + 384) and 8 · (1536 + 384).
        assert_eq!(adapter.trained, 6 * 8 * (1_536 + 768 + 1_920));
        assert_eq!(adapter.parameters, whole.parameters + adapter.trained);
        assert!(adapter.memory_bytes < whole.memory_bytes);
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let mut huge = spec(Method::Scratch(SHAPE));
        huge.parameters.steps = u32::MAX;
        huge.parameters.batch_size = u32::MAX;
        huge.parameters.gradient_accumulation = u32::MAX;
        huge.parameters.sequence_length = u32::MAX;
        assert_eq!(tokens(&huge), Some(u64::MAX));
        assert_eq!(needs(&huge, None).expect("known").memory_bytes, u64::MAX);
    }

    fn run(parameters: u64, tokens_per_second: f64, device: &str) -> Run {
        Run {
            parameters,
            tokens_per_second,
            device: device.to_owned(),
        }
    }

    /// JB-1: unknown when there is none like it.
    #[test]
    fn time_comes_from_similar_runs_on_the_same_kind_of_device() {
        let runs = [
            run(1_000, 50.0, "cpu"),
            run(2_000, 50.0, "cpu"),
            run(1_000, 70.0, "cpu"),
            run(1_000, 9_000.0, "cuda"),
            run(100_000, 1.0, "cpu"),
            run(1_000, f64::NAN, "cpu"),
        ];
        let found = duration(7_000, 1_000, "cpu", &runs).expect("three are similar");
        assert_eq!((found.runs, found.seconds), (3, 100.0));
        assert_eq!(duration(7_000, 1_000, "tpu", &runs), None);
        assert_eq!(duration(7_000, 10, "cpu", &runs), None);
    }
}
