//! Embeds the texts of a file, from text to vectors.

use std::{error::Error, path::PathBuf, time::Instant};

use ml::{Compute, model::encoder::SentenceEncoder};

use crate::measure::{argument, cpu_seconds, memory_mib, number};

pub(crate) fn run() -> Result<serde_json::Value, Box<dyn Error>> {
    let path = PathBuf::from(argument("--model")?);
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(argument("--texts")?)?)?;
    let rounds = number::<usize>("--rounds")?;
    let libraries = memory_mib("VmHWM")?;
    let encoder = SentenceEncoder::<Compute>::load(&path, &burn_flex::FlexDevice)?;
    encoder.embed(&texts)?;
    let (mut seconds, mut found, cpu) = (Vec::new(), Vec::new(), cpu_seconds()?);
    for _ in 0..rounds {
        let start = Instant::now();
        found = encoder.embed(&texts)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let vectors: Vec<_> = found.iter().map(|embedding| &embedding.vector).collect();
    std::fs::write(argument("--vectors")?, serde_json::to_vec(&vectors)?)?;
    Ok(serde_json::json!({
        "side": "anneal",
        "seconds": seconds,
        "cpu_seconds": (cpu_seconds()? - cpu) / rounds as f64,
        "peak_mib": memory_mib("VmHWM")?,
        "libraries_mib": libraries,
    }))
}
