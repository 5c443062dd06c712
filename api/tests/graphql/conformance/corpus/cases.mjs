// Operations written by hand: the places at which libraries have gone wrong.
const query = (group, text, variables = {}, extra = {}) => ({ group, kind: "query", query: text, variables, ...extra });
const sub = (text, variables = {}) => ({ group: "subscription", kind: "subscription", query: text, variables });
const mutation = (text, variables = {}) => ({ group: "mutation", kind: "mutation", query: text, variables });

export const cases = [
  // 6.4.4: errors propagate to the nearest nullable parent.
  ...["{ hard version }", "{ version hard }", "{ soft version }", "{ thing { hard id } version }", "{ maybe { hard id } version }",
    "{ maybe { strictChild { hard } } version }", "{ maybe { child { hard } id } version }", "{ things { even number } }",
    "{ strictThings { even } }", "{ maybe { strictThings: strictChildren { even } } }", "{ maybe { children(count: 9) { id } number } }",
    "{ strictThings { strictChildren(count: 9) { id } number } version }", "{ things { children(count: 4) { id } number } }",
    "{ things { strictChildren(count: 4) { id } number } }", "{ maybe { grid { even } } }", "{ maybe { looseGrid { even } } }",
    "{ maybe { halfStrictGrid { even } } }", "{ maybe { softItems hardItems } }", "{ maybe { numbers absent noChild { id } } }",
    "{ maybe { softChild { id } } }", "{ maybe { hardChild { id } } }", "{ maybe { pets { ... on Rock { weight } } } }",
    "{ things { animals { hard } animal { soft } } }"].map((text) => query("nulls", text)),
  // 7.2: keys stand in the order of the query.
  ...["{ version thing { id } soft }", "{ thing { slow id number } version maybe { id } }", "{ thing { slow ... { number } id } }",
    "{ things { slow number child { slow id } id } version }", "{ thing { animals { name ... on Dog { barks weight } } id } }"]
    .map((text) => query("order", text)),
  // 3.13: directives, on fields, spreads and inline fragments.
  ...["{ thing { id @include(if: false) } }", "{ thing { id @skip(if: true) } version }", "{ things { id @skip(if: true) } }",
    "{ version @skip(if: true) }", "{ version @skip(if: false) @include(if: true) }", "{ version @skip(if: true) @include(if: true) }",
    "{ version @skip(if: false) @include(if: false) }", "{ ... @include(if: false) { version } }",
    "{ ...F @skip(if: true) version } fragment F on Query { thing { id } }", "{ ...F @skip(if: true) ...F } fragment F on Query { version }",
    "{ thing { ... on Thing @skip(if: true) { id } number } }", "{ hard @skip(if: true) version }",
    "{ thing { hard @include(if: false) } }", "{ version @skip version: version }", "{ version @include(if: null) }"]
    .map((text) => query("directives", text)),
  ...[{ b: true }, { b: false }, {}, { b: null }, { b: "true" }, { b: 1 }].flatMap((variables) => [
    query("directives", "query ($b: Boolean!) { version @include(if: $b) thing { id @skip(if: $b) } }", variables),
    query("directives", "query ($b: Boolean = true) { version @include(if: $b) thing { id @skip(if: $b) } }", variables),
    query("directives", "query ($b: Boolean! = false) { version @include(if: $b) ... @skip(if: $b) { thing { id } } }", variables),
    query("directives", "query ($b: Boolean) { version @include(if: $b) thing { id } }", variables),
    query("directives", "query ($b: Boolean! = true) { ...F @include(if: $b) thing { id } } fragment F on Query { version @skip(if: $b) }", variables),
  ]),
  // 6.3.2 and 6.4.3: fields with one response key are one field.
  ...["{ thing { id } thing { number } }", "{ thing { id } version thing { number id } }", "{ thing { child { id } } thing { child { number } } }",
    "{ things { id } things { number } }", "{ thing { grid { id } } thing { grid { number } } }", "{ maybe { id } maybe { hard } }",
    "{ maybe { hard } maybe { id } }", "{ maybe { soft } maybe { soft } }", "{ soft soft }", "{ things { number } things { even } }",
    "{ thing { looseGrid { id } looseGrid { number even } } }", "{ thing { id } ...F } fragment F on Query { thing { number } version }",
    "{ thing { animal { name } animal { ... on Dog { barks } } animal { ... on Cat { lives } } } }",
    "{ thing { animals { name owner { id } ... on Dog { owner { number } } ... on Cat { owner { even } } } } }",
    "{ thing { pets { ... on Dog { weight friend { id } } ... on Cat { weight } ... on Animal { friend { number } weight: name } } } }",
    "{ thing { pets { ... on Dog { friend { id } } ... on Animal { friend { number } name } } } }",
    "{ thing { pet { ... on Animal { owner { id } } ... on Dog { owner { slow number } } __typename } } }",
    "{ a: version ... on Query { a: soft } }", "{ version ... { version: soft } }", "{ thing { a: id a: number } }",
    "{ thing { animal { ... on Dog { x: name } ... on Cat { x: lives } } } }",
    "{ thing { animal { ... on Dog { x: weight } ... on Cat { x: lives } } } }",
    "{ maybe(number: 1) { id } maybe(number: 2) { id } }", "{ maybe(number: 1) { id } maybe(number: 1) { number } }",
    "{ maybe { id } ... on Query { maybe(number: 2) { id } } }"].map((text) => query("merging", text)),
  // 6.1.2: variables.
  ...[{}, { v: null }, { v: 3 }, { v: "3" }, { v: 1.5 }, { v: true }, { v: [3] }, { v: {} }, { v: 3000000000 }, { other: 1 }].flatMap((variables) =>
    ["Int", "Int!", "Int = 4", "Int! = 4"].flatMap((type) =>
      ["int", "required", "defaulted", "requiredDefaulted"].map((field) =>
        query("variables", `query ($v: ${type}) { echo { ${field}(value: $v) } }`, variables)))),
  ...[{}, { v: null }, { v: [] }, { v: 1 }, { v: [1, null] }, { v: [[1], null, [null]] }, { v: "x" }, { v: ["x"] }].flatMap((variables) => [
    query("variables", "query ($v: [Int!]) { echo { ints(values: $v) } }", variables),
    query("variables", "query ($v: [Int]!) { echo { looseInts(values: $v) } }", variables),
    query("variables", "query ($v: [[Int]]) { echo { matrix(values: $v) } }", variables),
    query("variables", "query ($v: [[Int]] = 2) { echo { matrix(values: $v) } }", variables),
  ]),
  ...[{}, { v: null }, { v: 2 }].flatMap((variables) => [
    query("variables", "query ($v: Int) { echo { looseInts(values: [1, $v]) ints(values: [1]) } }", variables),
    query("variables", "query ($v: Int) { echo { filter(value: { least: 1, most: $v }) } }", variables),
    query("variables", "query ($v: Int = 3) { echo { filter(value: { least: 1, step: $v }) } }", variables),
    query("variables", "query ($v: Int) { echo { filter(value: { least: 1, step: $v }) } }", variables),
    query("variables", "query ($v: Int) { echo { matrix(values: [[$v, 1], $w]) } }", variables),
    query("variables", "query ($v: Int) { echo { matrix(values: [[$v, 1], null]) } }", variables),
    query("variables", "query ($v: Int!) { echo { filters(values: [{ least: $v }, { least: 2, inner: { least: $v } }]) } }", variables),
    query("variables", "query ($v: Int!, $unused: Int) { echo { required(value: $v) } }", variables),
  ]),
  ...[{ least: 1 }, {}, { least: null }, { least: "1" }, { least: 1, other: 2 }, { least: 1, most: null, step: 2 }, { least: 1, step: null },
    { least: 1, kinds: "RED" }, { least: 1, kinds: ["RED", "BLUE"] }, { least: 1, kinds: [null] }, { least: 1, inner: { least: 2 } },
    { least: 1, inner: { most: 2 } }, [{ least: 1 }], "x", 7].flatMap((v) => [
    query("variables", "query ($v: Filter) { echo { filter(value: $v) } }", { v }),
    query("variables", "query ($v: [Filter!]!) { echo { filters(values: $v) } }", { v }),
  ]),
  ...["RED", "BLUE", "red", 1, null, ["RED"]].map((v) => query("variables", "query ($v: Kind! = RED) { echo { kind(value: $v) } }", { v })),
  ...["a", 7, 7.5, true, null, ["a"]].map((v) => query("variables", "query ($v: ID!) { echo { id(value: $v) } }", { v })),
  ...["a", 7, true, null, ["a"], {}].map((v) => query("variables", "query ($v: String) { echo { text(value: $v) } }", { v })),
  ...[true, "true", 0, null].map((v) => query("variables", "query ($v: Boolean) { echo { flag(value: $v) } }", { v })),
  ...[1.5, 2, "2", true, null].map((v) => query("variables", "query ($v: Float) { echo { float(value: $v) } }", { v })),
  // Literals. Left out: `\"""` in a block string, of which the library's parser keeps the backslash, and a field
  // given twice in an input object, which its parser does not report.
  ...["int(value: 3)", "int(value: \"3\")", "int(value: 1.5)", "int(value: 3000000000)", "int(value: null)", "int", "required", "required(value: null)",
    "requiredDefaulted(value: null)", "ints(values: 3)", "ints(values: [3, null])", "matrix(values: 3)", "matrix(values: [3, [4]])",
    "filter(value: {})", "filter(value: {least: 1, other: 2})", "filter(value: {least: 1, kinds: RED})",
    "filter(value: {least: 1, kinds: \"RED\"})", "kind(value: RED)", "kind(value: \"RED\")", "kind(value: BLUE)", "id(value: 7)", "id(value: \"a\")",
    "id(value: 7.5)", "id(value: RED)", "text(value: 7)", "text(value: RED)", "flag(value: 1)", "float(value: 2)", "float(value: \"2\")",
    "text(value: \"\\u00e9\\n\\\"\")", "text(value: \"\\uD83D\\uDE00\")", "text(value: \"\\uD83D\")", "text(value: \"\\uDE00\\uD83D\")",
    "text(value: \"a\\\\uD83D\")", "text(value: \"\"\"\n    block\n      x\n    end\n  \"\"\")",
    "text(value: \"\"\"\\uD83D\"\"\")",
    "unknown", "int(other: 1)", "int(value: 1, value: 2)"].map((field) => query("literals", `{ echo { ${field} } }`)),
  // What is not valid.
  ...["{ unknown }", "{ thing }", "{ version { id } }", "{ ...F }", "{ version } fragment F on Query { version }", "{ ...F } fragment F on Thing { id }",
    "{ thing { ... on Dog { name } } }", "query ($v: Unknown) { version }", "query ($v: Thing) { version }", "query ($v: Int, $v: Int) { echo { int(value: $v) } }",
    "{ echo { int(value: $v) } }", "{ version @unknown }", "query ($v: String) { echo { int(value: $v) } }", "query ($v: [Int]) { echo { ints(values: $v) } }",
    "query ($v: Int = \"x\") { echo { int(value: $v) } }", "query A { version } query A { version }", "{ version } query B { version }"]
    .map((text) => query("validation", text)),
  query("operations", "query A { version } query B { thing { id } }", {}, { operation: "B" }),
  query("operations", "query A { version } query B { thing { id } }", {}, { operation: "C" }),
  query("operations", "query A { version } query B { thing { id } }"),
  query("operations", "query A($v: Int!) { echo { required(value: $v) } } query B { version }", {}, { operation: "B" }),
  query("operations", "query A($v: Int!) { echo { required(value: $v) } } query B($v: String) { echo { text(value: $v) } }", { v: "x" }, { operation: "B" }),
  // 6.2.2: mutations one after the other, each response key once.
  ...["mutation { add(by: 2) { value total } b: add(by: 3) { value total } }", "mutation { strictAdd { value } strictAdd { total } }",
    "mutation { soft { value } add(by: 1) { value } }", "mutation { strictAdd(by: 1) { even } b: strictAdd(by: 1) { value } }",
    "mutation { add(by: 1) { even } b: add(by: 1) { value total } }", "mutation { hard { value } add(by: 1) { value } }",
    "mutation { add(by: 1) { value } hard { value } }", "mutation { add(by: 1) { soft } add(by: 1) { value } ...F } fragment F on Mutation { add(by: 1) { total } }"]
    .map((text) => mutation(text)),
  ...[{}, { v: null }, { v: 2 }, { v: "x" }].map((variables) => mutation("mutation ($v: Int!) { add(by: $v) { value } }", variables)),
  // 5.2.3.1: one root field.
  ...["subscription { ticks { id } }", "subscription { ticks { id hard } }", "subscription { ticks { slow even id } }", "subscription { looseTicks { id even } }",
    "subscription { looseTicks { soft slow id } }", "subscription { rows { even } }", "subscription { t: ticks(count: 1) { id } }",
    "subscription { ticks { id } rows { id } }", "subscription { ticks { id } ticks { number } }", "subscription { ticks { id } t: ticks { id } }",
    "subscription { ticks { id } ... { rows { id } } }", "subscription { ticks { id } ...F } fragment F on Subscription { rows { id } }",
    "subscription { ...F } fragment F on Subscription { rows { id } ticks { id } }", "subscription { ...F } fragment F on Subscription { rows { id } }",
    "subscription { ... on Subscription { ticks { number id } } }", "subscription { __typename }", "subscription { ticks { id } __typename }",
    "subscription { __schema { queryType { name } } }", "subscription { refused }", "subscription { ticks(count: 0) { id } }",
    "subscription { ticks { pets { ... on Dog { owner { id } } ... on Animal { owner { number } } } } }"].map((text) => sub(text)),
  ...[{}, { v: null }, { v: 1 }, { v: "x" }].flatMap((variables) => [
    sub("subscription ($v: Int!) { ticks(count: $v) { id } }", variables),
    sub("subscription ($v: Int) { ticks(count: $v) { id } }", variables),
  ]),
];
