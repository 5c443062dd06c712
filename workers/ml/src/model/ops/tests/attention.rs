//! Attention with every kind of mask.

use burn_flex::Flex;

use super::{assert_same, assert_tensors, masks, random};
use crate::{
    Differentiable,
    model::ops::{AttentionMask, TransformerOps, composite},
};

#[test]
fn attention_is_that_of_the_composite_form() {
    // Heads and key heads: alone, each its own, shared; lengths: one, odd, more than a block.
    for (heads, key_heads, size) in [(1, 1, 5), (4, 4, 8), (6, 2, 4), (3, 1, 16)] {
        for (batch, length) in [(3, 1), (2, 7), (2, 131)] {
            for mask in masks(batch, length) {
                let rows = batch * length;
                let key_width = key_heads * size;
                assert_same(
                    [[rows, heads * size], [rows, key_width], [rows, key_width]],
                    |[q, k, v]| {
                        <Differentiable as TransformerOps>::attention(q, k, v, &mask, heads, key_heads)
                    },
                    |[q, k, v]| composite::attention(q, k, v, &mask, heads, key_heads),
                );
            }
        }
    }
}

#[test]
fn attention_in_which_all_see_all_is_that_of_the_composite_form() {
    for (lengths, longest, heads, size) in [
        (vec![1], 1, 1, 4),
        (vec![7, 3], 7, 2, 8),
        (vec![80, 131], 131, 4, 16),
    ] {
        let shape = [lengths.len() * longest, heads * size];
        let [q, k, v] = [1, 2, 3].map(|index| random::<Flex>(index, shape));
        assert_tensors(
            [Flex::bidirectional_attention(
                q.clone(),
                k.clone(),
                v.clone(),
                &lengths,
                heads,
            )],
            [composite::bidirectional_attention(q, k, v, &lengths, heads)],
        );
    }
}

#[test]
fn attention_over_a_cache_is_that_of_the_composite_form() {
    for (queries, keys) in [(1, 9), (5, 80)] {
        let window = AttentionMask::window(2, queries, keys, 6);
        for mask in [AttentionMask::causal(2), window] {
            assert_same(
                [[2 * queries, 24], [2 * keys, 8], [2 * keys, 8]],
                |[q, k, v]| <Differentiable as TransformerOps>::attention(q, k, v, &mask, 6, 2),
                |[q, k, v]| composite::attention(q, k, v, &mask, 6, 2),
            );
        }
    }
}

#[test]
fn packed_attention_is_that_of_the_composite_form() {
    for (heads, length) in [(1, 1), (4, 7), (3, 131)] {
        for mask in masks(2, length) {
            assert_same(
                [[2 * length, 3 * heads * 8]],
                |[packed]| Differentiable::packed_attention(packed, heads, &mask),
                |[packed]| composite::packed_attention(&packed, heads, &mask),
            );
        }
    }
}

/// Samples packed into one sequence compute what they compute alone.
#[test]
fn packed_samples_do_not_see_each_other() {
    let [q, k, v] = [1, 2, 3].map(|index| random::<Flex>(index, [10, 16]));
    let first = (0..10).map(|place| if place < 4 { 0 } else { 4 }).collect();
    let together = <Flex as TransformerOps>::attention(
        q.clone(),
        k.clone(),
        v.clone(),
        &AttentionMask::from_first(1, first),
        2,
        2,
    );
    for (start, count) in [(0, 4), (4, 6)] {
        let [q, k, v] = [&q, &k, &v].map(|x| x.clone().narrow(0, start, count));
        let alone = <Flex as TransformerOps>::attention(q, k, v, &AttentionMask::causal(1), 2, 2);
        assert_tensors([together.clone().narrow(0, start, count)], [alone]);
    }
}
