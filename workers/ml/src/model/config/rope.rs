//! Rotary position embeddings (Su et al., arXiv:2104.09864): the angle per position of each pair of dimensions.
//!
//! Rule: frequencies and angles are computed in 32-bit floats in the same order as by Hugging Face, because the
//! rounding at large positions is part of what a model was trained with.

use serde_json::{Map, Value, json};

use super::fields::JsonFields;

/// Longest context that a configuration can have.
pub(super) const MAX_CONTEXT: u64 = 1 << 24;

/// The rotary positions of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies (`rope_theta`).
    pub base: f64,
    /// How the frequencies are scaled for longer texts.
    pub scaling: Scaling,
}

/// How the frequencies are scaled for texts longer than those of pre-training.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// No scaling.
    None,
    /// All frequencies are divided by the factor (position interpolation, arXiv:2306.15595).
    Linear {
        /// Scaling factor.
        factor: f64,
    },
    /// The base grows with texts that are longer than `original` (dynamic NTK).
    Dynamic {
        /// Scaling factor.
        factor: f64,
        /// Length in tokens up to which nothing is scaled.
        original: usize,
    },
    /// Low frequencies are divided by the factor, those between `low` and `high` rotations in part (Llama 3.1,
    /// arXiv:2407.21783).
    Llama3 {
        /// Scaling factor.
        factor: f64,
        /// Rotations within `original` tokens below which a frequency is divided completely.
        low: f64,
        /// Rotations within `original` tokens above which a frequency is unchanged.
        high: f64,
        /// Context length of pre-training in tokens.
        original: usize,
    },
    /// YaRN (arXiv:2309.00071): as Llama 3, with a linear ramp over the dimensions, and scaled attention.
    Yarn {
        /// Scaling factor.
        factor: f64,
        /// Context length of pre-training in tokens.
        original: usize,
        /// Rotations above which a frequency is unchanged.
        fast: f64,
        /// Rotations below which a frequency is divided completely.
        slow: f64,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Whether the ramp begins and ends at whole dimensions.
        truncate: bool,
    },
}

impl Rope {
    /// Reads `rope_parameters`, or `rope_theta` and `rope_scaling` in files from before transformers 5; problems are
    /// added to `fields`. `context` is `max_position_embeddings`.
    pub(super) fn read(fields: &mut JsonFields<'_>, context: usize) -> Self {
        let empty = Map::new();
        let given = fields
            .get("rope_scaling")
            .filter(|value| value.as_object().is_none_or(|map| !map.is_empty()))
            .or_else(|| fields.get("rope_parameters"));
        let json = match given {
            None => &empty,
            Some(Value::Object(map)) => map,
            Some(other) => {
                fields.reject(format!("rope_parameters is {other}; expected an object"));
                &empty
            }
        };
        let mut inner = JsonFields::new(json);
        let base = inner
            .float("rope_theta", 1.001, 1e12)
            .or_else(|| fields.float("rope_theta", 1.001, 1e12))
            .unwrap_or(10_000.0);
        inner.require_supported("partial_rotary_factor", &[json!(1), json!(1.0)]);
        fields.require_supported("partial_rotary_factor", &[json!(1), json!(1.0)]);
        let original = fields
            .optional_integer("original_max_position_embeddings", MAX_CONTEXT)
            .or_else(|| inner.optional_integer("original_max_position_embeddings", MAX_CONTEXT))
            .unwrap_or(context);
        let rope_type = inner
            .get("rope_type")
            .or_else(|| inner.get("type"))
            .cloned()
            .unwrap_or(json!("default"));
        let scaling = match rope_type.as_str() {
            Some("default") => Scaling::None,
            Some("linear") => Scaling::Linear {
                factor: required_float(&mut inner, "factor"),
            },
            Some("dynamic") => Scaling::Dynamic {
                factor: required_float(&mut inner, "factor"),
                original: context,
            },
            Some("llama3") => llama3(&mut inner, original),
            Some("yarn") => yarn(&mut inner, original, context),
            _ => {
                inner.reject(format!(
                    "rope_type {rope_type} is not supported, only default, linear, dynamic, llama3 and yarn"
                ));
                Scaling::None
            }
        };
        if let Err(failure) = inner.finish("rope_parameters") {
            fields.reject(failure.message);
        }
        Self { base, scaling }
    }

