//! BERT's network of post-norm blocks with bidirectional attention.
//!
//! Rule: texts are rows, padded on the right; nothing attends to the padding.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use super::config::EncoderConfig;
use crate::{
    failure::Failure,
    model::ops::{Orientation, TransformerOps},
    parameters::ParameterSet,
};

#[derive(Clone, Debug)]
struct Linear<B: Backend> {
    /// `[out, in]`
    weight: Tensor<B, 2>,
    /// `[1, out]`
    bias: Tensor<B, 2>,
}

#[derive(Clone, Debug)]
struct Norm<B: Backend> {
    gain: Tensor<B, 2>,
    bias: Tensor<B, 2>,
}

#[derive(Clone, Debug)]
struct Block<B: Backend> {
    queries: Linear<B>,
    keys: Linear<B>,
    values: Linear<B>,
    attention_out: Linear<B>,
    attention_norm: Norm<B>,
    feed_in: Linear<B>,
    feed_out: Linear<B>,
    feed_norm: Norm<B>,
}

/// A BERT.
#[derive(Clone, Debug)]
pub(super) struct Bert<B: Backend> {
    token_embeddings: Tensor<B, 2>,
    /// Position embeddings, with the embedding of token type 0 added, which is the only type used.
    position_embeddings: Tensor<B, 2>,
    norm: Norm<B>,
    blocks: Vec<Block<B>>,
    heads: usize,
    epsilon: f64,
}

impl<B: TransformerOps> Bert<B> {
    /// The network of `config` over `parameters`, whose tensors are shared.
    pub(super) fn new(config: &EncoderConfig, parameters: &ParameterSet<B>) -> Result<Self, Failure> {
        let linear = |name: &str| -> Result<Linear<B>, Failure> {
            Ok(Linear {
                weight: parameters.get(&format!("{name}.weight"))?,
                bias: parameters.get(&format!("{name}.bias"))?,
            })
        };
        let norm = |name: &str| -> Result<Norm<B>, Failure> {
            Ok(Norm {
                gain: parameters.get(&format!("{name}.LayerNorm.weight"))?,
                bias: parameters.get(&format!("{name}.LayerNorm.bias"))?,
            })
        };
        let block = |layer: usize| -> Result<Block<B>, Failure> {
            let at = |name: &str| format!("encoder.layer.{layer}.{name}");
            Ok(Block {
                queries: linear(&at("attention.self.query"))?,
                keys: linear(&at("attention.self.key"))?,
                values: linear(&at("attention.self.value"))?,
                attention_out: linear(&at("attention.output.dense"))?,
                attention_norm: norm(&at("attention.output"))?,
                feed_in: linear(&at("intermediate.dense"))?,
                feed_out: linear(&at("output.dense"))?,
                feed_norm: norm(&at("output"))?,
            })
        };
        let token_types = parameters.get("embeddings.token_type_embeddings.weight")?;
        let first = token_types.slice([0..1, 0..config.width]);
        Ok(Self {
            token_embeddings: parameters.get("embeddings.word_embeddings.weight")?,
            position_embeddings: parameters.get("embeddings.position_embeddings.weight")? + first,
            norm: norm("embeddings")?,
            blocks: (0..config.layers).map(block).collect::<Result<_, _>>()?,
            heads: config.heads,
            epsilon: config.epsilon,
        })
    }

    /// Hidden states of all tokens of `texts`, which are not empty: `[texts, max_tokens, width]`.
    pub(super) fn hidden_states(&self, texts: &[&[u32]]) -> Tensor<B, 3> {
        let device = self.token_embeddings.device();
        let (batch, width) = (texts.len(), self.token_embeddings.dims()[1]);
        let length = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let padded = |text: &&[u32]| {
            let ids = text.iter().map(|id| *id as i32);
            ids.chain(std::iter::repeat(0)).take(length).collect::<Vec<_>>()
        };
        let ids: Vec<i32> = texts.iter().flat_map(padded).collect();
        let ids = Tensor::<B, 1, Int>::from_data(TensorData::new(ids, [batch * length]), &device);
        let token_embeddings = self
            .token_embeddings
            .clone()
            .select(0, ids)
            .reshape([batch, length, width]);
        let position_embeddings = self
            .position_embeddings
            .clone()
            .slice([0..length, 0..width])
            .unsqueeze::<3>();
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let mut stream = self.normed(
            &self.norm,
            (token_embeddings + position_embeddings).reshape([batch * length, width]),
        );
        for block in &self.blocks {
            let mixed = self.attention(block, &stream, &lengths);
            stream = self.normed(
                &block.attention_norm,
                stream + linear(&block.attention_out, mixed),
            );
            let inner = B::gelu_erf(linear(&block.feed_in, stream.clone()));
            stream = self.normed(&block.feed_norm, stream + linear(&block.feed_out, inner));
        }
        stream.reshape([batch, length, width])
    }

    fn normed(&self, norm: &Norm<B>, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        B::layer_norm_rows(rows, norm.gain.clone(), norm.bias.clone(), self.epsilon)
    }

    fn attention(&self, block: &Block<B>, rows: &Tensor<B, 2>, lengths: &[usize]) -> Tensor<B, 2> {
        let [queries, keys, values] =
            [&block.queries, &block.keys, &block.values].map(|layer| linear(layer, rows.clone()));
        B::bidirectional_attention(queries, keys, values, lengths, self.heads)
    }
}

fn linear<B: TransformerOps>(layer: &Linear<B>, rows: Tensor<B, 2>) -> Tensor<B, 2> {
    <B as TransformerOps>::linear(
        rows,
        layer.weight.clone(),
        Orientation::OutIn,
        Some(layer.bias.clone()),
        None,
    )
}
