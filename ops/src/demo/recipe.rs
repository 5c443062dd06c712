//! What the demonstration trains, and how. Everything that can be tuned is here.

use serde_json::{Value, json};

/// A dataset that ships inside the binary.
pub(super) struct Shipped {
    /// Name of the dataset.
    pub(super) name: &'static str,
    /// What it is and where it comes from.
    pub(super) description: &'static str,
    /// Name of the file.
    pub(super) file: &'static str,
    /// The file.
    pub(super) bytes: &'static [u8],
}

/// Three public-domain works; see `ops/demo/README.md`.
pub(super) const CORPUS: Shipped = Shipped {
    name: "Alice, Shakespeare and Milton",
    description: "Alice's Adventures in Wonderland, As You Like It, Paradise Lost. Public domain.",
    file: "corpus.txt",
    bytes: include_bytes!("../../demo/corpus.txt"),
};

/// Conversations made of them.
pub(super) const CONVERSATIONS: Shipped = Shipped {
    name: "Conversations about them",
    description: "Chat samples derived from the same three works. Public domain.",
    file: "chat.jsonl",
    bytes: include_bytes!("../../demo/chat.jsonl"),
};

/// Name of the project.
pub(super) const PROJECT: &str = "Demo";
/// Name of the experiment.
pub(super) const EXPERIMENT: &str = "From a text to an adapter";
/// The role that the engineer gets.
pub(super) const ROLE: &str = "engineer_i";

fn named(name: &str, quick: bool) -> String {
    if quick {
        format!("{name} (quick)")
    } else {
        name.to_owned()
    }
}

/// Name of the first job and its model.
pub(super) fn scratch_name(quick: bool) -> String {
    named("Small GPT-2", quick)
}

/// Name of the second job and its model.
pub(super) fn lora_name(quick: bool) -> String {
    named("Adapter for conversations", quick)
}

/// A GPT-2 small enough for two cores.
pub(super) fn scratch_method() -> Value {
    json!({ "scratch": { "layers": 2, "heads": 4, "width": 128, "context": 128, "vocabulary": 1024 } })
}

/// How it is trained: less than a minute on two cores.
pub(super) fn scratch_parameters(quick: bool) -> Value {
    json!({
        "steps": if quick { 20 } else { 1000 },
        "batchSize": 8,
        "learningRate": 4e-3,
        "warmupSteps": if quick { 5 } else { 40 },
        "evaluateEvery": 100,
        "checkpointEvery": 100,
        "samplePrompt": "Alice was beginning to",
    })
}

/// An adapter on every linear layer of `base`, a model's id.
pub(super) fn lora_method(base: &str) -> Value {
    json!({ "lora": { "baseModelId": base, "rank": 8, "alpha": 16.0, "targetModules": ["c_attn", "c_proj", "c_fc"] } })
}

/// How it is trained: about ten seconds on two cores.
pub(super) fn lora_parameters(quick: bool) -> Value {
    json!({
        "steps": if quick { 10 } else { 300 },
        "warmupSteps": if quick { 2 } else { 20 },
        "batchSize": 8,
        "learningRate": 1e-2,
        "evaluateEvery": 100,
        "checkpointEvery": 100,
        "samplePrompt": "Continue from Alice's Adventures in Wonderland: Alice said",
    })
}
