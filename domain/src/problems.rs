//! Everything that is wrong with an input, told at once.
//!
//! One rule: a refusal of several problems is the list of them, so that none hides another.

use std::fmt::{Debug, Display, Formatter};

/// All problems of an input, in the order in which they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems<P>(pub Vec<P>);

impl<P: Display> Display for Problems<P> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

impl<P: Debug + Display> std::error::Error for Problems<P> {}
