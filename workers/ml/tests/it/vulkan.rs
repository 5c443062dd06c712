//! The backends that compile their kernels at run time, through Vulkan, whose software device (Mesa's lavapipe)
//! every machine can have: `cargo test -p ml --features vulkan -- vulkan`. They are CUDA's kernels but for the
//! matrix units.

use burn::{
    backend::{Autodiff, Wgpu, wgpu::WgpuDevice},
    tensor::{Tensor, TensorData, backend::Backend},
};
use ml::{
    Compute,
    model::ops::{
        AttentionMask, Dropout, Orientation, TransformerGradients, TransformerOps,
        optimizer::{AdamState, AdamStep},
    },
    parameters::values,
    self_test::{self, MatmulPrecision},
    spec::Precision,
};

/// WK-3
#[test]
fn a_device_of_vulkan_passes_the_self_test() {
    let device = WgpuDevice::default();
    let found =
        self_test::run::<Autodiff<Wgpu>>(&device, MatmulPrecision::F32, &[Precision::F32]).expect("compared");
    for comparison in &found {
        println!("{comparison:?}");
    }
    for comparison in found {
        assert!(comparison.holds(), "{comparison:?}");
    }
}

/// Numbers that look random, the same for every backend.
fn matrix<B: Backend>(seed: usize, [rows, columns]: [usize; 2]) -> Tensor<B, 2> {
    let number = |place: usize| ((place * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    let numbers: Vec<f32> = (0..rows * columns).map(number).collect();
    Tensor::from_data(TensorData::new(numbers, [rows, columns]), &B::Device::default())
}

/// Every operation with its gradients, by name.
fn all<B: TransformerGradients>() -> Vec<(&'static str, Vec<f32>)> {
    // Wider than a cube has units.
    let (rows, heads, key_heads, size) = (12, 4, 2, 70);
    let (width, key_width, batch) = (heads * size, key_heads * size, 2);
    let x = || matrix::<B>(1, [rows, width]);
    let y = || matrix::<B>(2, [rows, width]);
    let gain = || matrix::<B>(3, [1, width]);
    let [keys, values_in] = [4, 5].map(|seed| matrix::<B>(seed, [rows, key_width]));
    let [cosines, sines] = [6, 7].map(|seed| matrix::<B>(seed, [rows, size / 2]));
    let weight = matrix::<B>(8, [width + 3, width]);
    let causal = AttentionMask::causal(batch);
    let window = AttentionMask::window(batch, rows / batch, rows / batch, 3);
    let mut found = vec![
        ("layer norm", B::layer_norm_rows(x(), gain(), gain(), 1e-5)),
        ("rms norm", B::rms_norm_rows(x(), gain(), 1e-5)),
        ("gelu", B::gelu_new(x())),
        ("swiglu", B::swiglu(x(), y())),
        ("rotate", B::rotate(x(), cosines.clone(), sines.clone(), heads)),
        ("rotate keys", B::rotate(keys.clone(), cosines, sines, key_heads)),
        (
            "linear",
            <B as TransformerOps>::linear(x(), weight, Orientation::OutIn, None, None),
        ),
    ];
    let packed = AttentionMask::from_first(batch, vec![0, 0, 2, 2, 2, 5, 0, 1, 1, 3, 3, 3]);
    for (name, mask) in [("attention", &causal), ("window", &window), ("packed", &packed)] {
        found.push((
            name,
            <B as TransformerOps>::attention(x(), keys.clone(), values_in.clone(), mask, heads, key_heads),
        ));
        let gradients =
            B::attention_gradient(y(), x(), keys.clone(), values_in.clone(), mask, heads, key_heads);
        found.extend(gradients.map(|gradient| ("gradient of attention", gradient)));
    }
    let dropout = Dropout {
        probability: 0.3,
        key: 77,
    };
    found.push(("dropped", B::apply_dropout(x(), dropout)));
    let tokens: Vec<i32> = (0..rows as i32).map(|row| row * 23).collect();
    let (losses, gradient) = B::cross_entropy(x() * 4.0, &tokens, 0.25);
    found.extend([("losses", losses), ("gradient of losses", gradient)]);
    let state = AdamState {
        parameter: x(),
        mean: y(),
        square: x() * x(),
    };
    let step = AdamStep {
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        decay_factor: 0.99,
        step_size: 0.01,
        square_factor: 1.5,
    };
    let AdamState {
        parameter,
        mean,
        square,
    } = B::adam(state, y(), &step);
    found.extend([("parameter", parameter), ("mean", mean), ("square", square)]);
    for affine in [false, true] {
        found.push((
            "gradient of layer norm",
            B::layer_norm_gradient(y(), x(), gain(), 1e-5, affine).0,
        ));
    }
    found.push((
        "gradient of rms norm alone",
        B::rms_norm_gradient(y(), x(), gain(), 1e-5, false).0,
    ));
    found.push((
        "gradient of rms norm",
        B::rms_norm_gradient(y(), x(), gain(), 1e-5, true).0,
    ));
    found.push(("gradient of gelu", B::gelu_new_gradient(y(), x())));
    found.extend(B::swiglu_gradient(y(), x(), x()).map(|gradient| ("gradient of swiglu", gradient)));
    let numbers = |(name, tensor)| (name, values(tensor).expect("numbers"));
    found.into_iter().map(numbers).collect()
}

/// WK-3: alone, each operation is that of the processor.
#[test]
fn operations_on_vulkan_are_those_of_the_processor() {
    let mut wrong = Vec::new();
    for ((name, ours), (_, theirs)) in all::<Wgpu>().into_iter().zip(all::<Compute>()) {
        let worst = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (a - b).abs())
            .fold(0f32, f32::max);
        println!("{name}: {worst:.1e}");
        if ours.len() != theirs.len() || worst.is_nan() || worst > 1e-4 {
            wrong.push(format!("{name}: {worst:.1e}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
