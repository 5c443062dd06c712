//! What must hold between keys.

use objects::{S3Options, StoreAddress};

use super::keys::{Config, Objects};
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
    if matches!(config.objects.url.0, Some(StoreAddress::Bucket { .. }))
        && let Err(found) = config.objects.options().check()
    {
        problems.extend(found.into_iter().map(|(key, message)| Problem {
            source: format!("objects.{key}"),
            message,
        }));
    }
    problems
}

impl Objects {
    /// What an S3 store needs besides its address.
    #[must_use]
    pub fn options(&self) -> S3Options {
        S3Options {
            endpoint: self.endpoint.0.clone(),
            region: self.region.0.clone(),
            access_key_id: self.access_key_id.0.clone(),
            secret_access_key: self.secret_access_key.0.clone(),
            session_token: self.session_token.0.clone(),
            path_style: self.path_style,
            allow_http: self.allow_http,
        }
    }
}
