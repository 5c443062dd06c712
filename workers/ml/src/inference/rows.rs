//! Prompts of different lengths as the rows of one batch.
//!
//! Rule: the shorter ones are padded on their left; padding sees itself alone, and nothing else sees it.

use std::sync::Arc;

use crate::model::Tokens;

/// The rows, and how far they are read.
pub(super) struct Rows {
    /// Padded to one length.
    ids: Vec<i32>,
    /// Of each row how much of it is padding.
    padding: Vec<u32>,
    /// Places of a row that are read.
    read: u32,
    /// Positions that the model knows.
    context: u32,
}

impl Rows {
    /// A row for each of `prompts`, none of which is empty, for a model that knows `context` positions.
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

    /// The first pass: all prompts. `None` when there are none.
    pub(super) fn prompts(&mut self) -> Option<Tokens> {
        let ids = std::mem::take(&mut self.ids);
        if self.padding.is_empty() {
            return None;
        }
        Some(self.tokens(ids, 0..self.read))
    }

    /// A further pass: the newest token of each row.
    pub(super) fn following(&mut self, newest: impl Iterator<Item = u32>) -> Tokens {
        let ids = newest.map(|id| id as i32).collect();
        self.read += 1;
        self.tokens(ids, self.read - 1..self.read)
    }

    /// A text that has reached the end of the context has ended; what its row reads from then on has no effect.
    fn position(&self, place: u32, padding: u32) -> u32 {
        place.saturating_sub(padding).min(self.context - 1)
    }

    fn tokens(&self, ids: Vec<i32>, places: std::ops::Range<u32>) -> Tokens {
        if self.padding.iter().all(|padding| *padding == 0) {
            return Tokens::rows(ids, self.padding.len());
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
        Tokens {
            ids,
            batch: self.padding.len(),
            positions: Some(
                each()
                    .map(|(place, padding)| self.position(place, padding))
                    .collect(),
            ),
            first: Some(
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
        let mut rows = Rows::new([&[7, 8, 9][..], &[5][..]].into_iter(), 4);
        let first = rows.prompts().expect("rows");
        assert_eq!((first.ids, first.batch), (vec![7, 8, 9, 0, 0, 5], 2));
        assert_eq!(first.positions, Some(vec![0, 1, 2, 0, 0, 0]));
        assert_eq!(first.first.as_deref(), Some(&[0, 0, 0, 0, 1, 2][..]));
        let then = rows.following([1, 2].into_iter());
        assert_eq!(then.positions, Some(vec![3, 1]));
        assert_eq!(then.first.as_deref(), Some(&[0, 2][..]));
        let beyond = rows.following([1, 2].into_iter());
        assert_eq!(
            beyond.positions,
            Some(vec![3, 2]),
            "the first row has ended before"
        );
    }

    #[test]
    fn prompts_of_one_length_need_no_description() {
        let mut rows = Rows::new([&[7, 8][..], &[5, 6][..]].into_iter(), 4);
        assert_eq!(rows.prompts(), Some(Tokens::rows(vec![7, 8, 5, 6], 2)));
        assert_eq!(rows.following([1, 2].into_iter()), Tokens::rows(vec![1, 2], 2));
        assert_eq!(Rows::new(std::iter::empty::<&[u32]>(), 4).prompts(), None);
    }
}
