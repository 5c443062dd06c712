//! What several tests of the engine need: small jobs, and a watcher that remembers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ml::{
    Compute,
    data::source::DatasetFile,
    inference::Network,
    job::JobFile,
    message::LogLevel,
    model::{AdapterPass, TokenBatch},
    parameters::values,
    run::{RunInfo, TrainingObserver},
    spec::{Architecture, HyperParameters, Lora, Method, Objective, Outputs, TrainingSpec},
    training::{Evaluation, StepReport, checkpoint::SavedCheckpoint},
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use tempfile::TempDir;

pub const DEVICE: burn_flex::FlexDevice = burn_flex::FlexDevice;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A folder of its own for a test, with a small text in it.
pub struct TestDir(TempDir);

impl TestDir {
    pub fn new() -> Self {
        let dir = Self(tempfile::tempdir().expect("a temporary folder"));
        let animals = ["fox", "dog", "cat", "owl", "hen"];
        let verbs = ["jumps over", "looks at", "runs to", "sleeps by"];
        let text: String = (0..400)
            .map(|n| {
                format!(
                    "The {} {} the {}.\n",
                    animals[n % 5],
                    verbs[n * 7 % 4],
                    animals[(n * 3 + 1) % 5]
                )
            })
            .collect();
        dir.dataset("text.txt", &text, "text");
        dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn dataset(&self, name: &str, content: &str, format: &str) -> DatasetFile {
        fs::write(self.path(name), content).expect("written");
        serde_json::from_value(json!({"path": self.path(name), "format": format})).expect("a file")
    }

    /// Twelve steps of a new model.
    pub fn scratch(&self, name: &str) -> JobFile {
        let architecture = Architecture {
            layers: 2,
            heads: 2,
            width: 32,
            context: 32,
            vocabulary: 320,
        };
        self.job(name, Method::Scratch(architecture), 0.01)
    }

    /// Twelve steps of an adapter on the base of the fixtures.
    pub fn lora(&self, name: &str) -> JobFile {
        let lora = Lora {
            rank: 4,
            alpha: 8.0,
            dropout: 0.1,
            target_modules: ["c_attn", "c_fc"].map(str::to_owned).to_vec(),
            ..Lora::default()
        };
        self.job(name, Method::Lora(lora), 0.005)
    }

    fn job(&self, name: &str, method: Method, learning_rate: f64) -> JobFile {
        let base = method.needs_base().then(|| fixture("base"));
        let spec = TrainingSpec {
            method,
            objective: Objective::default(),
            parameters: HyperParameters {
                steps: 12,
                batch_size: 2,
                gradient_accumulation: 2,
                learning_rate,
                warmup_steps: 2,
                sequence_length: 24,
                evaluate_every: 5,
                checkpoint_every: 4,
                seed: 1,
                sample_prompt: "The dog".to_owned(),
                sample_tokens: 8,
                ..HyperParameters::default()
            },
            outputs: Outputs::default(),
        };
        let job = json!({
            "job_id": "test", "spec": spec, "base_model_dir": base, "work_dir": self.path(name),
            "dataset_files": [{"path": self.path("text.txt"), "format": "text"}],
        });
        serde_json::from_value(job).expect("a job")
    }

    /// The base of the fixtures with embeddings no 32-bit product can hold.
    pub fn exploding_base(&self) -> PathBuf {
        let folder = self.path("exploding");
        fs::create_dir(&folder).expect("made");
        for name in ["config.json", "tokenizer.json"] {
            fs::copy(fixture("base").join(name), folder.join(name)).expect("copied");
        }
        let bytes = fs::read(fixture("base/model.safetensors")).expect("weights");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a file");
        let huge: Vec<u8> = [3e38f32, -3e38]
            .iter()
            .cycle()
            .take(300 * 32)
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let views = file.iter().map(|(name, view)| {
            let data = if name.ends_with("wte.weight") {
                &huge[..]
            } else {
                view.data()
            };
            (
                name.to_owned(),
                TensorView::new(view.dtype(), view.shape().to_vec(), data).expect("a view"),
            )
        });
        let encoded = safetensors::serialize(views, None).expect("encoded");
        fs::write(folder.join("model.safetensors"), encoded).expect("written");
        folder
    }
}

/// Remembers everything.
#[derive(Default)]
pub struct RecordingObserver {
    pub stop_after: Option<u32>,
    pub info: Option<RunInfo>,
    pub steps: Vec<StepReport>,
    pub evaluations: Vec<Evaluation>,
    pub samples: Vec<(u32, String)>,
    pub prompts: Vec<String>,
    pub checkpoints: Vec<(u32, SavedCheckpoint)>,
    pub logs: Vec<String>,
}

impl TrainingObserver for RecordingObserver {
    fn started(&mut self, info: &RunInfo) {
        self.info = Some(*info);
    }
    fn step_completed(&mut self, report: &StepReport) {
        self.steps.push(*report);
    }
    fn evaluation_completed(&mut self, evaluation: &Evaluation) {
        self.evaluations.push(*evaluation);
    }
    fn sample_generated(&mut self, step: u32, prompt: &str, text: &str) {
        self.samples.push((step, text.to_owned()));
        self.prompts.push(prompt.to_owned());
    }
    fn checkpoint_saved(&mut self, step: u32, written: &SavedCheckpoint) {
        self.checkpoints.push((step, written.clone()));
    }
    fn log(&mut self, _: LogLevel, message: String) {
        self.logs.push(message);
    }
    fn stop_requested(&self) -> bool {
        self.stop_after
            .is_some_and(|limit| self.steps.len() >= limit as usize)
    }
}

/// Copies `artifact` to `target/adapter` and writes `target/logits.safetensors` for `check_peft.py`.
pub fn export(target: &Path, artifact: &Path, network: &Network<Compute>) {
    fs::create_dir_all(target.join("adapter")).expect("made");
    for entry in fs::read_dir(artifact).expect("listed") {
        let path = entry.expect("an entry").path();
        fs::copy(
            &path,
            target.join("adapter").join(path.file_name().expect("a name")),
        )
        .expect("copied");
    }
    let ids: Vec<i32> = (0..40).map(|n| (n * 37 + 11) % 300).collect();
    let input = TokenBatch::rows(ids.clone(), 2);
    let mut pass = network.adapter.as_ref().map(AdapterPass::without_dropout);
    let logits = values(
        network
            .model
            .logits(network.model.hidden_states(&input, pass.as_mut(), None)),
    )
    .expect("numbers");
    let bytes = |words: Vec<[u8; 4]>| words.concat();
    let ids = bytes(ids.iter().map(|id| id.to_le_bytes()).collect());
    let logits = bytes(logits.iter().map(|value| value.to_le_bytes()).collect());
    let views = [
        (
            "ids",
            TensorView::new(Dtype::I32, vec![2, 20], &ids).expect("a view"),
        ),
        (
            "logits",
            TensorView::new(Dtype::F32, vec![40, 300], &logits).expect("a view"),
        ),
    ];
    fs::write(
        target.join("logits.safetensors"),
        safetensors::serialize(views, None).expect("encoded"),
    )
    .expect("written");
}
