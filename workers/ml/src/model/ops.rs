//! Fused operations of transformers: forward passes, gradients and optimiser steps that backends implement as kernels.
//!
//! ```text
//! precision, attention_mask, dropout, linear, optimizer   types and conversions
//!   └─ primitive          softmax, dropout, cross-entropy, AdamW: what backends may replace
//!       └─ composite, backward, head      definitions of the operations and of their gradients
//!           └─ transformer, gradients     the traits, with those definitions as defaults
//!               └─ autodiff, flex, cube   burn's graph, the CPU, CUDA and Vulkan
//! ```
//!
//! Rule: imports follow this order.

pub mod attention_mask;
mod autodiff;
pub mod backward;
pub mod composite;
#[cfg(feature = "cube")]
mod cube;
pub mod dropout;
mod flex;
pub mod gradients;
pub mod head;
pub mod linear;
pub mod optimizer;
pub mod precision;
pub mod primitive;
#[cfg(test)]
mod tests;
pub mod transformer;

pub use self::{
    attention_mask::AttentionMask,
    dropout::Dropout,
    gradients::TransformerGradients,
    head::{HeadLossRequest, HeadLosses},
    linear::{LinearGradients, LinearInputs, LowRank, Orientation, RequiredGradients},
    primitive::PrimitiveOps,
    transformer::TransformerOps,
};
