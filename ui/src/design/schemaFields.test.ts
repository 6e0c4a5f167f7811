import { describe, expect, it } from "vitest";
import { isMissing } from "./SchemaFields";
import { fieldOf } from "./schema";

const missing = (schema: unknown, value: unknown, required = true) =>
  isMissing(fieldOf(schema, schema).shape, value, required);

describe("a field that holds nothing", () => {
  it("is left out, or null where null says nothing", () => {
    expect(missing({ type: "string" }, undefined, false)).toBe(true);
    expect(missing({ anyOf: [{ type: "string" }, { type: "null" }] }, null)).toBe(true);
  });

  it("is typed into at once where it is needed", () => {
    expect(missing({ type: "integer" }, undefined)).toBe(false);
    expect(missing({ type: "object", properties: {} }, undefined)).toBe(true);
  });

  it("is none where null is one of its values", () => {
    expect(missing(true, null)).toBe(false);
    expect(missing({ enum: [null, "a"] }, null)).toBe(false);
    expect(missing({ type: "null" }, null)).toBe(false);
  });
});
