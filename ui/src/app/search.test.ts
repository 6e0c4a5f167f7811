import { expect, it } from "vitest";
import * as search from "./search";

it("leaves out what it does not understand", () => {
  expect(
    search.runs({ status: "odd", agent: "", since: "x".repeat(301), children: "no", parent: null }),
  ).toEqual({});
  expect(search.approvals({ view: ["pending"], age: "year", tool: {} })).toEqual({});
  expect(search.overview({ days: 30 })).toEqual({});
});

it("takes a whole number for one, and nothing else", () => {
  for (const step of ["", " ", "1e3", "0x10", "-1", "1.5", true, null, -1, 1.5, 2 ** 53, Number.NaN])
    expect(search.run({ step }), String(step)).toEqual({});
  expect(search.run({ step: 0 })).toEqual({ step: 0 });
  expect(search.run({ step: "12" })).toEqual({ step: 12 });
});

it("keeps what says something, also names that look like numbers", () => {
  expect(search.runs({ tag: 7, forked: true, children: "true" })).toEqual({
    tag: "7",
    forked: true,
    children: true,
  });
});
