//! Sentence embeddings: a BERT (Devlin et al., arXiv:1810.04805) with pooling, from folders as
//! `sentence-transformers` writes them (Reimers and Gurevych, arXiv:1908.10084).
//!
//! Rule: texts are embedded each for itself; which texts share a batch changes rounding at most.

mod config;
mod network;

use std::path::Path;

use burn::tensor::Tensor;
use config::{EncoderConfig, Pooling};
use network::Bert;

use super::{config::invalid, folder::weights, ops::TransformerOps};
use crate::{data::tokenizer::Tokenizer, failure::Failure, parameters::values};

/// Texts that are computed at once.
const BATCH: usize = 32;

/// A text as a point: texts that mean the same are near each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Its coordinates; of length 1 where the model says so.
    pub vector: Vec<f32>,
    /// Tokens that were read, those that the tokenizer puts around a text included.
    pub tokens: usize,
    /// Whether the text is longer than the model reads, so that its end does not count.
    pub cut: bool,
}

/// A model that embeds texts.
#[derive(Clone, Debug)]
pub struct SentenceEncoder<B: TransformerOps> {
    config: EncoderConfig,
    tokenizer: Tokenizer,
    network: Bert<B>,
}

impl<B: TransformerOps> SentenceEncoder<B> {
    /// Reads the model in the folder `path`: `config.json`, `tokenizer.json`, the weights, and, where they are
    /// there, `modules.json`, `sentence_bert_config.json` and the pooling's `config.json`.
    ///
    /// # Errors
    /// [`crate::failure::FailureCode::BaseModelInvalid`] with everything that is missing, damaged, or would be
    /// computed differently from `sentence-transformers`, by name.
    pub fn load(path: &Path, device: &B::Device) -> Result<Self, Failure> {
        let config = EncoderConfig::read(path)?;
        let tokenizer = Tokenizer::read(path)?;
        if tokenizer.rows() > config.vocab_size {
            return Err(invalid(format!(
                "tokenizer.json has {} tokens but the model only {}; they do not belong together",
                tokenizer.rows(),
                config.vocab_size
            )));
        }
        let frame = frame(&tokenizer);
        if config.longest <= frame {
            return Err(invalid(format!(
                "the model reads {} tokens at most, of which its tokenizer takes {frame} for itself",
                config.longest
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

    /// Numbers of an embedding.
    #[must_use]
    pub fn width(&self) -> usize {
        self.config.width
    }

    /// Tokens of a text that are read at most, those around it included.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.config.longest
    }

    /// The embeddings of `texts`, in their order.
    ///
    /// # Errors
    /// An internal failure when the tokenizer or the device fails.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Embedding>, Failure> {
        let read: Result<Vec<_>, _> = texts.iter().map(|text| self.read(text.as_ref())).collect();
        let read = read?;
        // Texts of about one length share a batch: little is padded.
        let mut order: Vec<usize> = (0..read.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(read[*index].0.len()));
        let mut embeddings: Vec<Option<Embedding>> = vec![None; read.len()];
        for batch in order.chunks(BATCH) {
            let rows: Vec<&[u32]> = batch.iter().map(|index| read[*index].0.as_slice()).collect();
            let vectors = values(self.pooled(&rows))?;
            for (index, vector) in batch.iter().zip(vectors.chunks_exact(self.config.width)) {
                let (tokens, cut) = &read[*index];
                embeddings[*index] = Some(Embedding {
                    vector: vector.to_vec(),
                    tokens: tokens.len(),
                    cut: *cut,
                });
            }
        }
        Ok(embeddings.into_iter().flatten().collect())
    }

    /// The tokens of `text` as the model reads them, and whether they were cut.
    fn read(&self, text: &str) -> Result<(Vec<u32>, bool), Failure> {
        let mut inner = self.tokenizer.encode(text)?;
        let room = self.config.longest - frame(&self.tokenizer);
        let cut = inner.len() > room;
        inner.truncate(room);
        let mut tokens = self.tokenizer.start().to_vec();
        tokens.append(&mut inner);
        self.tokenizer.end(&mut tokens);
        Ok((tokens, cut))
    }

    /// `[rows, width]`
    fn pooled(&self, rows: &[&[u32]]) -> Tensor<B, 2> {
        let states = self.network.states(rows);
        let [_, length, width] = states.dims();
        let pooled = match self.config.pooling {
            Pooling::First => states
                .slice([0..rows.len(), 0..1, 0..width])
                .reshape([rows.len(), width]),
            Pooling::Mean => {
                let share = |row: &&[u32]| {
                    let read = row.len();
                    (0..length).map(move |place| if place < read { 1.0 / read as f32 } else { 0.0 })
                };
                let shares: Vec<f32> = rows.iter().flat_map(share).collect();
                let shares = burn::tensor::TensorData::new(shares, [rows.len(), length, 1]);
                let shares = Tensor::<B, 3>::from_data(shares, &states.device());
                (states * shares).sum_dim(1).reshape([rows.len(), width])
            }
        };
        if !self.config.normalised {
            return pooled;
        }
        let length = (pooled.clone() * pooled.clone())
            .sum_dim(1)
            .sqrt()
            .clamp_min(1e-12);
        pooled / length
    }
}

/// How many tokens stand around every text.
fn frame(tokenizer: &Tokenizer) -> usize {
    let mut around = tokenizer.start().to_vec();
    tokenizer.end(&mut around);
    around.len()
}
