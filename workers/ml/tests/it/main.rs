//! Tests of the engine as its users see it; one binary, because linking takes longer than running.

mod chat;
mod child;
mod encoder;
mod engine;
mod files_refused;
mod generation;
mod llama;
mod memory;
mod merged;
mod methods;
mod packing;
mod parity;
mod reference;
mod shards_refused;
mod support;
#[cfg(feature = "vulkan")]
mod vulkan;
