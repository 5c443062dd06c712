// Operations by chance: a seed is one operation, the same on every machine.
import {
  getNamedType,
  getNullableType,
  isAbstractType,
  isEnumType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
} from "graphql";

/** mulberry32 */
export const randomness = (seed) => {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return {
    below: (bound) => Math.floor(next() * bound),
    chance: (probability) => next() < probability,
    pick: (items) => items[Math.floor(next() * items.length)],
  };
};

/** One operation of `kind` with its variables. */
export function operation(schema, kind, seed) {
  const random = randomness(seed);
  const wild = random.chance(0.12);
  const declared = new Map();
  const given = {};
  const fragments = [];
  let aliases = 6;
  let directives = 6;
  let fieldsLeft = 40;

  /** A value of `type` that JSON can carry. */
  function json(type, depth = 0) {
    if (isNonNullType(type)) return json(type.ofType, depth);
    if (isListType(type)) {
      if (random.chance(0.2)) return json(type.ofType, depth);
      return Array.from({ length: random.below(3) }, () => nullable(type.ofType, depth, json));
    }
    if (isInputObjectType(type)) {
      const object = {};
      for (const field of Object.values(type.getFields())) {
        const must = isNonNullType(field.type) && field.defaultValue === undefined;
        if (must || (depth < 2 && random.chance(0.4))) object[field.name] = nullable(field.type, depth + 1, json);
      }
      return object;
    }
    if (isEnumType(type)) return random.pick(type.getValues()).name;
    switch (type.name) {
      case "Int":
        return random.pick([0, 1, 2, 3, 4, -1, 2147483647]);
      case "Float":
        return random.pick([1.5, -2.25, 3, 0]);
      case "Boolean":
        return random.chance(0.5);
      case "ID":
        return random.pick(["a", "7", 7]);
      default:
        return random.pick(["", "x", "é\n\"q\"", "😀"]);
    }
  }

  function nullable(type, depth, make) {
    return !isNonNullType(type) && random.chance(0.2) ? null : make(type, depth);
  }

  const wrong = () => random.pick([{}, [{}], "wrong", 1.5, true, 3000000000, "RED ", null, { least: "x" }, { least: 1, other: 2 }]);

  const written = (value, type) => {
    if (value === null) return "null";
    const bare = getNullableType(type);
    if (isListType(bare)) {
      return Array.isArray(value)
        ? `[${value.map((item) => written(item, bare.ofType)).join(", ")}]`
        : written(value, bare.ofType);
    }
    if (isInputObjectType(bare)) {
      const fields = Object.entries(value).map(([name, item]) => `${name}: ${written(item, bare.getFields()[name].type)}`);
      return `{${fields.join(", ")}}`;
    }
    return isEnumType(bare) ? value : JSON.stringify(value);
  };

  function variable(type, hasDefault) {
    const name = `v${declared.size}`;
    const bare = getNullableType(type);
    const strict = isNonNullType(type);
    const nonNull = strict ? !hasDefault || random.chance(0.6) : random.chance(0.25);
    const withDefault = !nonNull ? random.chance(strict && !hasDefault ? 1 : 0.35) : random.chance(0.15);
    const standard = withDefault ? ` = ${written(json(bare), bare)}` : "";
    declared.set(name, `$${name}: ${bare}${nonNull ? "!" : ""}${standard}`);
    const fate = random.below(100);
    if (fate < 70) given[name] = nullable(nonNull ? type : bare, 0, json);
    else if (fate < 75 || (wild && fate < 85)) given[name] = wrong();
    else if (fate < 78) given[name] = null;
    return `$${name}`;
  }

  /** A value as it is written in a document, with variables in it. */
  function literal(type, hasDefault, depth = 0) {
    if (declared.size < 4 && random.chance(depth === 0 ? 0.5 : 0.25)) return variable(type, hasDefault);
    if (wild && random.chance(0.15)) return random.pick(["{}", "\"wrong\"", "BLUE", "1.5", "null", "[[[1]]]", "3000000000"]);
    if (!isNonNullType(type) && random.chance(0.1)) return "null";
    const bare = getNullableType(type);
    if (isListType(bare)) {
      const item = () => literal(bare.ofType, false, depth + 1);
      if (random.chance(0.2)) return item();
      return `[${Array.from({ length: random.below(3) }, item).join(", ")}]`;
    }
    if (isInputObjectType(bare)) {
      const parts = [];
      for (const field of Object.values(bare.getFields())) {
        const must = isNonNullType(field.type) && field.defaultValue === undefined;
        if (must || (depth < 2 && random.chance(0.4)))
          parts.push(`${field.name}: ${literal(field.type, field.defaultValue !== undefined, depth + 1)}`);
      }
      return `{${parts.join(", ")}}`;
    }
    return written(json(bare), bare);
  }

  function args(field) {
    const parts = [];
    for (const arg of field.args) {
      const must = isNonNullType(arg.type) && arg.defaultValue === undefined;
      if (must ? !(wild && random.chance(0.1)) : random.chance(0.6))
        parts.push(`${arg.name}: ${literal(arg.type, arg.defaultValue !== undefined)}`);
    }
    return parts.length > 0 ? `(${parts.join(", ")})` : "";
  }

  function directive() {
    if (directives === 0 || !random.chance(0.12)) return "";
    directives -= 1;
    const name = random.pick(["skip", "include"]);
    if (declared.size >= 4 || random.chance(0.5)) return ` @${name}(if: ${random.chance(0.5)})`;
    const at = `d${declared.size}`;
    const standard = random.chance(0.4) ? ` = ${random.chance(0.5)}` : "";
    declared.set(at, `$${at}: Boolean${standard === "" || random.chance(0.5) ? "!" : ""}${standard}`);
    if (random.chance(0.75)) given[at] = random.chance(0.5);
    return ` @${name}(if: $${at})`;
  }

  function oneField(type, depth) {
    const all = Object.values(type.getFields());
    const leaves = all.filter((field) => isLeafType(getNamedType(field.type)));
    const inner = all.filter((field) => !isLeafType(getNamedType(field.type)));
    const wantsLeaf = inner.length === 0 || depth >= 5 || fieldsLeft < 5 || random.chance(leaves.length > 0 ? 0.5 : 0);
    const choice = wantsLeaf ? leaves : inner;
    // What always fails is rarer than the rest, or nothing would come through.
    let field = random.pick(choice);
    if (/^(hard|soft)/.test(field.name) && random.chance(0.6)) field = random.pick(choice);
    const given = args(field);
    const mustAlias = given !== "" && random.chance(0.7);
    let alias = "";
    if (aliases > 0 && (mustAlias || random.chance(0.08))) {
      alias = `a${aliases}: `;
      aliases -= 1;
    }
    fieldsLeft -= 1;
    return { head: `${alias}${field.name}${given}`, type: getNamedType(field.type) };
  }

  function body({ head, type }, depth) {
    const below = isLeafType(type) ? "" : ` ${selection(type, depth + 1)}`;
    return `${head}${directive()}${below}`;
  }

  function selection(type, depth) {
    const parts = [];
    const seen = [];
    const wanted = 1 + random.below(3);
    for (let n = 0; n < wanted || parts.length === 0; n += 1) {
      const fate = random.below(100);
      if (fate < 8) parts.push(`__typename${directive()}`);
      else if (fate < 20 && depth < 5) parts.push(inline(type, depth));
      else if (fate < 28 && depth < 5) parts.push(spread(type, depth));
      else if (isAbstractType(type) && (fate < 75 || !("getFields" in type))) parts.push(inline(type, depth, true));
      else if (seen.length > 0 && fate < 45) parts.push(body(random.pick(seen), depth));
      else {
        const field = oneField(type, depth);
        seen.push(field);
        parts.push(body(field, depth));
      }
    }
    return `{ ${parts.join(" ")} }`;
  }

  function condition(type) {
    if (isAbstractType(type)) return random.pick(schema.getPossibleTypes(type));
    const interfaces = type.getInterfaces();
    return interfaces.length > 0 && random.chance(0.4) ? random.pick(interfaces) : type;
  }

  function inline(type, depth, narrow = false) {
    if (!narrow && random.chance(0.3)) return `...${directive()} ${selection(type, depth)}`;
    const on = condition(type);
    return `... on ${on.name}${directive()} ${selection(on, depth)}`;
  }

  function spread(type, depth) {
    const known = fragments.filter((fragment) => fragment.on === type.name && fragment.text);
    if (known.length > 0 && random.chance(0.5)) return `...${random.pick(known).name}${directive()}`;
    if (fragments.length >= 3) return `__typename`;
    const on = condition(type);
    const fragment = { name: `F${fragments.length}`, on: on.name, text: "" };
    fragments.push(fragment);
    const saved = [aliases, directives];
    [aliases, directives] = [Math.min(aliases, 1), Math.min(directives, 1)];
    fragment.text = `fragment ${fragment.name} on ${on.name} ${selection(on, depth)}`;
    [aliases, directives] = saved.map((left) => Math.max(0, left - 2));
    return `...${fragment.name}${directive()}`;
  }

  const type = schema.getRootType(kind);
  // A subscription has one root field, often behind a fragment.
  const wrapped = (text) =>
    random.pick([text, `... ${text}`, `... on Subscription ${text}`].map((part) => (part === text ? text : `{ ${part} }`)));
  const set = kind === "subscription" ? wrapped(`{ ${body(oneField(type, 0), 0)} }`) : selection(type, 0);
  const head = declared.size > 0 ? `${kind} Q(${[...declared.values()].join(", ")})` : kind;
  return {
    kind,
    query: [`${head} ${set}`, ...fragments.map((fragment) => fragment.text)].join(" "),
    variables: given,
  };
}
