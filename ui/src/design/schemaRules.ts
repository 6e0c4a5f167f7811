/** The plain rules of a schema that a value breaks, by path. The rest is judged by the server alone. */

import {
  DEPTH_MAX,
  EDITED_CHARS_MAX,
  fieldOf,
  isMembers,
  type JsonSchema,
  type Members,
  type NumberRules,
  type Shape,
  type TextRules,
  type Variant,
} from "./schemaShape";
import { fitsKind, numberFrom, same } from "./schemaValues";

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

// -- variants ---------------------------------------------------------------------------------------------------------

/** The variant of a union that a value is of: one that it breaks no rule of, that it has the tag of, or else that it
 * breaks the fewest of. */
export function variantOf(variants: readonly Variant[], value: unknown, root: JsonSchema): number {
  const broken = variants.map(({ schema }) => Object.keys(errorsOf(schema, value, root)).length);
  const fitting = broken.indexOf(0);
  if (fitting >= 0) return fitting;
  const tagged = variants.findIndex(({ schema }) => sharesTag(schema, value, root));
  if (tagged >= 0) return tagged;
  const least = variants.reduce<number | null>((best, { schema }, at) => {
    if (!fitsKind(fieldOf(schema, root).shape, value)) return best;
    return best === null || (broken[at] ?? 0) < (broken[best] ?? 0) ? at : best;
  }, null);
  return least ?? 0;
}

function sharesTag(schema: JsonSchema, value: unknown, root: JsonSchema): boolean {
  const { shape } = fieldOf(schema, root);
  if (shape.kind !== "object" || !isMembers(value)) return false;
  return shape.members.some((member) => {
    const tag = fieldOf(member.schema, root).shape;
    return tag.kind === "choice" && tag.options.length === 1 && tag.options[0] === value[member.name];
  });
}
