//! How much memory a training takes (JB-1).
//!
//! One rule: it is an estimate from below, by the one formula of the server, which estimates before a job is queued, and of
//! the training engine, which refuses what cannot fit. What cannot be known is `None`, never a guess.
//! `workers/ml/tests/it/memory.rs` holds it to what trainings were measured to take.

use super::{HyperParameters, Method, Precision, TrainingSpec, shape::Shape};

/// Bytes of a number that is trained.
const NUMBER: u64 = 4;

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
    match &spec.method {
        Method::Scratch(architecture) => Some(needs_with(spec, &Shape::from(architecture))),
        Method::Lora(_) | Method::Full => base.map(|base| needs_with(spec, base)),
    }
}

/// What `spec` needs when the model that is trained, or that an adapter is trained on, has this shape.
#[must_use]
pub fn needs_with(spec: &TrainingSpec, shape: &Shape) -> Needs {
    let (trained, frozen) = match &spec.method {
        Method::Lora(lora) => (shape.adapter_parameters(lora), shape.parameters()),
        Method::Scratch(_) | Method::Full => (shape.parameters(), 0),
    };
    Needs {
        parameters: trained.saturating_add(frozen),
        trained,
        memory_bytes: bytes(shape, trained, frozen, &spec.parameters),
    }
}

/// Bytes for `trained` numbers with their gradients and the optimiser's two moments, and their best state where it is kept;
/// for `frozen` numbers; and for what one micro-batch keeps of its way through the network.
fn bytes(shape: &Shape, trained: u64, frozen: u64, parameters: &HyperParameters) -> u64 {
    let tokens = u64::from(parameters.batch_size).saturating_mul(u64::from(parameters.sequence_length));
    let kept = shape
        .layers
        .saturating_mul(tokens)
        .saturating_mul(shape.kept_per_token());
    let copies = if parameters.keep_best { 5 } else { 4 };
    // Of what is frozen, and of what passes through the network.
    let passing = match parameters.precision {
        Precision::F32 => NUMBER,
        Precision::Bf16 => NUMBER / 2,
    };
    trained
        .saturating_mul(copies)
        .saturating_mul(NUMBER)
        .saturating_add(frozen.saturating_add(kept).saturating_mul(passing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, Lora, Objective, Outputs};

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
        huge.parameters.batch_size = u32::MAX;
        huge.parameters.sequence_length = u32::MAX;
        assert_eq!(needs(&huge, None).expect("known").memory_bytes, u64::MAX);
        let most = u32::MAX;
        let shape = Architecture {
            layers: most,
            heads: most,
            width: most,
            context: most,
            vocabulary: most,
        };
        let absurd = needs(&spec(Method::Scratch(shape)), None).expect("known");
        assert_eq!((absurd.parameters, absurd.memory_bytes), (u64::MAX, u64::MAX));
        let lora = spec(Method::Lora(Lora {
            rank: most,
            ..Lora::default()
        }));
        let known = needs(&lora, Some(&Shape::from(&SHAPE))).expect("known");
        assert!(known.memory_bytes > 1 << 40);
    }

    /// WK-1: trained parameters keep their size, everything else is halved.
    #[test]
    fn bfloat16_halves_what_is_frozen_and_what_passes() {
        let of = |precision, trained, frozen| {
            let parameters = HyperParameters {
                precision,
                sequence_length: 64,
                ..HyperParameters::default()
            };
            bytes(&Shape::from(&SHAPE), trained, frozen, &parameters)
        };
        let full = of(Precision::F32, 0, 1000);
        assert_eq!(of(Precision::Bf16, 0, 1000), full / 2);
        let trained = of(Precision::F32, 10, 1000) - full;
        assert_eq!(of(Precision::Bf16, 10, 1000) - full / 2, trained);
        assert_eq!(trained, 4 * 10 * 4);
    }
}
