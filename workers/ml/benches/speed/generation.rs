//! Continues prompts greedily with the model of a folder.
//!
//! Rule: no text stop before it is as long as asked, on both sides, so the work is known.

use std::{error::Error, path::PathBuf, time::Instant};

use ml::{
    Compute,
    inference::{Network, Prompt, SamplingParams, StopConditions},
    model::{CausalModel, folder},
};

use crate::measure::{argument, cpu_seconds, memory_mib, number};

pub(crate) fn run() -> Result<serde_json::Value, Box<dyn Error>> {
    let path = PathBuf::from(argument("--model")?);
    let (batch, length) = (number::<usize>("--batch")?, number::<usize>("--length")?);
    let (new, rounds) = (number::<usize>("--new")?, number::<usize>("--rounds")?);
    let libraries = memory_mib("VmHWM")?;
    let model = folder::load::<Compute>(&path, &burn_flex::FlexDevice)?;
    let network = Network {
        model: CausalModel::new(&model.config, &model.parameters)?,
        adapter: None,
    };
    // The rows of torch_side.py.
    let vocabulary = model.config.vocab_size();
    let tokens = |row: usize| -> Vec<u32> {
        let token = |at: usize| ((row * 7919 + at * 104_729 + 17) % vocabulary) as u32;
        (0..length).map(token).collect()
    };
    let prompts = |max_new_tokens: usize| -> Vec<Prompt> {
        let prompt = |row: usize| Prompt {
            tokens: tokens(row),
            max_new_tokens,
            sampling: SamplingParams::GREEDY,
        };
        (0..batch).map(prompt).collect()
    };
    let stop = StopConditions::default();
    network.generate_batch(&prompts(8), &stop)?;
    let (mut seconds, mut ids, cpu) = (Vec::new(), Vec::new(), cpu_seconds()?);
    for _ in 0..rounds {
        let start = Instant::now();
        let generated = network.generate_batch(&prompts(new), &stop)?;
        seconds.push(start.elapsed().as_secs_f64());
        ids = generated.into_iter().map(|generated| generated.tokens).collect();
    }
    Ok(serde_json::json!({
        "side": "anneal",
        "seconds": seconds,
        "cpu_seconds": (cpu_seconds()? - cpu) / rounds as f64,
        "peak_mib": memory_mib("VmHWM")?,
        "libraries_mib": libraries,
        "ids": ids,
    }))
}
