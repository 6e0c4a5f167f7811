/**
 * What a JSON schema asks for, read for a form: which control a member gets, what a new value of it is, and the plain
 * rules that a value breaks. Pure. What is not understood here is edited as JSON, and judged by the server alone.
 */

export type JsonSchema = unknown;
type Members = Readonly<Record<string, unknown>>;

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

const DEPTH_MAX = 24;
const VARIANTS_MAX = 12;
/** A text beyond this is neither matched against patterns nor put into a control. */
export const EDITED_CHARS_MAX = 100_000;

const isMembers = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const textAt = (from: Members, name: string): string | null =>
  typeof from[name] === "string" ? (from[name] as string) : null;
const numberAt = (from: Members, name: string): number | null =>
  typeof from[name] === "number" ? (from[name] as number) : null;
const listAt = (from: Members, name: string): readonly unknown[] | null =>
  Array.isArray(from[name]) ? (from[name] as readonly unknown[]) : null;

// -- reading ----------------------------------------------------------------------------------------------------------

function lookedUp(ref: string, root: JsonSchema): unknown {
  if (!ref.startsWith("#")) return undefined;
  let found: unknown = root;
  for (const part of ref.slice(1).split("/").slice(1)) {
    const name = decodeURIComponent(part).replace(/~1/g, "/").replace(/~0/g, "~");
    found = isMembers(found) || Array.isArray(found) ? (found as Members)[name] : undefined;
  }
  return found;
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
  if (alternatives !== null) return oneOfMany(alternatives, root);
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
  const variants = rest.map((schema, index) => ({
    label: textAt(schema, "title") ?? textAt(schema, "type") ?? `Variant ${index + 1}`,
    schema,
  }));
  return { shape: { kind: "union", variants }, nullable };
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

// -- values -----------------------------------------------------------------------------------------------------------

/** A value to begin with. What somebody has to choose or to type a number for is left out: nothing is made up. */
export function blank(schema: JsonSchema, root: JsonSchema, depth = 0): unknown {
  const { shape, nullable, preset } = fieldOf(schema, root);
  if (preset !== undefined) return preset;
  if (nullable || depth > DEPTH_MAX) return null;
  switch (shape.kind) {
    case "text":
      return "";
    case "boolean":
      return false;
    case "null":
      return null;
    case "list":
      return [];
    case "choice":
      return shape.options.length === 1 ? shape.options[0] : undefined;
    case "object": {
      const made: Record<string, unknown> = {};
      for (const member of shape.members) {
        if (!member.required) continue;
        const value = blank(member.schema, root, depth + 1);
        if (value !== undefined) made[member.name] = value;
      }
      return made;
    }
    case "union":
      return blank(shape.variants[0]?.schema, root, depth + 1);
    default:
      return undefined;
  }
}

/** The members in the order in which their schema names them: a stored value may be sorted. */
export function ordered(value: unknown, schema: JsonSchema): Members {
  if (!isMembers(value)) return {};
  const { shape } = fieldOf(schema, schema);
  const named = shape.kind === "object" ? shape.members.map((member) => member.name) : [];
  const first = named.filter((name) => Object.hasOwn(value, name));
  return Object.fromEntries(
    [...new Set([...first, ...Object.keys(value)])].map((name) => [name, value[name]]),
  );
}

/** What a typed text is as a number; undefined if it is none, or none that is kept exactly. */
export function numberFrom(text: string): number | undefined {
  const trimmed = text.trim();
  if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(trimmed)) return undefined;
  const found = Number(trimmed);
  if (!Number.isFinite(found)) return undefined;
  return Number.isInteger(found) && !Number.isSafeInteger(found) ? undefined : found;
}

/** Whether a number in it may have lost digits when the browser read it: such a value must not be sent back. */
export function isInexact(value: unknown): boolean {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).some(isInexact);
}

/** The variant of a union that a value is of: the first that it breaks no rule of. */
export function variantOf(variants: readonly Variant[], value: unknown, root: JsonSchema): number {
  const fitting = variants.findIndex(({ schema }) => Object.keys(errorsOf(schema, value, root)).length === 0);
  if (fitting >= 0) return fitting;
  const tagged = variants.findIndex(({ schema }) => sharesTag(schema, value, root));
  if (tagged >= 0) return tagged;
  return Math.max(
    0,
    variants.findIndex(({ schema }) => fitsKind(fieldOf(schema, root).shape, value)),
  );
}

