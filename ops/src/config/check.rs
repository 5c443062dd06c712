//! What must hold between keys.

use super::keys::Config;
use super::problem::Problem;

/// What contradicts itself in a configuration whose values are good one by one.
pub(super) fn across(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut demand = |holds: bool, keys: &str, message: &str| {
        if !holds {
            problems.push(Problem {
                source: keys.to_owned(),
                message: message.to_owned(),
            });
        }
    };
    let auth = &config.auth;
    demand(
        u64::from(auth.access_token_minutes) < u64::from(auth.refresh_token_days) * 24 * 60,
        "auth.access_token_minutes, auth.refresh_token_days",
        "an access token must end before its session",
    );
    demand(
        config.uploads.max_line_bytes <= config.uploads.max_bytes,
        "uploads.max_line_bytes, uploads.max_bytes",
        "a line cannot be longer than the file",
    );
    problems
}
