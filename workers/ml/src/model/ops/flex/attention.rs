//! Softmax attention on projected rows, a block of queries at a time.
//!
//! Rule: a block reads only the keys that its queries attend to, and no more than one block of scores is stored; the
//! backward pass recomputes the weights, as FlashAttention does (arXiv:2205.14135), but without its online softmax,
//! because a row of scores fits the cache.

mod backward;
mod block;
mod forward;

pub(super) use self::{
    backward::{GradientRows, Inputs, backward},
    block::Heads,
    forward::{bidirectional, masked},
};