function sharesTag(schema: JsonSchema, value: unknown, root: JsonSchema): boolean {
  const { shape } = fieldOf(schema, root);
  if (shape.kind !== "object" || !isMembers(value)) return false;
  return shape.members.some((member) => {
    const tag = fieldOf(member.schema, root).shape;
    return tag.kind === "choice" && tag.options.length === 1 && tag.options[0] === value[member.name];
  });
}

function fitsKind(shape: Shape, value: unknown): boolean {
  switch (shape.kind) {
    case "text":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "scalar":
      return typeof value === "string" || typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
    case "null":
      return value === null;
    case "list":
      return Array.isArray(value);
    case "object":
      return isMembers(value);
    case "choice":
      return shape.options.some((one) => same(one, value));
    default:
      return true;
  }
}

/** Whether the control of this shape can show the value; else it is shown as JSON. A number may be what was typed for one. */
export function isShown(shape: Shape, value: unknown): boolean {
  if (value === undefined || shape.kind === "choice") return true;
  return (shape.kind === "number" && typeof value === "string") || fitsKind(shape, value);
}

export function same(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => key in other && same((one as Members)[key], (other as Members)[key]))
  );
}

// -- paths and rules --------------------------------------------------------------------------------------------------

/** One step down a path (RFC 6901): "" is the value itself, "/items/0/name" a member. */
export const below = (path: string, name: string | number): string =>
  `${path}/${String(name).replace(/~/g, "~0").replace(/\//g, "~1")}`;

/** The path of a `loc` that the server names. */
export const pathOf = (loc: readonly (string | number)[]): string => loc.reduce<string>(below, "");

/** Which plain rules a value breaks, by path. Empty: nothing that can be seen from here. */
export function errorsOf(
  schema: JsonSchema,
  value: unknown,
  root: JsonSchema = schema,
): Record<string, string> {
  const found: Record<string, string> = {};
  check(schema, value, root, "", found, 0);
  return found;
}

function check(
  schema: JsonSchema,
  value: unknown,
  root: JsonSchema,
  path: string,
  found: Record<string, string>,
  depth: number,
): void {
  if (depth > DEPTH_MAX) return;
  const { shape, nullable } = fieldOf(schema, root);
  if (value === undefined) {
    if (shape.kind !== "json") found[path] = "A value is needed.";
    return;
  }
  if (value === null && nullable) return;
  switch (shape.kind) {
    case "json":
      return;
    case "list":
      if (!Array.isArray(value)) break;
      if (value.length < shape.least) found[path] = `At least ${shape.least} are needed.`;
      if (shape.most !== null && value.length > shape.most)
        found[path] = `At most ${shape.most} are allowed.`;
      value.forEach((one, index) => {
        check(shape.item, one, root, below(path, index), found, depth + 1);
      });
      return;
    case "object":
      if (!isMembers(value)) break;
      checkMembers(shape, value, root, path, found, depth);
      return;
    case "union": {
      const chosen = shape.variants[variantIn(shape.variants, value, root, depth)];
      if (chosen) check(chosen.schema, value, root, path, found, depth + 1);
      return;
    }
    default:
  }
  const wrong = wrongScalar(shape, value);
  if (wrong !== null) found[path] = wrong;
}

/** A value that fits none is judged by the variant that it looks like. */
function variantIn(variants: readonly Variant[], value: unknown, root: JsonSchema, depth: number): number {
  if (depth > DEPTH_MAX / 2) return 0;
  return variantOf(variants, value, root);
}

function checkMembers(
  shape: Extract<Shape, { kind: "object" }>,
  value: Members,
  root: JsonSchema,
  path: string,
  found: Record<string, string>,
  depth: number,
): void {
  for (const { name, schema, required } of shape.members) {
    if (Object.hasOwn(value, name)) check(schema, value[name], root, below(path, name), found, depth + 1);
    else if (required) found[below(path, name)] = "A value is needed.";
  }
  if (shape.open) return;
  const known = new Set(shape.members.map((member) => member.name));
  for (const name of Object.keys(value))
    if (!known.has(name)) found[below(path, name)] = "There is no such member.";
}

