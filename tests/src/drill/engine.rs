//! The downloaded adapter in the training engine, and beside it in PEFT.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use ml::{
    Compute,
    lora::{self, Plan, peft},
    model::{AdapterPass, CausalModel, TokenBatch, folder},
    parameters::values,
};
use serde_json::json;

/// Rows of the text whose logits are compared.
const ROWS: i32 = 4;
/// Tokens of a row.
const TOKENS: i32 = 32;

/// Has Python load the adapter in `kept`: its logits must be the engine's (`workers/ml/fixtures/check_peft.py`), and its
/// loss on the held-out end of the text the one that the job recorded (`tests/fixtures/drill/evaluate_adapter.py`).
pub(super) fn check_with_python(
    python: &Path,
    kept: &Path,
    share: f64,
    length: u32,
    recorded: &str,
) -> Result<()> {
    let logits = kept.join("logits.safetensors");
    write_logits(kept, &logits)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (base, adapter) = (kept.join("base"), kept.join("adapter"));
    let mut same = Command::new(python);
    same.arg(root.join("../workers/ml/fixtures/check_peft.py"));
    ran(
        same.args([&base, &adapter, &logits]),
        "PEFT does not compute what the engine computes",
    )?;
    let mut evaluated = Command::new(python);
    evaluated.arg(root.join("fixtures/drill/evaluate_adapter.py"));
    evaluated.args([&base, &adapter, &kept.join("text.txt")]);
    evaluated.args([share.to_string(), length.to_string(), recorded.to_owned()]);
    ran(&mut evaluated, "PEFT's evaluation is not the recorded one")
}

fn ran(command: &mut Command, otherwise: &'static str) -> Result<()> {
    let status = command.status().context("Python could not be run")?;
    ensure!(status.success(), "{otherwise} ({status})");
    Ok(())
}

/// The engine's logits with the adapter, for `check_peft.py`.
fn write_logits(kept: &Path, file: &Path) -> Result<()> {
    let device = Default::default();
    let base = folder::load::<Compute>(&kept.join("base"), &device)?;
    let (settings, parameters) = peft::load::<Compute>(&kept.join("adapter"), &base.config, &device)?;
    let plan = Plan::new(&base.config, &settings)?;
    let adapter = lora::adapter(&plan, &parameters)?;
    let model = CausalModel::new(&base.config, &base.parameters)?;
    let vocabulary = i32::try_from(base.config.vocab_size())?;
    let ids: Vec<i32> = (0..ROWS * TOKENS).map(|n| (n * 37 + 11) % vocabulary).collect();
    let mut pass = AdapterPass::without_dropout(&adapter);
    let hidden = model.hidden_states(
        &TokenBatch::rows(ids.clone(), usize::try_from(ROWS)?),
        Some(&mut pass),
        None,
    );
    let logits = values(model.logits(hidden))?;
    let ids = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let logits = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let encoded = encoded(
        ("I32", [ROWS, TOKENS], ids),
        ("F32", [ROWS * TOKENS, vocabulary], logits),
    );
    std::fs::write(file, encoded).context("the logits are not written")
}

/// Type, shape and bytes of a tensor.
type Tensor = (&'static str, [i32; 2], Vec<u8>);

/// A file in the format of safetensors: the length of its head, the head in JSON, the bytes.
fn encoded(ids: Tensor, logits: Tensor) -> Vec<u8> {
    let [first, second] = [&ids, &logits].map(|(.., bytes)| bytes.len());
    let head = json!({
        "ids": { "dtype": ids.0, "shape": ids.1, "data_offsets": [0, first] },
        "logits": { "dtype": logits.0, "shape": logits.1, "data_offsets": [first, first + second] },
    });
    // Padded, so that the numbers lie on whole words.
    let head = head.to_string();
    let width = head.len().next_multiple_of(8);
    let head = format!("{head:<width$}");
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(head.as_bytes());
    file.extend(ids.2);
    file.extend(logits.2);
    file
}
