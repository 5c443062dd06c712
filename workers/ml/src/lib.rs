//! The training engine: language models of the GPT-2 and Llama families by LoRA adapters, of all weights or from
//! scratch, text from them, and sentence embeddings, on burn.
//!
//! It is handed a [`job::JobFile`], trains in a process of its own ([`child::run`]) and tells its parent what
//! happens in [`message::ChildMessage`]s. Rule: this crate alone knows burn, and it knows nothing of the
//! rest of the product: no database, no domain, no network.
//!
//! ```text
//! job ──► data ──► training ──► artifact
//!                   │  ├─ model, lora (the network)      inference (samples)
//!                   │  └─ checkpoint (exact resume)
//! ```

#![deny(unsafe_code, clippy::undocumented_unsafe_blocks)]

pub mod artifact;
pub mod autodiff_guard;
pub mod child;
pub mod data;
pub mod device;
pub mod failure;
pub mod files;
pub mod inference;
pub mod job;
pub mod lora;
pub mod memory;
pub mod message;
pub mod model;
mod panic_guard;
pub mod parameters;
pub mod process_memory;
pub mod random;
#[expect(
    unsafe_code,
    reason = "raw pointers and foreign functions behind a safe interface; see the module"
)]
mod raw;
pub mod run;
pub mod self_test;
pub mod tensor_file;
pub mod training;

/// What is trained, and how: the specification as it was recorded.
pub use training_spec as spec;

/// The backend that computes: burn's CPU backend. Its results do not depend on the number of threads.
pub type Compute = burn_flex::Flex;

/// The same backend with automatic differentiation.
pub type Differentiable = burn::backend::Autodiff<Compute>;
