/** What a JSON schema asks for, read for a form: which control a value gets. What is not understood is edited as JSON. */

export type JsonSchema = unknown;
export type Members = Readonly<Record<string, unknown>>;

export interface NumberRules {
  readonly whole: boolean;
  readonly min: number | null;
  readonly max: number | null;
  readonly above: number | null;
  readonly below: number | null;
  readonly step: number | null;
}

export interface TextRules {
  readonly format: string | null;
  readonly pattern: string | null;
  readonly least: number;
  readonly most: number | null;
}

export interface Member {
  readonly name: string;
  readonly schema: JsonSchema;
  readonly required: boolean;
}

export interface Variant {
  readonly label: string;
  readonly schema: JsonSchema;
}

export type Shape =
  | { readonly kind: "text"; readonly rules: TextRules }
  | { readonly kind: "choice"; readonly options: readonly unknown[] }
  | { readonly kind: "number"; readonly rules: NumberRules }
  /** A number or a text: how pydantic writes a decimal, and ids that are either. */
  | { readonly kind: "scalar"; readonly number: NumberRules; readonly text: TextRules }
  | { readonly kind: "boolean" }
  | { readonly kind: "null" }
  | { readonly kind: "object"; readonly members: readonly Member[]; readonly open: boolean }
  | { readonly kind: "list"; readonly item: JsonSchema; readonly least: number; readonly most: number | null }
  | { readonly kind: "union"; readonly variants: readonly Variant[] }
  | { readonly kind: "json" };

export interface Field {
  readonly shape: Shape;
  readonly nullable: boolean;
  readonly title: string | null;
  readonly description: string | null;
  /** What holds when the member is left out; undefined if nothing is said. */
  readonly preset: unknown;
}

export const DEPTH_MAX = 24;
const VARIANTS_MAX = 12;
/** A text beyond this is neither matched against patterns nor put into a control. */
export const EDITED_CHARS_MAX = 100_000;

export const isMembers = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const textAt = (from: Members, name: string): string | null =>
  typeof from[name] === "string" ? (from[name] as string) : null;
const numberAt = (from: Members, name: string): number | null =>
  typeof from[name] === "number" ? (from[name] as number) : null;
const listAt = (from: Members, name: string): readonly unknown[] | null =>
  Array.isArray(from[name]) ? (from[name] as readonly unknown[]) : null;

function lookedUp(ref: string, root: JsonSchema): unknown {
  if (!ref.startsWith("#")) return undefined;
  let found: unknown = root;
  for (const part of ref.slice(1).split("/").slice(1)) {
    const name = decoded(part).replace(/~1/g, "/").replace(/~0/g, "~");
    const there = (isMembers(found) || Array.isArray(found)) && Object.hasOwn(found, name);
    found = there ? (found as Members)[name] : undefined;
  }
  return found;
}

/** A `%` that escapes nothing is one. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The schema with its `$ref` and `allOf` put in; what stands beside a reference wins over what it names. */
export function plain(schema: JsonSchema, root: JsonSchema, depth = 0): Members {
  if (!isMembers(schema) || depth > DEPTH_MAX) return {};
  const { $ref, allOf, ...own } = schema;
  let found: Members = own;
  if (typeof $ref === "string") found = merged(plain(lookedUp($ref, root), root, depth + 1), found);
  if (Array.isArray(allOf)) for (const part of allOf) found = merged(plain(part, root, depth + 1), found);
  return found;
}

function merged(under: Members, over: Members): Members {
  const both: Record<string, unknown> = { ...under, ...over };
  if (isMembers(under.properties) && isMembers(over.properties))
    both.properties = { ...under.properties, ...over.properties };
  if (Array.isArray(under.required) && Array.isArray(over.required))
    both.required = [...new Set([...under.required, ...over.required])];
  return both;
}

/** What a schema asks for. `root` holds the `$defs` that it refers to. */
export function fieldOf(schema: JsonSchema, root: JsonSchema): Field {
  const read = plain(schema, root);
  const { shape, nullable } = shapeOf(read, root);
  return {
    shape,
    nullable,
    title: textAt(read, "title"),
    description: textAt(read, "description"),
    preset: read.default,
  };
}

type Shaped = { readonly shape: Shape; readonly nullable: boolean };

const JSON_SHAPE: Shaped = { shape: { kind: "json" }, nullable: false };

