//! Licence expressions: `OR`, `AND`, `WITH`, brackets, and the old `/` for `OR`.
//!
//! Source: SPDX specification 2.3, annex D; `WITH` binds strongest, then `AND`, then `OR`.

/// What a crate says about its licence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// One licence, with its exception if it has one.
    Id(String),
    /// One of these may be chosen.
    Any(Vec<Expression>),
    /// All of these apply.
    All(Vec<Expression>),
}

impl Expression {
    /// Reads an expression; `None` when it is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut rest = words.as_slice();
        let expression = any(&mut rest)?;
        rest.is_empty().then_some(expression)
    }

    /// Whether it can be satisfied with licences that `allows` accepts.
    pub(crate) fn holds(&self, allows: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Id(id) => allows(id),
            Self::Any(parts) => parts.iter().any(|part| part.holds(allows)),
            Self::All(parts) => parts.iter().all(|part| part.holds(allows)),
        }
    }
}

fn any(rest: &mut &[&str]) -> Option<Expression> {
    let mut parts = vec![all(rest)?];
    while take(rest, "OR") {
        parts.push(all(rest)?);
    }
    single(parts, Expression::Any)
}

fn all(rest: &mut &[&str]) -> Option<Expression> {
    let mut parts = vec![one(rest)?];
    while take(rest, "AND") {
        parts.push(one(rest)?);
    }
    single(parts, Expression::All)
}

fn one(rest: &mut &[&str]) -> Option<Expression> {
    if take(rest, "(") {
        let inner = any(rest)?;
        return take(rest, ")").then_some(inner);
    }
    let id = word(rest)?;
    if take(rest, "WITH") {
        return Some(Expression::Id(format!("{id} WITH {}", word(rest)?)));
    }
    Some(Expression::Id(id))
}

fn word(rest: &mut &[&str]) -> Option<String> {
    let (first, others) = rest.split_first()?;
    if ["(", ")", "AND", "OR", "WITH"].contains(first) {
        return None;
    }
    *rest = others;
    Some((*first).to_owned())
}

fn take(rest: &mut &[&str], wanted: &str) -> bool {
    match rest.split_first() {
        Some((first, others)) if *first == wanted => {
            *rest = others;
            true
        }
        _ => false,
    }
}

fn single(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Option<Expression> {
    if parts.len() == 1 {
        parts.pop()
    } else {
        Some(many(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::Expression;

    fn holds(text: &str, allowed: &[&str]) -> bool {
        Expression::parse(text)
            .expect("well-formed")
            .holds(&|id| allowed.contains(&id))
    }

    #[test]
    fn one_of_or_and_each_of_and_is_needed() {
        assert!(holds("MIT OR GPL-3.0", &["MIT"]));
        assert!(!holds("MIT AND GPL-3.0", &["MIT"]));
        assert!(holds("MIT/Apache-2.0", &["Apache-2.0"]));
    }

    #[test]
    fn and_binds_stronger_than_or_and_brackets_strongest() {
        assert!(holds("MIT OR ISC AND GPL-3.0", &["MIT"]));
        assert!(!holds("(MIT OR ISC) AND GPL-3.0", &["MIT"]));
        assert!(holds("(MIT OR GPL-3.0) AND ISC", &["MIT", "ISC"]));
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert!(holds(
            "Apache-2.0 WITH LLVM-exception",
            &["Apache-2.0 WITH LLVM-exception"]
        ));
        assert!(!holds("GPL-2.0 WITH Classpath-exception-2.0", &["GPL-2.0"]));
    }

    #[test]
    fn malformed_expressions_are_refused() {
        for text in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH"] {
            assert_eq!(Expression::parse(text), None, "{text}");
        }
    }
}
