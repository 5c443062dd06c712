//! What is wrong with a configuration.

use std::fmt;

use domain::text::on_one_line;

/// One unknown key or bad value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was found: a file, a variable, a flag.
    pub source: String,
    /// What is wrong, with what is expected. Holds no secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys, values and paths from anywhere are in it, and each mistake is to stand on its line.
        f.write_str(&on_one_line(&format!("{}: {}", self.source, self.message)))
    }
}

/// Everything that is wrong, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let mistakes = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "the configuration has {count} {mistakes}:")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