function shapeOf(read: Members, root: JsonSchema): Shaped {
  const options = listAt(read, "enum") ?? ("const" in read ? [read.const] : null);
  if (options !== null) return { shape: { kind: "choice", options }, nullable: false };
  const alternatives = listAt(read, "anyOf") ?? listAt(read, "oneOf");
  if (alternatives !== null) return oneOfMany(withBase(alternatives, read, root), root);
  const types = listAt(read, "type");
  if (types !== null)
    return oneOfMany(
      types.map((type) => (type === "null" ? { type } : { ...read, type })),
      root,
    );
  if (read.not !== undefined || read.if !== undefined || read.dependentSchemas !== undefined)
    return JSON_SHAPE;
  return { shape: simple(read), nullable: false };
}

function simple(read: Members): Shape {
  switch (read.type) {
    case "string":
      return { kind: "text", rules: textRules(read) };
    case "integer":
    case "number":
      return { kind: "number", rules: numberRules(read) };
    case "boolean":
      return { kind: "boolean" };
    case "null":
      return { kind: "null" };
    case "array":
      if (!isMembers(read.items) || read.prefixItems !== undefined) return { kind: "json" };
      return {
        kind: "list",
        item: read.items,
        least: numberAt(read, "minItems") ?? 0,
        most: numberAt(read, "maxItems"),
      };
    case "object":
      return objectOf(read);
    default:
      return isMembers(read.properties) ? objectOf(read) : { kind: "json" };
  }
}

function objectOf(read: Members): Shape {
  if (!isMembers(read.properties) || read.patternProperties !== undefined) return { kind: "json" };
  const required = new Set(listAt(read, "required") ?? []);
  return {
    kind: "object",
    members: Object.entries(read.properties).map(([name, schema]) => ({
      name,
      schema,
      required: required.has(name),
    })),
    open: read.additionalProperties !== false,
  };
}

/** What holds for all alternatives, put into each: `{"properties": …, "oneOf": [{"required": …}, …]}`. */
function withBase(alternatives: readonly unknown[], read: Members, root: JsonSchema): readonly unknown[] {
  if (read.type === undefined && read.properties === undefined && read.required === undefined)
    return alternatives;
  const { anyOf: _any, oneOf: _one, title: _title, description: _said, default: _preset, ...base } = read;
  return alternatives.map((one) => merged(base, { ...plain(one, root), title: titleOf(one, root) }));
}

const titleOf = (schema: JsonSchema, root: JsonSchema): string | undefined =>
  textAt(plain(schema, root), "title") ?? undefined;

function oneOfMany(alternatives: readonly unknown[], root: JsonSchema): Shaped {
  const all = alternatives.map((one) => plain(one, root));
  const rest = all.filter((one) => one.type !== "null");
  const nullable = rest.length < all.length;
  const [only] = rest;
  if (only === undefined) return { shape: { kind: "null" }, nullable: false };
  if (rest.length === 1) {
    const inner = shapeOf(only, root);
    return { shape: inner.shape, nullable: nullable || inner.nullable };
  }
  const constants = rest.map((one) => listAt(one, "enum") ?? ("const" in one ? [one.const] : null));
  if (constants.every((one) => one !== null))
    return { shape: { kind: "choice", options: constants.flat() }, nullable };
  const number = rest.find((one) => one.type === "number" || one.type === "integer");
  const text = rest.find((one) => one.type === "string");
  if (rest.length === 2 && number && text)
    return { shape: { kind: "scalar", number: numberRules(number), text: textRules(text) }, nullable };
  if (rest.length > VARIANTS_MAX) return JSON_SHAPE;
  const variants = rest.map((schema, index) => ({ label: labelOf(schema, index, root), schema }));
  return { shape: { kind: "union", variants }, nullable };
}

/** What tells a variant from the others: its title, its tag, what it needs, its type. */
function labelOf(schema: Members, index: number, root: JsonSchema): string {
  const title = textAt(schema, "title");
  if (title !== null) return title;
  const members = isMembers(schema.properties) ? Object.entries(schema.properties) : [];
  for (const [name, member] of members) {
    const { const: tag } = plain(member, root);
    if (typeof tag === "string") return `${name}: ${tag}`;
  }
  const needs = listAt(schema, "required")?.filter((one) => typeof one === "string") ?? [];
  if (needs.length > 0) return `with ${needs.join(", ")}`;
  return textAt(schema, "type") ?? `Variant ${index + 1}`;
}

const textRules = (read: Members): TextRules => ({
  format: textAt(read, "format"),
  pattern: textAt(read, "pattern"),
  least: numberAt(read, "minLength") ?? 0,
  most: numberAt(read, "maxLength"),
});

const numberRules = (read: Members): NumberRules => ({
  whole: read.type === "integer",
  min: numberAt(read, "minimum"),
  max: numberAt(read, "maximum"),
  above: numberAt(read, "exclusiveMinimum"),
  below: numberAt(read, "exclusiveMaximum"),
  step: numberAt(read, "multipleOf"),
});
