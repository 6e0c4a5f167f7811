import { expect, it } from "vitest";
import { Doubt } from "./doubt";
import { Problem, unreachable } from "./problem";

it("asks the same again under the same key while nobody knows whether it was done", () => {
  const doubt = new Doubt();
  const key = doubt.keyOf({ a: 1 });
  doubt.heard(unreachable());
  doubt.heard(new Problem(503, {}));
  expect(doubt.keyOf({ a: 1 })).toBe(key);
  expect(doubt.keyOf({ a: 2 })).not.toBe(key);
});

it("takes the same said again for another thing once it is known what became of it", () => {
  const doubt = new Doubt();
  const first = doubt.keyOf("again");
  doubt.heard();
  const second = doubt.keyOf("again");
  expect(second).not.toBe(first);
  doubt.heard(new Problem(409, {}));
  expect(doubt.keyOf("again")).not.toBe(second);
});
