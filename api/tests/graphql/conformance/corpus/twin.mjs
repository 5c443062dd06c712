// The twin of ../schema.rs: the same answers from the same arguments and places in the tree.
import { readFileSync } from "node:fs";
import { buildSchema } from "graphql";

const fails = () => {
  throw new Error("fails");
};
let punctual = false;
const turns = async (value) => {
  for (let turn = 0; turn < 3; turn += 1) await Promise.resolve();
  return value;
};
const late = (value) => (punctual ? value : turns(value));
/** Whether what is late is there at once. */
export const bePunctual = (yes) => {
  punctual = yes;
};
const evenOrFails = (number) => (number % 2 === 0 ? number : fails());
const range = (count, make) => Array.from({ length: count }, (_, n) => make(n));
const list = (values) => `[${values.join(",")}]`;
const clamp = (number) => Math.min(Math.max(number, 0), 9);
const optional = (given, name) => (name in given ? `${given[name]}` : "absent");
const filterText = (filter) =>
  `${filter.least}-${optional(filter, "most")}-${filter.step} ` +
  `${filter.kinds == null ? "none" : list(filter.kinds)} ` +
  `${filter.inner == null ? "none" : filterText(filter.inner)}`;

const dog = (n) => ({
  __typename: "Dog",
  name: `dog ${n}`,
  soft: fails,
  hard: fails,
  owner: () => thing(n + 1),
  friend: () => thing(n + 2),
  barks: () => late(true),
  weight: 30,
});
const cat = (n) => ({
  __typename: "Cat",
  name: () => late(`cat ${n}`),
  soft: "purr",
  hard: "claw",
  owner: () => thing(n + 3),
  friend: null,
  lives: 9,
  weight: 4,
});
const rock = (n) => ({ __typename: "Rock", weight: () => evenOrFails(n) });
const pet = (n) => [dog, cat, rock][n % 3](n);
const animal = (n) => [dog, cat][n % 2](n);

const thing = (n) => ({
  id: n,
  number: n,
  slow: () => late(`slow ${n}`),
  absent: null,
  soft: fails,
  hard: fails,
  even: () => evenOrFails(n),
  child: () => thing(n + 1),
  strictChild: () => thing(n + 2),
  noChild: null,
  softChild: fails,
  hardChild: fails,
  children: ({ count }) => (count > 3 ? fails() : range(count, (i) => (i === 1 ? null : thing(n + i)))),
  strictChildren: ({ count }) => (count > 3 ? fails() : range(count, (i) => thing(n + i))),
  grid: () => range(2, (i) => [thing(n + i), thing(n + i + 1)]),
  looseGrid: () => [[thing(n), null, thing(n + 1)], null, []],
  halfStrictGrid: () => [[thing(n)], [thing(n + 1)]],
  softItems: ["a", new Error("fails"), null],
  hardItems: ["a", new Error("fails")],
  numbers: [n, null],
  pet: () => pet(n),
  pets: () => range(3, (i) => pet(n + i)),
  animal: () => animal(n),
  animals: () => [animal(n), null, animal(n + 1)],
});

const echo = {
  int: (given) => optional(given, "value"),
  required: ({ value }) => `${value}`,
  defaulted: ({ value }) => `${value}`,
  requiredDefaulted: ({ value }) => `${value}`,
  ints: ({ values }) => (values == null ? "none" : list(values)),
  looseInts: ({ values }) => list(values.map(String)),
  matrix: ({ values }) =>
    values == null ? "none" : list(values.map((row) => (row == null ? "null" : list(row.map(String))))),
  filter: ({ value }) => (value == null ? "none" : filterText(value)),
  filters: ({ values }) => list(values.map(filterText)),
  kind: ({ value }) => value,
  text: ({ value }) => value,
  id: ({ value }) => value,
  flag: ({ value }) => value,
  float: ({ value }) => (value == null ? null : `${value}`),
};

const count = (state, n) => ({
  value: () => late(n),
  total: () => state.total,
  soft: fails,
  even: () => evenOrFails(n),
});
const add = (state, by) => {
  state.total += clamp(by);
  return count(state, state.total);
};
async function* events(items) {
  for (const item of items) yield item;
}

/** The schema that ../schema.rs exports. */
export const schema = buildSchema(readFileSync(new URL("schema.graphql", import.meta.url), "utf8"));

// A union's and an interface's type is said by the value; buildSchema's default reads `__typename`.
const root = (state) => ({
  thing: () => thing(0),
  maybe: ({ number }) => thing(clamp(number)),
  things: () => [thing(0), thing(1), null],
  strictThings: () => [thing(4), thing(5)],
  echo,
  version: () => late("1"),
  soft: fails,
  hard: fails,
  add: async ({ by }) => {
    await late();
    return add(state, by);
  },
  strictAdd: ({ by }) => add(state, by),
});
// Names that the query's root has with another answer.
const mutationRoot = (state) => ({
  ...root(state),
  soft: () => {
    add(state, 9);
    fails();
  },
});
const subscriptionRoot = {
  ticks: ({ count: many }) => events(range(Math.min(many, 3), (n) => ({ ticks: thing(n) }))),
  looseTicks: ({ count: many }) => events(range(Math.min(many, 3), (n) => ({ looseTicks: n === 1 ? null : thing(n) }))),
  rows: () => events([[thing(0), thing(1)], [thing(2)], []].map((rows) => ({ rows }))),
  refused: fails,
};

/** The root value of an operation; fresh for each, because mutations count. */
export const rootFor = (kind) =>
  kind === "subscription" ? subscriptionRoot : (kind === "mutation" ? mutationRoot : root)({ total: 0 });
