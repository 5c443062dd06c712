//! The resolvers of mutations.
//!
//! One rule: a resolver states which ids its input names and which command it means; everything else is the call's. So
//! its body is short, and a long one does what all would have to do.

use super::sources;

/// The longest body of a resolver of a mutation, in lines between its braces.
const LONGEST_BODY: usize = 12;

/// Name and lines of each body in `impl …Mutation` that is an object of the schema.
fn bodies(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, pair) in lines.windows(2).enumerate() {
        let declares = pair[1].starts_with("impl ") && pair[1].ends_with("Mutation {");
        if pair[0].trim() != "#[Object]" || !declares {
            continue;
        }
        let end = lines[at..].iter().position(|line| *line == "}");
        let block = &lines[at..at + end.expect("a block ends")];
        for (begin, line) in block.iter().enumerate() {
            let Some(rest) = line.strip_prefix("    async fn ") else {
                continue;
            };
            let name = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
            let after = |from: usize, wanted: &dyn Fn(&str) -> bool| {
                block[from..]
                    .iter()
                    .position(|line| wanted(line))
                    .map(|more| from + more)
            };
            let open = after(begin, &|line| line.ends_with('{')).expect("a body begins");
            let close = after(open, &|line| line == "    }").expect("a body ends");
            found.push((name, close - open - 1));
        }
    }
    found
}

#[test]
fn bodies_of_resolvers_are_found_and_measured() {
    let text = "#[derive(Default)]\npub struct AMutation;\n\n#[Object]\nimpl AMutation {\n    /// Does.\n    async fn one(&self) -> Result<()> {\n        1;\n        2\n    }\n\n    async fn two(\n        &self,\n        input: Input,\n    ) -> Result<()> {\n        match input {\n            _ => {}\n        }\n    }\n}\n\n#[Object]\nimpl AQuery {\n    async fn three(&self) {\n        3\n    }\n}\n";
    assert_eq!(bodies(text), [("one".to_owned(), 2), ("two".to_owned(), 3)]);
}

#[test]
fn resolvers_of_mutations_are_short() {
    let (mut long, mut measured) = (Vec::new(), 0);
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("api/src/graphql/"))
    {
        for (name, lines) in bodies(&source.text) {
            measured += 1;
            if lines > LONGEST_BODY {
                long.push(format!("{}: {name} has {lines} lines", source.path));
            }
        }
    }
    assert!(measured >= 23, "only {measured} mutations were found");
    assert!(
        long.is_empty(),
        "leave these to the call ({LONGEST_BODY} lines at most):\n{}",
        long.join("\n")
    );
}

/// A payload that cannot be null takes those of its committed siblings with it when it fails.
#[test]
fn a_failing_mutation_leaves_the_payloads_of_its_siblings() {
    let sdl = api::graphql::sdl();
    let (_, rest) = sdl.split_once("type Mutation {").expect("mutations");
    let (fields, _) = rest.split_once("\n}").expect("their end");
    let declared: Vec<&str> = fields
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("): ") || line.starts_with("logout: "))
        .collect();
    assert!(declared.len() >= 23, "{declared:?}");
    let strict: Vec<&&str> = declared.iter().filter(|line| line.ends_with('!')).collect();
    assert!(strict.is_empty(), "make these nullable: {strict:#?}");
}
