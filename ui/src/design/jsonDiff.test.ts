import { describe, expect, it } from "vitest";
import { differences, pathText, wordDiff } from "./jsonDiff";

const told = (before: unknown, after: unknown): string[] =>
  differences(before, after).changes.map((one) => `${one.kind} ${pathText(one.path)}`);

describe("differences", () => {
  it("are none between equal values, whatever the order of their members", () => {
    expect(told({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 })).toEqual([]);
  });

  it("name each member", () => {
    expect(told({ a: 1, b: 2, c: { d: [1, 2] } }, { a: 2, c: { d: [1, 3] }, e: 0 })).toEqual([
      "changed a",
      "removed b",
      "changed c.d[1]",
      "added e",
    ]);
  });

  it("see what was put into a list, instead of all behind it as changed", () => {
    expect(told([1, 2, 3], [0, 1, 2, 3])).toEqual(["added [0]"]);
    expect(told([{ a: 1 }, { a: 2 }, { a: 3 }], [{ a: 1 }, { a: 3 }])).toEqual(["removed [1]"]);
    expect(told([{ a: 1, b: 1 }], [{ a: 1, b: 2 }])).toEqual(["changed [0].b"]);
  });

  it("tell a value of another kind, and of the whole", () => {
    expect(told({ a: [] }, { a: {} })).toEqual(["changed a"]);
    expect(told("x", "y")).toEqual(["changed "]);
    expect(told(undefined, 1)).toEqual(["added "]);
    expect(told({ a: null }, { a: undefined })).toEqual(["removed a"]);
  });

  it("end, however many there are", () => {
    const many = differences(
      Array.from({ length: 5_000 }, (_, at) => at),
      Array.from({ length: 5_000 }, (_, at) => -at - 1),
    );
    expect(many.changes.length).toBe(200);
    expect(many.more).toBe(true);
  });

  it("bear members that are called like those of objects", () => {
    expect(told({}, { constructor: 1, toString: 2 })).toEqual(["added constructor", "added toString"]);
  });
});

describe("wordDiff", () => {
  it("keeps what stayed", () => {
    expect(wordDiff("refund 267.00 now", "refund 200.00 now")).toEqual([
      { kind: "same", text: "refund " },
      { kind: "removed", text: "267" },
      { kind: "added", text: "200" },
      { kind: "same", text: ".00 now" },
    ]);
    expect(wordDiff("", "a b")).toEqual([{ kind: "added", text: "a b" }]);
    expect(wordDiff("a", "a")).toEqual([{ kind: "same", text: "a" }]);
  });

  it("puts together what both texts are", () => {
    const before = "one two, three 四五\nsix";
    const after = "one three, 四五 seven\nsix";
    const pieces = wordDiff(before, after) ?? [];
    const of = (kind: string): string =>
      pieces
        .filter((p) => p.kind === "same" || p.kind === kind)
        .map((p) => p.text)
        .join("");
    expect(of("removed")).toBe(before);
    expect(of("added")).toBe(after);
  });

  it("gives up on what is large", () => {
    expect(wordDiff("x".repeat(30_000), "y")).toBeNull();
    expect(wordDiff("a ".repeat(2_000), "b ".repeat(2_000))).toBeNull();
  });
});

it("writes paths for people", () => {
  expect(pathText(["items", 0, "first name", "über"])).toBe('items[0]["first name"].über');
});
