import { expect, it } from "vitest";
import { added, TOASTS_MAX, type Toast } from "./toasting";

let last = 0;
const good = (text: string): Toast => ({ id: ++last, tone: "good", text });
const bad = (text: string): Toast => ({ id: ++last, tone: "bad", text });
const all = (...toasts: Toast[]): string[] =>
  toasts.reduce<readonly Toast[]>(added, []).map(({ text }) => text);

it("says the same once", () => {
  expect(all(bad("lost"), good("done"), bad("lost"))).toEqual(["done", "lost"]);
});

it("lets a success go before a failure that nobody may have read", () => {
  const failures = Array.from({ length: TOASTS_MAX - 1 }, (_, n) => bad(`failure ${n}`));
  expect(all(...failures, good("done"), bad("another"))).toEqual([
    ...failures.map(({ text }) => text),
    "another",
  ]);
});

it("keeps no more than can be looked over", () => {
  expect(all(...Array.from({ length: 9 }, (_, n) => bad(`failure ${n}`)))).toHaveLength(TOASTS_MAX);
});
