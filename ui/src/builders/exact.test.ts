import { expect, it } from "vitest";
import { exactly, exactlyParsed, holdsRaw } from "./exact";

const CAN = "rawJSON" in JSON;

it.runIf(CAN)("writes every number as it was read", () => {
  const text = '{"id":9007199254740993,"amount":120.0,"small":-0,"large":1e400,"plain":[1,2.5]}';
  expect(JSON.stringify(exactly(text))).toBe(text);
  expect(holdsRaw(exactly(text))).toBe(true);
  expect(holdsRaw(exactly('{"a":[1,2.5,"9007199254740993"]}'))).toBe(false);
});

it("leaves what a number can hold a number", () => {
  expect(exactly('{"a":[1,-2.5,9007199254740991]}')).toEqual({ a: [1, -2.5, 9007199254740991] });
});

it("says what is wrong", () => {
  expect(exactlyParsed("{")).toMatchObject({ value: undefined, error: expect.any(String) });
  expect(exactlyParsed("[]")).toEqual({ value: [], error: null });
});

it.runIf(!CAN)("keeps no number that would become another one", () => {
  expect(exactlyParsed("9007199254740993").error).toContain("cannot keep");
});
