//! Gathers progress into batches of bounded size.
//!
//! One rule: whatever the child says, a batch stays well below what the log takes at once; what is left out
//! is counted.

use domain::jobs::progress::{Batch, Evaluation, GpuUse, LogLine, Point, Sample};
use ml::device::gpu_monitor::GpuUsage;

/// Points per batch: what a chart of one second can show. More would cost more than it tells (JB-5).
const POINTS: usize = 60;
/// Evaluations per batch.
const EVALUATIONS: usize = 100;
/// Samples per batch.
const SAMPLES: usize = 4;
/// Log lines per batch.
const LINES: usize = 40;
/// Bytes of one log line, and of the prompt of a sample.
const SHORT: usize = 1_000;
/// Bytes of the text of a sample. In JSON each may take six.
const LONG: usize = 8_000;

/// Reports that are not sent yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    batch: Batch,
    left_out: u32,
    any: bool,
}

impl Pending {
    /// Nothing yet, of a training that stands at `step` of `total_steps`.
    pub(super) fn new(step: u32, total_steps: u32) -> Self {
        Self {
            batch: Batch {
                step,
                total_steps,
                ..Batch::default()
            },
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Where the training stands.
    pub(super) fn position(&mut self, step: u32, total_steps: u32) {
        self.batch.step = self.batch.step.max(step);
        self.batch.total_steps = total_steps;
    }

    /// How it goes on: seconds to the end, resident bytes (0: unknown), and what the GPU is doing.
    pub(super) fn outlook(&mut self, eta_seconds: f64, memory_bytes: u64, gpu: Option<GpuUsage>) {
        let eta = eta_seconds
            .is_finite()
            .then(|| eta_seconds.clamp(0.0, f64::from(u32::MAX)).round() as u32);
        self.batch.eta_seconds = eta;
        self.batch.memory_bytes = (memory_bytes > 0).then_some(memory_bytes);
        self.batch.gpu = gpu.map(|reading| GpuUse {
            busy_percent: reading.busy_percent,
            memory_bytes: reading.memory_bytes,
        });
        self.any = true;
    }

    pub(super) fn point(&mut self, point: Point) {
        self.batch.points.push(point);
        if self.batch.points.len() >= 2 * POINTS {
            thin(&mut self.batch.points, POINTS);
        }
        self.any = true;
    }

    pub(super) fn evaluation(&mut self, evaluation: Evaluation) {
        self.batch.step = self.batch.step.max(evaluation.step);
        if self.batch.evaluations.len() < EVALUATIONS {
            self.batch.evaluations.push(evaluation);
        } else {
            self.left_out += 1;
        }
        self.any = true;
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        if self.batch.samples.len() < SAMPLES {
            let (prompt, text) = (cut(sample.prompt, SHORT), cut(sample.text, LONG));
            self.batch.samples.push(Sample {
                prompt,
                text,
                ..sample
            });
        } else {
            self.left_out += 1;
        }
        self.any = true;
    }

    /// `level`: `info`, `warn` or `error`.
    pub(super) fn log(&mut self, level: &str, message: impl Into<String>) {
        if self.batch.log.len() < LINES {
            let message = cut(message.into(), SHORT);
            self.batch.log.push(LogLine {
                level: level.to_owned(),
                message,
            });
        } else {
            self.left_out += 1;
        }
        self.any = true;
    }

    /// All that waits; what comes later begins a new batch at the same step.
    pub(super) fn take(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        let left_out = std::mem::take(&mut self.left_out);
        thin(&mut batch.points, POINTS);
        if left_out > 0 {
            let message = format!("{left_out} more messages came in the same second and were left out");
            batch.log.push(LogLine {
                level: "warn".to_owned(),
                message,
            });
        }
        *self = Self::new(batch.step, batch.total_steps);
        self.batch.eta_seconds = batch.eta_seconds;
        self.batch.memory_bytes = batch.memory_bytes;
        self.batch.gpu = batch.gpu;
        batch
    }
}

/// Keeps at most `most` points, evenly, the last one always.
fn thin(points: &mut Vec<Point>, most: usize) {
    let count = points.len();
    if count > most {
        *points = (1..=most).map(|nth| points[nth * count / most - 1]).collect();
    }
}

/// Cuts to at most `most` bytes, at a character.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use domain::jobs::progress::{Evaluation, Point, Sample};

    use super::Pending;

    fn point(step: u32) -> Point {
        Point {
            step,
            loss: 1.25,
            learning_rate: 1e-3,
            gradient_norm: 0.5,
            tokens_per_second: 1234.5,
        }
    }

    /// JB-5
    #[test]
    fn a_flood_becomes_one_small_batch_that_says_what_it_lacks() {
        let mut pending = Pending::new(0, 10_000);
        for step in 1..=10_000 {
            pending.position(step, 10_000);
            pending.point(point(step));
            pending.evaluation(Evaluation { step, loss: 1.0 });
            pending.log("info", "\u{1}".repeat(5_000));
            pending.sample(Sample {
                step,
                prompt: "\u{1}".repeat(5_000),
                text: "\u{1}".repeat(50_000),
            });
        }
        let batch = pending.take();
        assert_eq!(batch.step, 10_000);
        assert!(batch.points.len() <= 60);
        assert_eq!(batch.points.last().map(|point| point.step), Some(10_000));
        assert!(batch.points.is_sorted_by_key(|point| point.step));
        assert!(
            batch
                .log
                .last()
                .is_some_and(|line| line.message.contains("were left out"))
        );
        let words = serde_json::to_vec(&(&batch.samples, &batch.log)).expect("encoded");
        let size = serde_json::to_vec(&batch.metrics()).expect("encoded").len() + words.len();
        assert!(size < 700_000, "{size} bytes");
        assert!(pending.is_empty());
        assert_eq!(
            pending.take().step,
            10_000,
            "the next batch begins where this one ended"
        );
    }

    #[test]
    fn few_points_are_all_kept() {
        let mut pending = Pending::new(0, 3);
        (1..=3).for_each(|step| pending.point(point(step)));
        let steps: Vec<u32> = pending.take().points.iter().map(|point| point.step).collect();
        assert_eq!(steps, [1, 2, 3]);
    }
}
