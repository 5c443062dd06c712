// Writes corpus.jsonl: operations with the answers of graphql-js, one JSON object a line.
//
//   npm ci && npm run generate
//
// An answer is `data` as text, so that the order of its keys is part of it, and the paths of the errors.
// `data` is missing where nothing was executed; errors without a path, which say why, are not in `paths`.
import { writeFileSync } from "node:fs";
import { execute, parse, subscribe, validate, version } from "graphql";
import { cases } from "./cases.mjs";
import { operation } from "./random.mjs";
import { bePunctual, rootFor, schema } from "./twin.mjs";

const RANDOM = { query: 420, mutation: 60, subscription: 60 };

const answerOf = ({ data, errors }) => {
  const paths = (errors ?? []).map((error) => error.path).filter((path) => path !== undefined);
  paths.sort((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));
  return data === undefined ? { paths } : { data: JSON.stringify(data), paths };
};

async function answersOf({ kind, query, variables, operation: operationName }) {
  let document;
  try {
    document = parse(query);
  } catch {
    return { answers: [{ paths: [] }], valid: false };
  }
  try {
    if (validate(schema, document).length > 0) return { answers: [{ paths: [] }], valid: false };
  } catch {
    // `@skip(if: $v)` at a subscription's root: graphql-js asks for the variable while it validates.
    return { answers: [{ paths: [] }], valid: false };
  }
  const given = { schema, document, rootValue: rootFor(kind), variableValues: variables, operationName };
  if (kind !== "subscription") return { answers: [answerOf(await execute(given))], valid: true };
  // Without a root field, all of them skipped, graphql-js throws.
  const stream = await subscribe(given).catch(() => ({}));
  if (!(Symbol.asyncIterator in stream)) return { answers: [answerOf(stream)], valid: true };
  const answers = [];
  for await (const event of stream) answers.push(answerOf(event));
  return { answers, valid: true };
}

// Where a list fails, graphql-js leaves the promises of its other items to themselves.
process.on("unhandledRejection", () => {});

const lines = [];
const seen = new Set();
const counts = {};
async function take(one, keep) {
  const key = JSON.stringify([one.query, one.variables, one.operation]);
  if (seen.has(key)) return false;
  seen.add(key);
  const { answers, valid } = await answersOf(one);
  // Which of several errors below one null is told may depend on which comes first (6.4.4): not held against
  // anybody.
  bePunctual(true);
  const punctual = await answersOf(one);
  bePunctual(false);
  if (JSON.stringify(answers) !== JSON.stringify(punctual.answers)) return false;
  const executed = answers.length !== 1 || answers[0].data !== undefined && answers[0].data !== "null";
  if (!keep(valid, executed, answers)) return false;
  lines.push(JSON.stringify({ ...one, answers }));
  counts[one.group] = (counts[one.group] ?? 0) + 1;
  return true;
}

for (const one of cases) await take(one, () => true);
let seed = 0;
for (const [kind, wanted] of Object.entries(RANDOM)) {
  let refusals = Math.floor(wanted / 10);
  for (let found = 0; found < wanted; seed += 1) {
    const one = { group: `random ${kind}`, ...operation(schema, kind, seed) };
    // Most are executed; what nobody executes is written by hand above, but for a tenth.
    const kept = await take(one, (valid, executed, answers) => {
      const whole = JSON.stringify(answers).length;
      if (one.query.length > 700 || whole > 900) return false;
      return executed || refusals-- > 0;
    });
    if (kept) found += 1;
  }
}
writeFileSync(new URL("corpus.jsonl", import.meta.url), `${lines.join("\n")}\n`);
console.log(`graphql ${version}: ${lines.length} operations`, counts);
