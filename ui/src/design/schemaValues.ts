/** JSON values as a form makes, reads and compares them. */

import { DEPTH_MAX, fieldOf, isMembers, type JsonSchema, type Members, type Shape } from "./schemaShape";

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
  if (typeof value === "number")
    return !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value));
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).some(isInexact);
}

export function fitsKind(shape: Shape, value: unknown): boolean {
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
    keys.every((key) => Object.hasOwn(other, key) && same((one as Members)[key], (other as Members)[key]))
  );
}

/** A member that the value itself has: not what every object inherits. */
export const memberOf = (of: Members, name: string): unknown =>
  Object.hasOwn(of, name) ? of[name] : undefined;
