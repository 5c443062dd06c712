//! What names and descriptions may look like, the same everywhere.

/// A text that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TextProblem {
    /// The field, as the input calls it.
    pub field: &'static str,
    /// What is wrong and what would fit.
    pub message: String,
}

/// Everything that does not fit, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextProblems(pub Vec<TextProblem>);

impl std::fmt::Display for TextProblems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for TextProblems {}

/// Name and description, trimmed and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// See [`name`].
    pub name: String,
    /// See [`description`].
    pub description: String,
}

impl Label {
    /// Checks both texts.
    ///
    /// # Errors
    /// Every problem of both.
    pub fn try_new(given_name: &str, given_description: &str) -> Result<Self, TextProblems> {
        match (name(given_name), description(given_description)) {
            (Ok(name), Ok(description)) => Ok(Self { name, description }),
            (name, description) => Err(TextProblems(
                [name.err(), description.err()].into_iter().flatten().collect(),
            )),
        }
    }
}

/// A name: trimmed, 1 to 100 characters, no control characters.
///
/// # Errors
/// When it does not fit.
pub fn name(text: &str) -> Result<String, TextProblem> {
    fit("name", text, 1, 100, false)
}

/// A description: trimmed, at most 2,000 characters, line breaks allowed.
///
/// # Errors
/// When it does not fit.
pub fn description(text: &str) -> Result<String, TextProblem> {
    fit("description", text, 0, 2_000, true)
}

fn fit(field: &'static str, text: &str, min: usize, max: usize, lines: bool) -> Result<String, TextProblem> {
    let text = text.trim();
    let length = text.chars().count();
    if length < min {
        return Err(TextProblem {
            field,
            message: format!("the {field} must not be empty"),
        });
    }
    if length > max {
        let message = format!("the {field} has {length} characters; at most {max} are allowed");
        return Err(TextProblem { field, message });
    }
    if text
        .chars()
        .any(|letter| letter.is_control() && !(lines && matches!(letter, '\n' | '\r' | '\t')))
    {
        let message = format!("the {field} contains control characters");
        return Err(TextProblem { field, message });
    }
    Ok(text.to_owned())
}