    /// Radians per position of each of the `size / 2` pairs of a head, for a text of `length` tokens.
    #[must_use]
    pub fn frequencies(&self, size: usize, length: usize) -> Vec<f32> {
        let plain = |base: f64| -> Vec<f32> {
            let power = |pair: usize| base.powf(f64::from((2 * pair) as f32 / size as f32)) as f32;
            (0..size / 2).map(|pair| 1.0 / power(pair)).collect()
        };
        match self.scaling {
            Scaling::None => plain(self.base),
            Scaling::Linear { factor } => plain(self.base)
                .into_iter()
                .map(|frequency| frequency / factor as f32)
                .collect(),
            Scaling::Dynamic { factor, original } => {
                let longer = length.max(original) as f64 / original as f64;
                let stretch = factor * longer - (factor - 1.0);
                plain(self.base * stretch.powf(size as f64 / (size as f64 - 2.0)))
            }
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => plain(self.base)
                .into_iter()
                .map(|frequency| {
                    scale_llama3(frequency, factor as f32, low as f32, high as f32, original as f32)
                })
                .collect(),
            Scaling::Yarn {
                factor,
                original,
                fast,
                slow,
                truncate,
                ..
            } => {
                let (low, high) = self.yarn_ramp([fast, slow], size, original, truncate);
                plain(self.base)
                    .into_iter()
                    .enumerate()
                    .map(|(pair, frequency)| {
                        let divided = ((pair as f32 - low) / (high - low)).clamp(0.0, 1.0);
                        let interpolated = 1.0 / (factor as f32 * (1.0 / frequency));
                        interpolated * divided + frequency * (1.0 - divided)
                    })
                    .collect()
            }
        }
    }

    /// Factor of cosines and sines; 1 except with YaRN.
    #[must_use]
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        }
    }

    /// The pairs between which YaRN's ramp rises: those with `turns` rotations within the original context.
    fn yarn_ramp(&self, turns: [f64; 2], size: usize, original: usize, truncate: bool) -> (f32, f32) {
        let size = size as f64;
        let pair = |turns: f64| {
            size * (original as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.base.ln())
        };
        let [mut low, mut high] = turns.map(pair);
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(size - 1.0));
        if low == high {
            high += 0.001;
        }
        (low as f32, high as f32)
    }
}

/// Llama 3.1's scaling of one frequency.
fn scale_llama3(frequency: f32, factor: f32, low: f32, high: f32, original: f32) -> f32 {
    let wavelength = std::f32::consts::TAU / frequency;
    if wavelength > original / low {
        frequency / factor
    } else if wavelength < original / high {
        frequency
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

fn required_float(inner: &mut JsonFields<'_>, name: &str) -> f64 {
    if inner.get(name).is_none() {
        inner.reject(format!("{name} is missing"));
    }
    inner.float(name, 1e-3, 1e6).unwrap_or(1.0)
}

fn llama3(inner: &mut JsonFields<'_>, original: usize) -> Scaling {
    let factor = required_float(inner, "factor");
    let (low, high) = (
        required_float(inner, "low_freq_factor"),
        required_float(inner, "high_freq_factor"),
    );
    if inner.get("high_freq_factor").is_some() && low >= high {
        inner.reject(format!(
            "high_freq_factor {high} must be above low_freq_factor {low}"
        ));
    }
    Scaling::Llama3 {
        factor,
        low,
        high,
        original,
    }
}

fn yarn(inner: &mut JsonFields<'_>, original: usize, context: usize) -> Scaling {
    let factor = inner
        .float("factor", 1e-3, 1e6)
        .unwrap_or(context as f64 / original as f64);
    let mscale = |scale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * scale * factor.ln() + 1.0
        }
    };
    // Zero counts as absent, as in Hugging Face's code.
    let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
    let (scale, all) = (
        given(inner.float("mscale", 0.0, 1e3)),
        given(inner.float("mscale_all_dim", 0.0, 1e3)),
    );
    let attention_factor = match (inner.float("attention_factor", 0.0, 1e3), scale, all) {
        (Some(attention_factor), ..) => attention_factor,
        (None, Some(scale), Some(all)) => mscale(scale) / mscale(all),
        _ => mscale(1.0),
    };
    Scaling::Yarn {
        factor,
        original,
        fast: given(inner.float("beta_fast", 0.0, 1e6)).unwrap_or(32.0),
        slow: given(inner.float("beta_slow", 0.0, 1e6)).unwrap_or(1.0),
        attention_factor,
        truncate: inner.boolean("truncate", true),
    }
}