function wrongScalar(shape: Shape, value: unknown): string | null {
  switch (shape.kind) {
    case "text":
      return typeof value === "string" ? wrongText(shape.rules, value) : "A text is needed.";
    case "number":
      return wrongNumber(shape.rules, value);
    case "scalar":
      return typeof value === "number" ? wrongNumber(shape.number, value) : wrongDecimal(shape, value);
    case "boolean":
      return typeof value === "boolean" ? null : "This is true or false.";
    case "null":
      return value === null ? null : "This is null.";
    case "choice":
      return shape.options.some((one) => same(one, value)) ? null : "One of the choices is needed.";
    case "list":
      return "A list is needed.";
    case "object":
      return "An object is needed.";
    default:
      return null;
  }
}

function wrongDecimal(shape: Extract<Shape, { kind: "scalar" }>, value: unknown): string | null {
  if (typeof value !== "string") return "A number or a text is needed.";
  if (value === "") return "A value is needed.";
  const wrong = wrongText(shape.text, value);
  if (wrong !== null)
    return shape.text.pattern === null ? wrong : "This is not a number of the form that is needed.";
  const number = numberFrom(value);
  return number === undefined ? null : wrongNumber({ ...shape.number, whole: false }, number);
}

function wrongNumber(rules: NumberRules, value: unknown): string | null {
  if (typeof value !== "number") return rules.whole ? "A whole number is needed." : "A number is needed.";
  if (rules.whole && !Number.isInteger(value)) return "A whole number is needed.";
  if (rules.min !== null && value < rules.min) return `At least ${rules.min}.`;
  if (rules.max !== null && value > rules.max) return `At most ${rules.max}.`;
  if (rules.above !== null && value <= rules.above) return `More than ${rules.above}.`;
  if (rules.below !== null && value >= rules.below) return `Less than ${rules.below}.`;
  if (rules.step !== null && rules.step > 0 && !isMultiple(value, rules.step))
    return `A multiple of ${rules.step}.`;
  return null;
}

const isMultiple = (value: number, step: number): boolean => {
  const times = value / step;
  return Math.abs(times - Math.round(times)) < 1e-9 * Math.max(1, Math.abs(times));
};

function wrongText({ format, pattern, least, most }: TextRules, value: string): string | null {
  const size = value.length <= EDITED_CHARS_MAX ? Array.from(value).length : value.length;
  if (size < least) return least === 1 ? "This must not be empty." : `At least ${least} characters.`;
  if (most !== null && size > most) return `At most ${most} characters; these are ${size}.`;
  if (value.length > EDITED_CHARS_MAX) return null;
  if (pattern !== null && compiled(pattern)?.test(value) === false) return `This does not match ${pattern}.`;
  return format === null ? null : wrongFormat(format, value);
}

/** A pattern of another dialect is left to the server. */
function compiled(pattern: string): RegExp | null {
  try {
    return new RegExp(pattern, "u");
  } catch {
    return null;
  }
}

const FORMATS: Readonly<Record<string, readonly [(value: string) => boolean, string]>> = {
  date: [(v) => /^\d{4}-\d{2}-\d{2}$/.test(v) && isDay(v), "This is not a date such as 2026-03-31."],
  "date-time": [
    (v) => /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}/.test(v) && !Number.isNaN(Date.parse(v)),
    "This is not a time such as 2026-03-31T14:30:00Z.",
  ],
  email: [(v) => /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(v), "This is not an e-mail address."],
  uri: [(v) => /^[a-z][a-z0-9+.-]*:\S+$/i.test(v), "This is not a URL."],
  uuid: [(v) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(v), "This is not a UUID."],
};

const isDay = (value: string): boolean => {
  const at = new Date(`${value}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(value);
};

function wrongFormat(format: string, value: string): string | null {
  const known = FORMATS[format];
  return known === undefined || known[0](value) ? null : known[1];
}
