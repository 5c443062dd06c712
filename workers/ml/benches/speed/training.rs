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
    data::batch::Batch,
    device::{Device, meter::Meter},
    graphs::Turn,
    lora,
    model::config::ModelConfig,
    parameters::ParameterSet,
    random::{Purpose, stream},
    spec::{Adam, LoraSettings, Precision},
    training::{
        loss::{Targets, head_loss},
        optimizer::{AdamW, clip},
        task::{Task, TrainingBackend, hidden},
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
            train::<ml::device::cuda::DifferentiableCuda>(&handle, Meter::of(&device.bus_id))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda { .. } => Err("built without CUDA: cargo bench --features cuda".into()),
    }
}

type DeviceOf<B> = <<B as AutodiffBackend>::InnerBackend as burn::tensor::backend::BackendTypes>::Device;

fn train<B: TrainingBackend>(
    device: &DeviceOf<B>,
    meter: Option<Meter>,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let config = argument("--config")?;
    let (batch, length) = (number::<usize>("--batch")?, number::<usize>("--length")?);
    let (steps, warm_up) = (number::<usize>("--steps")?, number::<usize>("--warm-up")?);
    let precision = match argument("--precision").as_deref() {
        Ok("bf16") => Precision::Bf16,
        Ok("f32") | Err(_) => Precision::F32,
        Ok(other) => return Err(format!("--precision {other}: say f32 or bf16").into()),
    };
    let rank: u32 = number("--rank")?;
    let libraries = memory_mib("VmHWM")?;
    let config = ModelConfig::from_json(&std::fs::read(config)?)?;
    let settings = LoraSettings {
        rank,
        alpha: 2.0 * f64::from(rank),
        dropout: number("--dropout")?,
        target_modules: argument("--targets")?.split(',').map(str::to_owned).collect(),
        ..LoraSettings::default()
    };
    // Drawn where they are used: a large model takes minutes on the processor.
    let mut weights = ParameterSet::<B::InnerBackend>::default();
    for (name, shape) in config.tensors() {
        let drawn = Tensor::<B::InnerBackend, 2>::random(shape, Distribution::Normal(0.0, 0.02), device);
        weights.insert(name, drawn.cast(precision.floats()));
    }
    let plan = lora::Plan::new(&config, &settings)?;
    let mut parameters = lora::initial::<B::InnerBackend>(&plan, &weights, &config, 1, device)?;
    let task = Task::<B>::lora(config.clone(), settings, weights)?;
    let mut optimizer = AdamW::new(&parameters);
    let mut rng = stream(1, Purpose::Batch, 0, 0);
    let (mut seconds, mut cpu, mut loss) = (Vec::new(), 0.0, 0.0);
    for step in 0..warm_up + steps {
        let mut tokens = || -> Vec<i32> {
            (0..batch * length)
                .map(|_| rng.random_range(0..config.vocab_size() as i32))
                .collect()
        };
        let batch = Batch {
            rows: batch,
            length,
            inputs: tokens(),
            places: (0..(batch * length) as i32).collect(),
            targets: tokens(),
            packed: None,
        };
        let (start, cpu_start) = (Instant::now(), cpu_seconds()?);
        let turn = Turn::wait();
        let leaves = ParameterSet::<B>::leaves(&parameters, &turn);
        let network = task.differentiable(&leaves.cast(precision.floats()))?;
        let dropout = (task.dropout(), stream(1, Purpose::Dropout, step as u64, 0));
        let states = hidden(&network, &batch, Some(dropout));
        let targets = Targets {
            places: &batch.places,
            tokens: &batch.targets,
        };
        let result = head_loss(states, network.model.head(), false, targets, 1.0)?;
        let found = result.surrogate.backward();
        let mut gradients = ParameterSet::default();
        for (name, leaf) in leaves.iter() {
            gradients.insert(name, leaf.grad(&found).ok_or("a leaf without gradient")?);
        }
        drop((leaves, network));
        clip(&mut gradients, 1.0)?;
        optimizer.update(&mut parameters, gradients, 1e-3, 0.01, Adam::default());
        loss = result.loss;
        // What a GPU was asked for may still be under way.
        B::InnerBackend::sync(device).map_err(|error| format!("{error:?}"))?;
        if step >= warm_up {
            seconds.push(start.elapsed().as_secs_f64());
            cpu += cpu_seconds()? - cpu_start;
        }
    }
    Ok(serde_json::json!({
        "side": "anneal",
        "seconds": seconds,
        "cpu_seconds": cpu / steps as f64,
        "peak_mib": memory_mib("VmHWM")?,
        "libraries_mib": libraries,
        "device_mib": meter.and_then(|meter| meter.read()).map(|reading| reading.memory_bytes >> 20),
        "loss": loss,
    }))
}
