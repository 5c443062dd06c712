//! Rotary position embeddings (Su et al., arXiv:2104.09864): how far each pair of numbers turns per position.
//!
//! Rule: frequencies and angles are computed in 32-bit floats in the order Hugging Face computes them, for at
//! large positions the rounding is part of what a model has learnt.

use serde_json::{Map, Value, json};

use super::fields::Fields;

/// Longest context a configuration may name.
pub(super) const LONGEST: u64 = 1 << 24;

/// The rotation of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// What the frequencies are powers of (`rope_theta`).
    pub base: f64,
    /// How they are stretched for longer texts.
    pub scaling: Scaling,
}

/// How the frequencies are stretched for texts longer than those of the pre-training.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All frequencies are divided by the factor (position interpolation, arXiv:2306.15595).
    Linear {
        /// How much longer the texts are.
        factor: f64,
    },
    /// The base grows with a text that is longer than `original` (dynamic NTK).
    Dynamic {
        /// How much longer texts may be.
        factor: f64,
        /// Tokens up to which nothing is stretched.
        original: usize,
    },
    /// Low frequencies are divided by the factor, those between `low` and `high` turns partly (Llama 3.1,
    /// arXiv:2407.21783).
    Llama3 {
        /// How much longer the texts are.
        factor: f64,
        /// Turns within `original` tokens below which a frequency is divided in full.
        low: f64,
        /// Turns within `original` tokens above which a frequency stays.
        high: f64,
        /// Tokens of the pre-training's texts.
        original: usize,
    },
    /// YaRN (arXiv:2309.00071): as Llama 3, with a ramp over the dimensions, and scores are sharpened.
    Yarn {
        /// How much longer the texts are.
        factor: f64,
        /// Tokens of the pre-training's texts.
        original: usize,
        /// Turns above which a frequency stays.
        fast: f64,
        /// Turns below which a frequency is divided in full.
        slow: f64,
        /// What cosines and sines are multiplied by.
        magnitude: f64,
        /// Whether the ramp begins and ends at whole dimensions.
        truncate: bool,
    },
}

impl Rope {
    /// Reads `rope_parameters`, or `rope_theta` and `rope_scaling` as files before transformers 5 have them;
    /// problems go to `fields`. `context` is `max_position_embeddings`.
    pub(super) fn read(fields: &mut Fields<'_>, context: usize) -> Self {
        let empty = Map::new();
        let given = fields
            .get("rope_scaling")
            .filter(|value| value.as_object().is_none_or(|map| !map.is_empty()))
            .or_else(|| fields.get("rope_parameters"));
        let json = match given {
            None => &empty,
            Some(Value::Object(map)) => map,
            Some(other) => {
                fields.refuse(format!("rope_parameters is {other}; expected an object"));
                &empty
            }
        };
        let mut inner = Fields::new(json);
        let base = inner
            .real("rope_theta", 1.001, 1e12)
            .or_else(|| fields.real("rope_theta", 1.001, 1e12))
            .unwrap_or(10_000.0);
        inner.only("partial_rotary_factor", &[json!(1), json!(1.0)]);
        fields.only("partial_rotary_factor", &[json!(1), json!(1.0)]);
        let original = fields
            .optional("original_max_position_embeddings", LONGEST)
            .or_else(|| inner.optional("original_max_position_embeddings", LONGEST))
            .unwrap_or(context);
        let kind = inner
            .get("rope_type")
            .or_else(|| inner.get("type"))
            .cloned()
            .unwrap_or(json!("default"));
        let scaling = match kind.as_str() {
            Some("default") => Scaling::None,
            Some("linear") => Scaling::Linear {
                factor: demanded(&mut inner, "factor"),
            },
            Some("dynamic") => Scaling::Dynamic {
                factor: demanded(&mut inner, "factor"),
                original: context,
            },
            Some("llama3") => llama3(&mut inner, original),
            Some("yarn") => yarn(&mut inner, original, context),
            _ => {
                inner.refuse(format!(
                    "rope_type {kind} is not supported, only default, linear, dynamic, llama3 and yarn"
                ));
                Scaling::None
            }
        };
        if let Err(failure) = inner.finish("rope_parameters") {
            fields.refuse(failure.message);
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
                    stretched(frequency, factor as f32, low as f32, high as f32, original as f32)
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
                let (low, high) = self.ramp([fast, slow], size, original, truncate);
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

    /// What cosines and sines are multiplied by: 1, but for YaRN.
    #[must_use]
    pub fn magnitude(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { magnitude, .. } => magnitude as f32,
            _ => 1.0,
        }
    }

    /// The pairs between which YaRN's ramp rises: those that turn `turns` times within the original context.
    fn ramp(&self, turns: [f64; 2], size: usize, original: usize, truncate: bool) -> (f32, f32) {
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

/// Llama 3.1's stretching of one frequency.
fn stretched(frequency: f32, factor: f32, low: f32, high: f32, original: f32) -> f32 {
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

fn demanded(inner: &mut Fields<'_>, name: &str) -> f64 {
    if inner.get(name).is_none() {
        inner.refuse(format!("{name} is missing"));
    }
    inner.real(name, 1e-3, 1e6).unwrap_or(1.0)
}

fn llama3(inner: &mut Fields<'_>, original: usize) -> Scaling {
    let factor = demanded(inner, "factor");
    let (low, high) = (
        demanded(inner, "low_freq_factor"),
        demanded(inner, "high_freq_factor"),
    );
    if inner.get("high_freq_factor").is_some() && low >= high {
        inner.refuse(format!(
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

fn yarn(inner: &mut Fields<'_>, original: usize, context: usize) -> Scaling {
    let factor = inner
        .real("factor", 1e-3, 1e6)
        .unwrap_or(context as f64 / original as f64);
    let sharpened = |scale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * scale * factor.ln() + 1.0
        }
    };
    // Zero counts as absent, as in Python.
    let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
    let (scale, all) = (
        given(inner.real("mscale", 0.0, 1e3)),
        given(inner.real("mscale_all_dim", 0.0, 1e3)),
    );
    let magnitude = match (inner.real("attention_factor", 0.0, 1e3), scale, all) {
        (Some(magnitude), ..) => magnitude,
        (None, Some(scale), Some(all)) => sharpened(scale) / sharpened(all),
        _ => sharpened(1.0),
    };
    Scaling::Yarn {
        factor,
        original,
        fast: given(inner.real("beta_fast", 0.0, 1e6)).unwrap_or(32.0),
        slow: given(inner.real("beta_slow", 0.0, 1e6)).unwrap_or(1.0),
        magnitude,
        truncate: inner.flag("truncate", true),
    }
}
