import { describe, expect, it } from "vitest";
import {
  below,
  blank,
  errorsOf,
  fieldOf,
  isInexact,
  memberOf,
  numberFrom,
  pathOf,
  plain,
  same,
  variantOf,
} from "./schema";

const kind = (schema: unknown, root: unknown = schema) => fieldOf(schema, root).shape.kind;

describe("fieldOf", () => {
  it("reads what pydantic writes", () => {
    expect(kind({ type: "string" })).toBe("text");
    expect(kind({ enum: ["a", 1] })).toBe("choice");
    expect(kind({ const: "a" })).toBe("choice");
    expect(
      kind({
        anyOf: [
          { type: "number", minimum: 0 },
          { type: "string", pattern: "^\\d+$" },
        ],
      }),
    ).toBe("scalar");
    expect(kind({ type: "array", items: { type: "integer" } })).toBe("list");
    expect(kind({ type: "object", properties: {} })).toBe("object");
    expect(kind({ anyOf: [{ const: "a" }, { const: "b" }] })).toBe("choice");
  });

  it("knows what may be null, in every way to say so", () => {
    for (const schema of [
      { anyOf: [{ type: "string" }, { type: "null" }] },
      { type: ["string", "null"] },
      { anyOf: [{ $ref: "#/$defs/S" }, { type: "null" }], $defs: { S: { type: "string" } } },
    ]) {
      const found = fieldOf(schema, schema);
      expect(found.shape.kind).toBe("text");
      expect(found.nullable).toBe(true);
    }
  });

  it("leaves what it does not understand to JSON", () => {
    expect(kind(true)).toBe("json");
    expect(kind({})).toBe("json");
    expect(kind({ type: "array", prefixItems: [{ type: "string" }] })).toBe("json");
    expect(kind({ type: "object", additionalProperties: { type: "integer" } })).toBe("json");
    expect(kind({ not: { type: "string" } })).toBe("json");
    expect(kind({ $ref: "https://elsewhere.example/schema" })).toBe("json");
  });

  it("puts references and allOf in, also where they go in circles", () => {
    const root = {
      $defs: {
        A: { type: "object", properties: { a: { type: "string" } }, required: ["a"], description: "an A" },
      },
    };
    const found = plain(
      { allOf: [{ $ref: "#/$defs/A" }], properties: { b: {} }, required: ["b"], description: "mine" },
      root,
    );
    expect(Object.keys(found.properties as object)).toEqual(["a", "b"]);
    expect(found.required).toEqual(["a", "b"]);
    expect(found.description).toBe("mine");
    const endless = { $defs: { L: { $ref: "#/$defs/L" } }, $ref: "#/$defs/L" };
    expect(kind(endless)).toBe("json");
  });
});

describe("alternatives", () => {
  it("each have what holds for all of them", () => {
    const either = {
      type: "object",
      properties: { mail: { type: "string" }, phone: { type: "string" } },
      oneOf: [{ required: ["mail"] }, { required: ["phone"] }],
    };
    const { shape } = fieldOf(either, either);
    if (shape.kind !== "union") throw new Error(shape.kind);
    expect(shape.variants.map((one) => one.label)).toEqual(["with mail", "with phone"]);
    expect(errorsOf(either, { phone: "1" })).toEqual({});
    expect(errorsOf(either, { phone: 1 })).toEqual({ "/phone": "A text is needed." });
  });

  it("are called by what tells them apart", () => {
    const of = (variants: readonly object[]) => {
      const { shape } = fieldOf({ anyOf: variants }, {});
      return shape.kind === "union" ? shape.variants.map((one) => one.label) : shape.kind;
    };
    const tagged = (tag: string) => ({ type: "object", properties: { kind: { const: tag } } });
    expect(of([tagged("cat"), tagged("dog")])).toEqual(["kind: cat", "kind: dog"]);
    expect(of([{ type: "array", items: {} }, { type: "string" }])).toEqual(["array", "string"]);
  });
});

it("takes a reference that cannot be read as one to nothing", () => {
  expect(kind({ $ref: "#/%" })).toBe("json");
  expect(kind({ $ref: "#/constructor" })).toBe("json");
});

