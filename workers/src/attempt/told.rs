//! How what a training process tells at its end is recorded.
//!
//! One rule: names and numbers are those of the protocol, as text.

use std::collections::BTreeMap;

use ml::{failure::FailureCode, message::FinalMetrics};

/// The stable code of a failure: `DISK_FULL`.
pub(super) fn named(code: FailureCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name.to_uppercase(),
        _ => "INTERNAL".to_owned(),
    }
}

/// The metrics of a completed training, as decimal text.
pub(super) fn decimal(metrics: &FinalMetrics) -> BTreeMap<String, String> {
    let always = [
        ("steps", metrics.steps.to_string()),
        ("tokens", metrics.tokens.to_string()),
        ("loss", metrics.loss.to_string()),
        ("seconds", metrics.seconds.to_string()),
        ("tokens_per_second", metrics.tokens_per_second.to_string()),
    ];
    let sometimes = [
        ("initial_evaluation_loss", metrics.initial_evaluation_loss),
        ("evaluation_loss", metrics.evaluation_loss),
        ("perplexity", metrics.perplexity),
    ];
    let sometimes = sometimes
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.to_string())));
    always
        .into_iter()
        .chain(sometimes)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use ml::failure::FailureCode;

    #[test]
    fn failures_have_codes_in_capitals() {
        assert_eq!(super::named(FailureCode::DiskFull), "DISK_FULL");
        assert_eq!(super::named(FailureCode::LossNotFinite), "LOSS_NOT_FINITE");
    }
}
