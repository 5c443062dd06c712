//! Selects the windows of the corpus for each step.
//!
//! Rule: the selection is a pure function of (documents, hyperparameters, step). Trainings with a number of steps
//! draw at random with replacement; trainings with epochs or packing use every window once per epoch, in an order
//! that is shuffled for each epoch.

use std::collections::BTreeMap;

use rand::{Rng, seq::SliceRandom};

use super::{
    batch::{Batch, Window, collate},
    document::Document,
};
use crate::{
    random::{Purpose, stream},
    spec::HyperParameters,
};

/// Provides the batches of each step.
#[derive(Clone, Debug)]
pub struct Sampler {
    documents: Vec<Document>,
    length: usize,
    /// Rows of a micro-batch.
    rows: usize,
    /// Micro-batches of a step.
    micro_batches: u64,
    seed: u64,
    order: Order,
}

#[derive(Clone, Debug)]
enum Order {
    /// Random draws, with the cumulative weights of the documents: texts in proportion to their length, conversations
    /// equally.
    Random(Vec<u64>),
    Epochs(EpochOrder),
}

/// Where a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WindowStart {
    document: u32,
    token: u32,
}

/// All rows, and the order of the current epoch.
#[derive(Clone, Debug)]
struct EpochOrder {
    rows: Vec<Vec<WindowStart>>,
    epoch: u64,
    order: Vec<u32>,
}

impl Sampler {
    /// A sampler over `documents`, which are not empty.
    #[must_use]
    pub fn new(documents: Vec<Document>, hyperparameters: &HyperParameters) -> Self {
        let length = hyperparameters.sequence_length as usize;
        let order = if hyperparameters.packing || hyperparameters.epochs.is_some() {
            let starts = window_starts(&documents, length);
            let rows = if hyperparameters.packing {
                pack_windows(starts, &documents, length, hyperparameters.seed)
            } else {
                starts.into_iter().map(|start| vec![start]).collect()
            };
            Order::Epochs(EpochOrder::new(rows, hyperparameters.seed))
        } else {
            Order::Random(weights(&documents, length))
        };
        Self {
            documents,
            length,
            rows: hyperparameters.batch_size as usize,
            micro_batches: u64::from(hyperparameters.gradient_accumulation),
            seed: hyperparameters.seed,
            order,
        }
    }

    /// Rows of one epoch over all documents.
    #[must_use]
    pub fn sequences(&self) -> u64 {
        match &self.order {
            Order::Random(weights) => weights.last().copied().unwrap_or(0),
            Order::Epochs(epochs) => epochs.rows.len() as u64,
        }
    }

    /// The micro-batches of `step`, counted from 0.
    pub fn step(&mut self, step: u64) -> Vec<Batch> {
        (0..self.micro_batches)
            .map(|micro| self.batch(step, micro))
            .collect()
    }

    fn batch(&mut self, step: u64, micro: u64) -> Batch {
        let starts = match &mut self.order {
            Order::Random(weights) => {
                let mut rng = stream(self.seed, Purpose::Batch, step, micro);
                let draw = |_| vec![draw_window(&mut rng, &self.documents, weights, self.length)];
                (0..self.rows).map(draw).collect()
            }
            Order::Epochs(epochs) => {
                let first = (step * self.micro_batches + micro) * self.rows as u64;
                let places = first..first + self.rows as u64;
                places
                    .map(|place| epochs.row(place, self.seed))
                    .collect::<Vec<_>>()
            }
        };
        let window = |start: &WindowStart| {
            let document = &self.documents[start.document as usize];
            Window::of(document, start.token as usize, self.length)
        };
        let rows: Vec<Vec<Window<'_>>> = starts
            .iter()
            .map(|row: &Vec<WindowStart>| row.iter().map(window).collect())
            .collect();
        collate(&rows)
    }
}

impl EpochOrder {
    fn new(rows: Vec<Vec<WindowStart>>, seed: u64) -> Self {
        let mut epochs = Self {
            order: (0..rows.len() as u32).collect(),
            rows,
            epoch: 0,
        };
        epochs.shuffle_epoch(0, seed);
        epochs
    }

    /// The row at index `place` of the concatenation of all epochs.
    fn row(&mut self, place: u64, seed: u64) -> Vec<WindowStart> {
        let count = self.rows.len().max(1) as u64;
        let (epoch, place) = (place / count, (place % count) as usize);
        if epoch != self.epoch {
            self.shuffle_epoch(epoch, seed);
        }
        self.rows[self.order[place] as usize].clone()
    }

    fn shuffle_epoch(&mut self, epoch: u64, seed: u64) {
        self.order.sort_unstable();
        self.order.shuffle(&mut stream(seed, Purpose::Order, epoch, 0));
        self.epoch = epoch;
    }
}

fn weights(documents: &[Document], length: usize) -> Vec<u64> {
    let mut sum = 0;
    let add = |document: &Document| {
        let windows = if document.splittable {
            document.tokens.len() / length
        } else {
            1
        };
        sum += windows.max(1) as u64;
        sum
    };
    documents.iter().map(add).collect()
}

fn draw_window(rng: &mut impl Rng, documents: &[Document], weights: &[u64], length: usize) -> WindowStart {
    let ticket = rng.random_range(0..weights.last().copied().unwrap_or(1));
    let index = weights.partition_point(|weight| *weight <= ticket);
    let document = &documents[index];
    let spare = document.tokens.len().saturating_sub(length + 1);
    let token = if document.splittable {
        rng.random_range(0..=spare)
    } else {
        0
    };
    WindowStart {
        document: index as u32,
        token: token as u32,
    }
}

/// The start of every window: consecutive windows of text, and the beginning of each conversation.
fn window_starts(documents: &[Document], length: usize) -> Vec<WindowStart> {
    let mut starts = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let last = if document.splittable {
            document.tokens.len().saturating_sub(1)
        } else {
            1
        };
        starts.extend((0..last).step_by(length).map(|token| WindowStart {
            document: index as u32,
            token: token as u32,
        }));
    }
    starts
}

/// Packs windows into rows of at most `length` tokens by best-fit decreasing: the longest first, each into the
/// fullest row that has room for it. The order of windows of equal length follows from the seed.
fn pack_windows(
    mut starts: Vec<WindowStart>,
    documents: &[Document],
    length: usize,
    seed: u64,
) -> Vec<Vec<WindowStart>> {
    let size = |start: &WindowStart| {
        let rest = documents[start.document as usize].tokens.len() - start.token as usize;
        rest.saturating_sub(1).min(length)
    };
    starts.shuffle(&mut stream(seed, Purpose::Packing, 0, 0));
    starts.sort_by_key(|start| std::cmp::Reverse(size(start)));
    let mut rows: Vec<Vec<WindowStart>> = Vec::new();
    // Rows by their free space.
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for start in starts {
        let needed = size(&start);
        let tightest = open.range(needed..).next().map(|(free, _)| *free);
        let (row, free) = match tightest.and_then(|free| Some((open.get_mut(&free)?.pop()?, free))) {
            Some((row, free)) => {
                if open.get(&free).is_some_and(Vec::is_empty) {
                    open.remove(&free);
                }
                rows[row].push(start);
                (row, free)
            }
            None => {
                rows.push(vec![start]);
                (rows.len() - 1, length)
            }
        };
        if free > needed {
            open.entry(free - needed).or_default().push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests;
