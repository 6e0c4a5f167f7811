import { expect, it } from "vitest";
import { type Facts, isFiltered, matcherOf } from "./filter";

const step = (change: Partial<Facts> = {}): Facts => ({
  type: "step",
  kind: "tool",
  status: "succeeded",
  name: "refund_order",
  key: "model#2/0",
  ...change,
});

it("shows all steps without a filter", () => {
  expect(matcherOf({})).toBeNull();
  expect(matcherOf({ q: "  " })).toBeNull();
  expect(isFiltered({ q: " " })).toBe(false);
  expect(isFiltered({ kind: "tool" })).toBe(true);
});

it("wants all that is asked for", () => {
  const matches = matcherOf({ kind: "tool", outcome: "succeeded", q: "REFUND model" });
  expect(matches?.(step())).toBe(true);
  expect(matches?.(step({ status: "failed" }))).toBe(false);
  expect(matches?.(step({ kind: "code" }))).toBe(false);
  expect(matcherOf({ q: "nothing" })?.(step())).toBe(false);
});

it("finds what is open", () => {
  expect(matcherOf({ outcome: "open" })?.(step({ type: "open", status: "running" }))).toBe(true);
  expect(matcherOf({ outcome: "open" })?.(step())).toBe(false);
});
