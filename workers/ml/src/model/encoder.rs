//! Sentence embeddings: a BERT (Devlin et al., arXiv:1810.04805) with pooling, from folders of
//! `sentence-transformers` (Reimers and Gurevych, arXiv:1908.10084).
//!
//! Rule: texts are embedded independently; which texts share a batch affects nothing but rounding.

mod config;
mod network;

use std::path::Path;

use burn::tensor::Tensor;
use config::{EncoderConfig, Pooling};
use network::Bert;

use super::{config::invalid, folder::weights, ops::TransformerOps};
use crate::{data::tokenizer::Tokenizer, failure::Failure, parameters::values};

/// Texts that are processed at once.
const BATCH: usize = 32;

/// The embedding of a text; texts of similar meaning have similar vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The vector; of length 1 where the model normalises.
    pub vector: Vec<f32>,
    /// Number of tokens that were processed, including those that the tokenizer adds.
    pub tokens: usize,
    /// Whether the text exceeds the model's maximum length, so its end is ignored.
    pub truncated: bool,
}

/// A model that embeds texts.
#[derive(Clone, Debug)]
pub struct SentenceEncoder<B: TransformerOps> {
    config: EncoderConfig,
    tokenizer: Tokenizer,
    network: Bert<B>,
}

impl<B: TransformerOps> SentenceEncoder<B> {
    /// Reads the model in the folder `path`: `config.json`, `tokenizer.json`, the weights, and, as far as they exist,
    /// `modules.json`, `sentence_bert_config.json` and the pooling's `config.json`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with the names of all that is missing, damaged, or not
    /// supported.
    pub fn load(path: &Path, device: &B::Device) -> Result<Self, Failure> {
        let config = EncoderConfig::read(path)?;
        let tokenizer = Tokenizer::read(path)?;
        if tokenizer.embedding_rows() > config.vocab_size {
            return Err(invalid(format!(
                "tokenizer.json has {} tokens but the model only {}; they do not belong together",
                tokenizer.embedding_rows(),
                config.vocab_size
            )));
        }
        let special_token_count = special_token_count(&tokenizer);
        if config.max_tokens <= special_token_count {
            return Err(invalid(format!(
                "the model reads {} tokens at most, of which its tokenizer takes {special_token_count} for itself",
                config.max_tokens
            )));
        }
        let files = weights::open(path)?;
        let prefix = match files.info("bert.embeddings.word_embeddings.weight") {
            Some(_) => "bert.",
            None => "",
        };
        let parameters = files.extract::<B>(
            &config.tensors(),
            |name| format!("{prefix}{name}"),
            |name| config::is_ignored(name.strip_prefix(prefix).unwrap_or(name)),
            device,
        )?;
        Ok(Self {
            network: Bert::new(&config, &parameters)?,
            config,
            tokenizer,
        })
    }

    /// Length of the vectors.
    #[must_use]
    pub fn width(&self) -> usize {
        self.config.width
    }

    /// Maximum number of tokens per text, including those that the tokenizer adds.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.config.max_tokens
    }

    /// The embeddings of `texts`, in their order.
    ///
    /// # Errors
    /// An internal failure when the tokenizer or the device fails.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Embedding>, Failure> {
        let read: Result<Vec<_>, _> = texts.iter().map(|text| self.read(text.as_ref())).collect();
        let read = read?;
        // Texts of similar length share a batch, which keeps padding small.
        let mut order: Vec<usize> = (0..read.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(read[*index].0.len()));
        let mut embeddings: Vec<Option<Embedding>> = vec![None; read.len()];
        for batch in order.chunks(BATCH) {
            let rows: Vec<&[u32]> = batch.iter().map(|index| read[*index].0.as_slice()).collect();
            let vectors = values(self.pooled(&rows))?;
            for (index, vector) in batch.iter().zip(vectors.chunks_exact(self.config.width)) {
                let (tokens, truncated) = &read[*index];
                embeddings[*index] = Some(Embedding {
                    vector: vector.to_vec(),
                    tokens: tokens.len(),
                    truncated: *truncated,
                });
            }
        }
        Ok(embeddings.into_iter().flatten().collect())
    }

    /// The tokens of `text` as the model processes them, and whether they were truncated.
    fn read(&self, text: &str) -> Result<(Vec<u32>, bool), Failure> {
        let mut inner = self.tokenizer.encode(text)?;
        let capacity = self.config.max_tokens - special_token_count(&self.tokenizer);
        let truncated = inner.len() > capacity;
        inner.truncate(capacity);
        let mut tokens = self.tokenizer.start().to_vec();
        tokens.append(&mut inner);
        self.tokenizer.end(&mut tokens);
        Ok((tokens, truncated))
    }

    /// `[rows, width]`
    fn pooled(&self, rows: &[&[u32]]) -> Tensor<B, 2> {
        let hidden_states = self.network.hidden_states(rows);
        let [_, length, width] = hidden_states.dims();
        let pooled = match self.config.pooling {
            Pooling::Cls => hidden_states
                .slice([0..rows.len(), 0..1, 0..width])
                .reshape([rows.len(), width]),
            Pooling::Mean => {
                let share = |row: &&[u32]| {
                    let read = row.len();
                    (0..length).map(move |place| if place < read { 1.0 / read as f32 } else { 0.0 })
                };
                let shares: Vec<f32> = rows.iter().flat_map(share).collect();
                let shares = burn::tensor::TensorData::new(shares, [rows.len(), length, 1]);
                let shares = Tensor::<B, 3>::from_data(shares, &hidden_states.device());
                (hidden_states * shares).sum_dim(1).reshape([rows.len(), width])
            }
        };
        if !self.config.normalizes {
            return pooled;
        }
        let length = (pooled.clone() * pooled.clone())
            .sum_dim(1)
            .sqrt()
            .clamp_min(1e-12);
        pooled / length
    }
}

/// Number of tokens that the tokenizer adds to every text.
fn special_token_count(tokenizer: &Tokenizer) -> usize {
    let mut around = tokenizer.start().to_vec();
    tokenizer.end(&mut around);
    around.len()
}
