//! Inference: drafts from adapters, retrieval, external models. Nothing is decided here yet.
