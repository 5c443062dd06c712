//! What a view shows of the steps of a training, over all its attempts.
//!
//! The rule: every attempt goes on right after the checkpoint that it began at, and tells each step once. Steps that it
//! repeats, because the attempt before died after them, have the very same loss.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The steps of a training.
#[derive(Debug, PartialEq)]
pub(super) struct History {
    /// The loss of each step, from the first.
    pub(super) losses: Vec<f64>,
    /// Steps that were told again by a later attempt.
    pub(super) repeated: usize,
}

impl History {
    /// Reads `items` of a feed. `from_steps`: how many steps were done before each attempt that began to train.
    pub(super) fn of(items: &[Value], from_steps: &BTreeMap<u64, usize>, total: u32) -> Result<Self> {
        let (mut losses, mut repeated) = (Vec::new(), 0);
        let mut superseded: BTreeMap<usize, f64> = BTreeMap::new();
        for item in items {
            if item["event"] == "jobs.JobStarted" {
                let attempt = item["attempt"].as_u64().context("an attempt has a number")?;
                let from = *from_steps.get(&attempt).context("an attempt is not listed")?;
                ensure!(
                    from <= losses.len(),
                    "attempt {attempt} begins after step {from}, and {} were seen",
                    losses.len()
                );
                for (index, loss) in losses.drain(from..).enumerate() {
                    superseded.insert(from + index + 1, loss);
                }
            }
            for point in item["points"].as_array().into_iter().flatten() {
                let step = point["step"].as_u64().and_then(|step| usize::try_from(step).ok());
                let (step, loss) = (step.context("a step")?, point["loss"].as_f64().context("a loss")?);
                ensure!(
                    step == losses.len() + 1,
                    "step {step} came after step {}",
                    losses.len()
                );
                if let Some(before) = superseded.remove(&step) {
                    ensure!(
                        before.to_bits() == loss.to_bits(),
                        "step {step} was repeated with another loss: {loss} after {before}"
                    );
                    repeated += 1;
                }
                losses.push(loss);
            }
        }
        ensure!(
            losses.len() == total as usize,
            "{} of {total} steps were seen",
            losses.len()
        );
        Ok(Self { losses, repeated })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::History;

    fn started(attempt: u64) -> Value {
        json!({ "event": "jobs.JobStarted", "attempt": attempt })
    }

    fn steps(range: std::ops::RangeInclusive<u32>) -> Value {
        let points: Vec<Value> = range
            .map(|step| json!({ "step": step, "loss": f64::from(step) / 2.0 }))
            .collect();
        json!({ "points": points })
    }

    fn seen(items: &[Value]) -> Result<History, String> {
        let from = BTreeMap::from([(1, 0), (2, 4)]);
        History::of(items, &from, 8).map_err(|error| error.to_string())
    }

    #[test]
    fn an_attempt_that_goes_on_from_its_checkpoint_shows_every_step_once() {
        let items = [started(1), steps(1..=3), steps(4..=6), started(2), steps(5..=8)];
        let history = seen(&items).expect("whole");
        assert_eq!((history.losses.len(), history.repeated), (8, 2));
    }

    #[test]
    fn gaps_duplicates_and_other_losses_are_found() {
        let mut other = [started(1), steps(1..=6), started(2), steps(5..=8)];
        other[3]["points"][0]["loss"] = json!(9.0);
        for (items, said) in [
            (
                vec![started(1), steps(1..=3), steps(5..=8)],
                "step 5 came after step 3",
            ),
            (
                vec![started(1), steps(1..=3), steps(3..=8)],
                "step 3 came after step 3",
            ),
            (
                vec![started(1), steps(1..=3), started(2), steps(5..=8)],
                "begins after step 4",
            ),
            (vec![started(1), steps(1..=7)], "7 of 8"),
            (other.to_vec(), "another loss"),
        ] {
            let error = seen(&items).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }
}
