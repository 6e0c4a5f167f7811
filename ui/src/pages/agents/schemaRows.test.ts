import { expect, it } from "vitest";
import { schemaRows, typeOf } from "./schemaRows";

const schema = {
  $defs: { Line: { type: "object", properties: { sku: { type: "string" } }, required: ["sku"] } },
  type: "object",
  required: ["order_id", "lines"],
  properties: {
    order_id: { type: "integer", minimum: 1, description: "Which order." },
    note: { anyOf: [{ type: "string" }, { type: "null" }], default: null },
    lines: { type: "array", items: { $ref: "#/$defs/Line" } },
  },
};

it("reads members, and what is below them", () => {
  expect(
    schemaRows(schema).map(({ path, depth, type, required, says }) => [path, depth, type, required, says]),
  ).toEqual([
    ["order_id", 0, "whole number", true, "Which order. At least 1."],
    ["note", 0, "text or null", false, "Default: null."],
    ["lines", 0, "list of object", true, ""],
    ["sku", 1, "text", true, ""],
  ]);
});

it("says what is no object in one line", () => {
  expect(schemaRows({ type: "string" })).toEqual([]);
  expect(typeOf({ type: "string" }, {})).toBe("text");
  expect(typeOf({ enum: ["a", 1] }, {})).toBe('"a" or 1');
});

it("does not follow a schema into itself for ever", () => {
  const own = {
    $defs: { N: { type: "object", properties: { n: { $ref: "#/$defs/N" } } } },
    $ref: "#/$defs/N",
  };
  expect(schemaRows(own).length).toBeLessThanOrEqual(4);
});
