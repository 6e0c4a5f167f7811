import { expect, it } from "vitest";
import { blocksOf } from "./blocks";

it("cuts at blank lines", () => expect(blocksOf("a\nb\n\n\nc")).toEqual(["a\nb", "c"]));

it("keeps a fence whole, and one that is not closed yet", () => {
  expect(blocksOf("```py\nx\n\ny\n```\n\nz")).toEqual(["```py\nx\n\ny\n```", "z"]);
  expect(blocksOf("a\n\n````\n```\n\nb")).toEqual(["a", "````\n```\n\nb"]);
});

it("keeps a loose list whole", () => expect(blocksOf("- a\n\n- b\n\n  c")).toEqual(["- a\n\n- b\n\n  c"]));
