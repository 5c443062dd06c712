//! Which pieces of a corpus a step sees.
//!
//! Rule: a pure function of (documents, settings, step). Trainings that count steps draw at random, with
//! replacement; trainings that count epochs, or pack, go through all pieces once per pass, in an order of that
//! pass.

use std::collections::BTreeMap;

use rand::{Rng, seq::SliceRandom};

use super::{
    Document,
    batch::{Batch, Piece, assemble},
};
use crate::{
    random::{Purpose, stream},
    spec::Hyperparameters,
};

/// Hands out the batches of each step.
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
    /// Text in proportion to its length, conversations alike; the running sum of how often each is drawn.
    Drawn(Vec<u64>),
    Passes(Passes),
}

/// Where a piece begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    document: u32,
    token: u32,
}

/// All rows, and the order of the pass at hand.
#[derive(Clone, Debug)]
struct Passes {
    rows: Vec<Vec<Start>>,
    pass: u64,
    order: Vec<u32>,
}

impl Sampler {
    /// A sampler over `documents`, of which there is at least one.
    #[must_use]
    pub fn new(documents: Vec<Document>, chosen: &Hyperparameters) -> Self {
        let length = chosen.sequence_length as usize;
        let order = if chosen.packing || chosen.epochs.is_some() {
            let starts = starts(&documents, length);
            let rows = if chosen.packing {
                packed(starts, &documents, length, chosen.seed)
            } else {
                starts.into_iter().map(|start| vec![start]).collect()
            };
            Order::Passes(Passes::new(rows, chosen.seed))
        } else {
            Order::Drawn(weights(&documents, length))
        };
        Self {
            documents,
            length,
            rows: chosen.batch_size as usize,
            micro_batches: u64::from(chosen.gradient_accumulation),
            seed: chosen.seed,
            order,
        }
    }

    /// Rows of one pass over all documents.
    #[must_use]
    pub fn sequences(&self) -> u64 {
        match &self.order {
            Order::Drawn(weights) => weights.last().copied().unwrap_or(0),
            Order::Passes(passes) => passes.rows.len() as u64,
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
            Order::Drawn(weights) => {
                let mut rng = stream(self.seed, Purpose::Batch, step, micro);
                let draw = |_| vec![drawn(&mut rng, &self.documents, weights, self.length)];
                (0..self.rows).map(draw).collect()
            }
            Order::Passes(passes) => {
                let first = (step * self.micro_batches + micro) * self.rows as u64;
                let places = first..first + self.rows as u64;
                places
                    .map(|place| passes.row(place, self.seed))
                    .collect::<Vec<_>>()
            }
        };
        let piece = |start: &Start| {
            let document = &self.documents[start.document as usize];
            Piece::of(document, start.token as usize, self.length)
        };
        let rows: Vec<Vec<Piece<'_>>> = starts
            .iter()
            .map(|row: &Vec<Start>| row.iter().map(piece).collect())
            .collect();
        assemble(&rows)
    }
}

impl Passes {
    fn new(rows: Vec<Vec<Start>>, seed: u64) -> Self {
        let mut passes = Self {
            order: (0..rows.len() as u32).collect(),
            rows,
            pass: 0,
        };
        passes.go_to(0, seed);
        passes
    }

    /// The row at `place` of all passes, one after the other.
    fn row(&mut self, place: u64, seed: u64) -> Vec<Start> {
        let count = self.rows.len().max(1) as u64;
        let (pass, place) = (place / count, (place % count) as usize);
        if pass != self.pass {
            self.go_to(pass, seed);
        }
        self.rows[self.order[place] as usize].clone()
    }

    fn go_to(&mut self, pass: u64, seed: u64) {
        self.order.sort_unstable();
        self.order.shuffle(&mut stream(seed, Purpose::Order, pass, 0));
        self.pass = pass;
    }
}

fn weights(documents: &[Document], length: usize) -> Vec<u64> {
    let mut sum = 0;
    let add = |document: &Document| {
        let windows = if document.cut_anywhere {
            document.tokens.len() / length
        } else {
            1
        };
        sum += windows.max(1) as u64;
        sum
    };
    documents.iter().map(add).collect()
}

fn drawn(rng: &mut impl Rng, documents: &[Document], weights: &[u64], length: usize) -> Start {
    let drawn = rng.random_range(0..weights.last().copied().unwrap_or(1));
    let index = weights.partition_point(|weight| *weight <= drawn);
    let document = &documents[index];
    let spare = document.tokens.len().saturating_sub(length + 1);
    let token = if document.cut_anywhere {
        rng.random_range(0..=spare)
    } else {
        0
    };
    Start {
        document: index as u32,
        token: token as u32,
    }
}

/// Every piece once: text in consecutive ones, conversations from their start.
fn starts(documents: &[Document], length: usize) -> Vec<Start> {
    let mut starts = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let last = if document.cut_anywhere {
            document.tokens.len().saturating_sub(1)
        } else {
            1
        };
        starts.extend((0..last).step_by(length).map(|token| Start {
            document: index as u32,
            token: token as u32,
        }));
    }
    starts
}

/// Puts pieces together into rows of at most `length` tokens: the longest first, each into the fullest row that
/// still takes it (best fit decreasing); equal ones in an order of the seed.
fn packed(mut starts: Vec<Start>, documents: &[Document], length: usize, seed: u64) -> Vec<Vec<Start>> {
    let size = |start: &Start| {
        let rest = documents[start.document as usize].tokens.len() - start.token as usize;
        rest.saturating_sub(1).min(length)
    };
    starts.shuffle(&mut stream(seed, Purpose::Packing, 0, 0));
    starts.sort_by_key(|start| std::cmp::Reverse(size(start)));
    let mut rows: Vec<Vec<Start>> = Vec::new();
    // Rows by the room that they have left.
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for start in starts {
        let needed = size(&start);
        let tightest = open.range(needed..).next().map(|(room, _)| *room);
        let (row, room) = match tightest.and_then(|room| Some((open.get_mut(&room)?.pop()?, room))) {
            Some((row, room)) => {
                if open.get(&room).is_some_and(Vec::is_empty) {
                    open.remove(&room);
                }
                rows[row].push(start);
                (row, room)
            }
            None => {
                rows.push(vec![start]);
                (rows.len() - 1, length)
            }
        };
        if room > needed {
            open.entry(room - needed).or_default().push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests;
