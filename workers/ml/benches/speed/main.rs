//! Our side of the measurements beside PyTorch: trains, generates or embeds, and prints what it cost as one line
//! of JSON.
//!
//! The other side is `torch_side.py`; `compare.py` runs both and says what each argument means.

mod embedding;
mod generation;
mod measure;
mod training;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let report = match std::env::args().nth(1).as_deref() {
        Some("training") => training::run()?,
        Some("generation") => generation::run()?,
        Some("embedding") => embedding::run()?,
        // `cargo test --benches` and `cargo bench` without our arguments have nothing to measure.
        _ => {
            println!("nothing to measure; see workers/ml/benches/compare.py");
            return Ok(());
        }
    };
    println!("{report}");
    Ok(())
}
