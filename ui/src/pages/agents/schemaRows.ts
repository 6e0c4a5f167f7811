/** A JSON schema as rows to read: each member's name, what it is, and what it has to keep to. Pure. */

import { fieldOf, type JsonSchema, type Shape } from "~/design/schema";
import { brief } from "~/lib/text";

export interface SchemaRow {
  readonly path: string;
  readonly depth: number;
  readonly type: string;
  readonly required: boolean;
  readonly says: string;
}

const DEPTH_MAX = 4;
const ROWS_MAX = 60;

/** Empty for what is no object: then `typeOf` says all. */
export function schemaRows(schema: JsonSchema): readonly SchemaRow[] {
  const rows: SchemaRow[] = [];
  const walk = (at: JsonSchema, depth: number): void => {
    const { shape } = fieldOf(at, schema);
    const inner = shape.kind === "list" ? fieldOf(shape.item, schema).shape : shape;
    if (inner.kind !== "object" || depth >= DEPTH_MAX) return;
    for (const member of inner.members) {
      if (rows.length >= ROWS_MAX) return;
      const field = fieldOf(member.schema, schema);
      rows.push({
        path: member.name,
        depth,
        type: typeOf(member.schema, schema),
        required: member.required,
        says: [
          field.description ?? "",
          rulesOf(field.shape),
          field.preset === undefined ? "" : `Default: ${brief(field.preset, 60) || "null"}.`,
        ]
          .filter(Boolean)
          .join(" "),
      });
      walk(member.schema, depth + 1);
    }
  };
  walk(schema, 0);
  return rows;
}

export function typeOf(schema: JsonSchema, root: JsonSchema, depth = 0): string {
  const { shape, nullable } = fieldOf(schema, root);
  return `${kindOf(shape, root, depth)}${nullable ? " or null" : ""}`;
}

function kindOf(shape: Shape, root: JsonSchema, depth: number): string {
  switch (shape.kind) {
    case "text":
      return shape.rules.format ?? "text";
    case "choice":
      return shape.options.map((one) => JSON.stringify(one)).join(" or ");
    case "number":
      return shape.rules.whole ? "whole number" : "number";
    case "scalar":
      return "number or text";
    case "boolean":
      return "true or false";
    case "null":
      return "null";
    case "object":
      return "object";
    case "list":
      return depth > 2 ? "list" : `list of ${typeOf(shape.item, root, depth + 1)}`;
    case "union":
      return depth > 2
        ? "any of several"
        : [...new Set(shape.variants.map((one) => typeOf(one.schema, root, depth + 1)))].join(" or ");
    case "json":
      return "any JSON";
  }
}

function rulesOf(shape: Shape): string {
  if (shape.kind === "number") {
    const { min, max, above, below } = shape.rules;
    const parts = [
      min === null ? "" : `at least ${min}`,
      above === null ? "" : `above ${above}`,
      max === null ? "" : `at most ${max}`,
      below === null ? "" : `below ${below}`,
    ].filter(Boolean);
    return parts.length === 0 ? "" : `${upper(parts.join(", "))}.`;
  }
  if (shape.kind === "text" && shape.rules.most !== null) return `At most ${shape.rules.most} characters.`;
  return "";
}

const upper = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
