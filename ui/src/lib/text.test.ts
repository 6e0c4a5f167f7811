import { expect, it } from "vitest";
import { brief, inert, oneLine, textOf } from "./text";

it("takes terminal colours and control characters out", () => {
  expect(inert("\u001b[31mred\u001b[0m \u001b]8;;http://x\u0007link")).toBe("red link");
  expect(inert("a\u0000b\tc\nd")).toBe("a\ufffdb\tc\nd");
});

it("takes direction overrides out and leaves right-to-left letters", () => {
  expect(inert("\u202eabc\u202c שלום")).toBe("abc שלום");
});

it("cuts between whole code points", () => {
  expect(oneLine("👩‍🔬👩‍🔬👩‍🔬", 3)).toBe("👩‍…");
  expect(oneLine("a\n b")).toBe("a b");
});

it("shows JSON in one line", () => {
  expect(brief({ a: [1, "x"] })).toBe('{"a":[1,"x"]}');
  expect(brief(null)).toBe("");
});

it("finds the text of parts", () => {
  expect(textOf([{ type: "text", text: "Hello" }])).toBe("Hello");
  expect(textOf({ orders: [], summary: "Nothing." })).toBe("Nothing.");
});
