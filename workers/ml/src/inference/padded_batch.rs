//! Prompts of different lengths as rows of one batch.
//!
//! Rule: shorter prompts are padded on the left; padding attends to itself only, and nothing else attends to it.

use std::sync::Arc;

use crate::model::TokenBatch;

/// The rows, and how many tokens of them have been processed.
pub(super) struct PaddedBatch {
    /// Padded to equal length.
    ids: Vec<i32>,
    /// Number of padding tokens of each row.
    padding: Vec<u32>,
    /// Tokens per row that have been processed.
    read: u32,
    /// Length of the model's context.
    context: u32,
}

impl PaddedBatch {
    /// One row per prompt, none of which is empty, for a model with a context of `context` tokens.
    pub(super) fn new<'a>(prompts: impl Iterator<Item = &'a [u32]> + Clone, context: usize) -> Self {
        let longest = prompts.clone().map(<[u32]>::len).max().unwrap_or(0);
        let mut rows = Self {
            ids: Vec::new(),
            padding: Vec::new(),
            read: longest as u32,
            context: context as u32,
        };
        for prompt in prompts {
            let padding = longest - prompt.len();
            rows.padding.push(padding as u32);
            rows.ids.extend(std::iter::repeat_n(0, padding));
            rows.ids.extend(prompt.iter().map(|id| *id as i32));
        }
        rows
    }

    /// The tokens of the first pass: all prompts. `None` without prompts.
    pub(super) fn prompts(&mut self) -> Option<TokenBatch> {
        let ids = std::mem::take(&mut self.ids);
        if self.padding.is_empty() {
            return None;
        }
        Some(self.tokens(ids, 0..self.read))
    }

    /// The tokens of a further pass: the newest token of each row.
    pub(super) fn next_step(&mut self, newest: impl Iterator<Item = u32>) -> TokenBatch {
        let ids = newest.map(|id| id as i32).collect();
        self.read += 1;
        self.tokens(ids, self.read - 1..self.read)
    }

    /// A text that has filled the context is finished; the positions of its row have no effect from then on.
    fn position(&self, place: u32, padding: u32) -> u32 {
        place.saturating_sub(padding).min(self.context - 1)
    }

    fn tokens(&self, ids: Vec<i32>, places: std::ops::Range<u32>) -> TokenBatch {
        if self.padding.iter().all(|padding| *padding == 0) {
            return TokenBatch::rows(ids, self.padding.len());
        }
        let each = || {
            let row = |padding: &u32| {
                places.clone().map({
                    let padding = *padding;
                    move |place| (place, padding)
                })
            };
            self.padding.iter().flat_map(row)
        };
        TokenBatch {
            ids,
            batch: self.padding.len(),
            positions: Some(
                each()
                    .map(|(place, padding)| self.position(place, padding))
                    .collect(),
            ),
            first_visible: Some(
                each()
                    .map(|(place, padding)| place.min(padding))
                    .collect::<Arc<[u32]>>(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_prompts_are_padded_on_their_left_and_nothing_sees_the_padding() {
        let mut rows = PaddedBatch::new([&[7, 8, 9][..], &[5][..]].into_iter(), 4);
        let first = rows.prompts().expect("rows");
        assert_eq!((first.ids, first.batch), (vec![7, 8, 9, 0, 0, 5], 2));
        assert_eq!(first.positions, Some(vec![0, 1, 2, 0, 0, 0]));
        assert_eq!(first.first_visible.as_deref(), Some(&[0, 0, 0, 0, 1, 2][..]));
        let then = rows.next_step([1, 2].into_iter());
        assert_eq!(then.positions, Some(vec![3, 1]));
        assert_eq!(then.first_visible.as_deref(), Some(&[0, 2][..]));
        let beyond = rows.next_step([1, 2].into_iter());
        assert_eq!(
            beyond.positions,
            Some(vec![3, 2]),
            "the first row has ended before"
        );
    }

    #[test]
    fn prompts_of_one_length_need_no_description() {
        let mut rows = PaddedBatch::new([&[7, 8][..], &[5, 6][..]].into_iter(), 4);
        assert_eq!(rows.prompts(), Some(TokenBatch::rows(vec![7, 8, 5, 6], 2)));
        assert_eq!(
            rows.next_step([1, 2].into_iter()),
            TokenBatch::rows(vec![1, 2], 2)
        );
        assert_eq!(PaddedBatch::new(std::iter::empty::<&[u32]>(), 4).prompts(), None);
    }
}