describe("blank", () => {
  it("holds what is required, and makes up nothing", () => {
    const schema = {
      type: "object",
      properties: {
        name: { type: "string" },
        amount: { type: "number" },
        how: { enum: ["a", "b"] },
        kind: { const: "cat" },
        tags: { type: "array", items: {} },
        often: { type: "integer", default: 3 },
        note: { type: "string" },
      },
      required: ["name", "amount", "how", "kind", "tags", "often"],
    };
    expect(blank(schema, schema)).toEqual({ name: "", kind: "cat", tags: [], often: 3 });
  });

  it("ends for a schema that requires itself", () => {
    const root = {
      $defs: { N: { type: "object", properties: { next: { $ref: "#/$defs/N" } }, required: ["next"] } },
    };
    expect(blank({ $ref: "#/$defs/N" }, root)).toBeTypeOf("object");
  });
});

describe("errorsOf", () => {
  const schema = {
    type: "object",
    additionalProperties: false,
    properties: {
      order: { type: "integer", minimum: 1 },
      amount: {
        anyOf: [
          { type: "number", minimum: 0 },
          { type: "string", pattern: "^-?\\d+(\\.\\d{1,2})?$" },
        ],
      },
      mail: { type: "string", format: "email", maxLength: 20 },
      items: {
        type: "array",
        minItems: 1,
        items: { type: "object", properties: { "a/b": { type: "boolean" } }, required: ["a/b"] },
      },
      due: { type: "string", format: "date" },
    },
    required: ["order", "amount"],
  };

  it("finds nothing wrong with what is right", () => {
    expect(
      errorsOf(schema, {
        order: 1,
        amount: "1.50",
        mail: "a@b.eu",
        items: [{ "a/b": true }],
        due: "2026-02-28",
      }),
    ).toEqual({});
  });

  it("names each place that is wrong", () => {
    const found = errorsOf(schema, {
      order: 0,
      amount: "1.505",
      mail: "nobody",
      items: [{}, { "a/b": "yes" }],
      due: "2026-02-30",
      more: 1,
    });
    expect(Object.keys(found).sort()).toEqual(
      ["/amount", "/due", "/items/0/a~1b", "/items/1/a~1b", "/mail", "/more", "/order"].sort(),
    );
    expect(errorsOf(schema, {})).toEqual({ "/order": "A value is needed.", "/amount": "A value is needed." });
    expect(errorsOf(schema, { order: "12x", amount: -1 })["/order"]).toBe("A whole number is needed.");
    expect(errorsOf(schema, { order: 1, amount: "-1" })["/amount"]).toBe("At least 0.");
  });

  it("judges a union by the variant that the value looks like", () => {
    const pets = {
      oneOf: [
        {
          type: "object",
          title: "Cat",
          properties: { kind: { const: "cat" }, lives: { type: "integer" } },
          required: ["kind", "lives"],
        },
        {
          type: "object",
          title: "Dog",
          properties: { kind: { const: "dog" }, good: { type: "boolean" } },
          required: ["kind", "good"],
        },
      ],
    };
    const shape = fieldOf(pets, pets).shape;
    if (shape.kind !== "union") throw new Error(shape.kind);
    expect(variantOf(shape.variants, { kind: "dog" }, pets)).toBe(1);
    expect(errorsOf(pets, { kind: "dog" })).toEqual({ "/good": "A value is needed." });
  });

  it("takes a pattern of another dialect as matched", () => {
    expect(errorsOf({ type: "string", pattern: "(?P<a>x)" }, "y")).toEqual({});
  });
});

describe("numbers", () => {
  it("are read as JSON writes them, and only if they are kept exactly", () => {
    expect(numberFrom(" 12 ")).toBe(12);
    expect(numberFrom("-0.5e3")).toBe(-500);
    for (const text of ["", "1.", "01", "1,5", "0x10", "Infinity", "9007199254740993", "1e999"])
      expect(numberFrom(text)).toBeUndefined();
  });

  it("that lost digits are told", () => {
    expect(isInexact({ a: [1, 2.5, { b: JSON.parse("9007199254740993") }] })).toBe(true);
    expect(isInexact({ a: [1, 2.5, "9007199254740993"] })).toBe(false);
    expect(isInexact(JSON.parse("[1e400]"))).toBe(true);
  });
});

it("writes paths as JSON pointers", () => {
  expect(pathOf(["a/b", 0, "~"])).toBe("/a~1b/0/~0");
  expect(below("", "x")).toBe("/x");
});

it("compares values, not places", () => {
  expect(same({ a: [1, { b: null }] }, { a: [1, { b: null }] })).toBe(true);
  expect(same({ a: undefined }, {})).toBe(false);
  expect(same([1], { 0: 1 })).toBe(false);
  expect(memberOf({}, "constructor")).toBeUndefined();
});
