//! Trains a LoRA adapter on a model of random weights.
//!
//! Rule: the loop is that of a training (graph, loss, gradients, clipping, AdamW), without data and telemetry.

use std::{error::Error, time::Instant};

use burn::tensor::{
    Distribution, Tensor,
    backend::{AutodiffBackend, Backend},
};
use ml::{
    Differentiable,
    autodiff_guard::AutodiffGuard,
    data::batch::Batch,
    device::{Device, gpu_monitor::GpuMonitor},
    lora,
    model::{config::ModelConfig, ops::precision::dtype_of},
    parameters::ParameterSet,
    random::{Purpose, stream},
    spec::{Adam, Lora, Precision},
    training::{
        loss::{Targets, head_loss},
        optimizer::{AdamW, clip},
        trainable::{Trainable, TrainingBackend, hidden_states},
    },
};
use rand::Rng;

use crate::measure::{argument, cpu_seconds, memory_mib, number};

pub(crate) fn run() -> Result<serde_json::Value, Box<dyn Error>> {
    match argument("--device").map_or(Ok(Device::Cpu), |device| device.parse())? {
        Device::Cpu => train::<Differentiable>(&burn_flex::FlexDevice, None),
        #[cfg(feature = "cuda")]
        Device::Cuda { index } => {
            let kernels = argument("--kernels").ok().map(std::path::PathBuf::from);
            let (device, handle) = ml::device::cuda::open(index, kernels.as_deref())?;
            train::<ml::device::cuda::DifferentiableCuda>(&handle, GpuMonitor::new(&device.bus_id))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda { .. } => Err("built without CUDA: cargo bench --features cuda".into()),
    }
}

type DeviceOf<B> = <<B as AutodiffBackend>::InnerBackend as burn::tensor::backend::BackendTypes>::Device;

/// The sizes of a measurement.
struct Sizes {
    batch: usize,
    length: usize,
    steps: usize,
    warm_up: usize,
}

/// A model of random weights with an adapter.
struct Model<B: TrainingBackend> {
    config: ModelConfig,
    trainable: Trainable<B>,
    parameters: ParameterSet<B::InnerBackend>,
    precision: Precision,
}

impl<B: TrainingBackend> Model<B> {
    fn from_arguments(device: &DeviceOf<B>) -> Result<Self, Box<dyn Error>> {
        let precision = match argument("--precision").as_deref() {
            Ok("bf16") => Precision::Bf16,
            Ok("f32") | Err(_) => Precision::F32,
            Ok(other) => return Err(format!("--precision {other}: say f32 or bf16").into()),
        };
        let config = ModelConfig::from_json(&std::fs::read(argument("--config")?)?)?;
        let rank: u32 = number("--rank")?;
        let settings = Lora {
            rank,
            alpha: 2.0 * f64::from(rank),
            dropout: number("--dropout")?,
            target_modules: argument("--targets")?.split(',').map(str::to_owned).collect(),
            ..Lora::default()
        };
        // Generated on the device, because a large model takes minutes on the CPU.
        let mut weights = ParameterSet::<B::InnerBackend>::default();
        for (name, shape) in config.tensors() {
            let random = Tensor::<B::InnerBackend, 2>::random(shape, Distribution::Normal(0.0, 0.02), device);
            weights.insert(name, random.cast(dtype_of(precision)));
        }
        let plan = lora::Plan::new(&config, &settings)?;
        let parameters = lora::initialize::<B::InnerBackend>(&plan, &weights, &config, 1, device)?;
        Ok(Self {
            trainable: Trainable::<B>::lora(config.clone(), settings, weights)?,
            config,
            parameters,
            precision,
        })
    }

    /// Trains on `batch` and returns the loss.
    fn step(
        &mut self,
        batch: &Batch,
        step: usize,
        optimizer: &mut AdamW<B::InnerBackend>,
    ) -> Result<f64, Box<dyn Error>> {
        let guard = AutodiffGuard::acquire();
        let leaves = ParameterSet::<B>::leaves(&self.parameters, &guard);
        let network = self
            .trainable
            .training_network(&leaves.cast(dtype_of(self.precision)))?;
        let dropout = (
            self.trainable.dropout(),
            stream(1, Purpose::Dropout, step as u64, 0),
        );
        let states = hidden_states(&network, batch, Some(dropout));
        let targets = Targets {
            positions: &batch.target_positions,
            tokens: &batch.targets,
        };
        let result = head_loss(states, network.model.head(), false, targets, 1.0)?;
        let graph = result.surrogate.backward();
        let mut gradients = ParameterSet::default();
        for (name, leaf) in leaves.iter() {
            gradients.insert(name, leaf.grad(&graph).ok_or("a leaf without gradient")?);
        }
        drop((leaves, network));
        clip(&mut gradients, 1.0)?;
        optimizer.update(&mut self.parameters, gradients, 1e-3, 0.01, Adam::default());
        Ok(result.loss)
    }
}

fn random_batch(rng: &mut impl Rng, sizes: &Sizes, vocabulary: usize) -> Batch {
    let count = sizes.batch * sizes.length;
    let mut tokens = || -> Vec<i32> {
        (0..count)
            .map(|_| rng.random_range(0..vocabulary as i32))
            .collect()
    };
    Batch {
        rows: sizes.batch,
        length: sizes.length,
        inputs: tokens(),
        target_positions: (0..count as i32).collect(),
        targets: tokens(),
        packed: None,
    }
}

fn train<B: TrainingBackend>(
    device: &DeviceOf<B>,
    gpu_monitor: Option<GpuMonitor>,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let sizes = Sizes {
        batch: number("--batch")?,
        length: number("--length")?,
        steps: number("--steps")?,
        warm_up: number("--warm-up")?,
    };
    let libraries = memory_mib("VmHWM")?;
    let mut model = Model::<B>::from_arguments(device)?;
    let mut optimizer = AdamW::new(&model.parameters);
    let mut rng = stream(1, Purpose::Batch, 0, 0);
    let (mut seconds, mut cpu, mut loss) = (Vec::new(), 0.0, 0.0);
    for step in 0..sizes.warm_up + sizes.steps {
        let batch = random_batch(&mut rng, &sizes, model.config.vocab_size());
        let (start, cpu_start) = (Instant::now(), cpu_seconds()?);
        loss = model.step(&batch, step, &mut optimizer)?;
        // Work that was submitted to a GPU may still be in progress.
        B::InnerBackend::sync(device).map_err(|error| format!("{error:?}"))?;
        if step >= sizes.warm_up {
            seconds.push(start.elapsed().as_secs_f64());
            cpu += cpu_seconds()? - cpu_start;
        }
    }
    let usage = gpu_monitor.and_then(|monitor| monitor.read());
    Ok(serde_json::json!({
        "side": "anneal",
        "seconds": seconds,
        "cpu_seconds": cpu / sizes.steps as f64,
        "peak_mib": memory_mib("VmHWM")?,
        "libraries_mib": libraries,
        "device_mib": usage.map(|usage| usage.memory_bytes >> 20),
        "loss": loss,
    }))
}
