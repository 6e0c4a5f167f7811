import { describe, expect, it } from "vitest";
import { between, bytes, cost, duration, relative, short } from "./format";

describe("durations", () => {
  it.each([
    [0, "0 ms"],
    [999, "999 ms"],
    [1_000, "1.0 s"],
    [9_949, "9.9 s"],
    [59_949, "60 s"],
    [59_951, "1 min"],
    [61_000, "1 min 1 s"],
    [3_599_999, "1 h"],
    [90_000_000, "1 d 1 h"],
    [null, "—"],
  ])("%s ms is shown as %s", (ms, shown) => expect(duration(ms)).toBe(shown));
});

describe("costs", () => {
  it.each([
    [0, true, "$0"],
    [0, false, "unpriced"],
    [4_200, true, "$0.0042"],
    [42_000, true, "$0.042"],
    [12_400_000, true, "$12.40"],
    [12_400_000, false, "$12.40 +"],
  ])("%s micros, priced %s, is %s", (micros, priced, shown) => expect(cost(micros, priced)).toBe(shown));
});

it("tells the past from the future", () => {
  expect(relative(0, 4_999)).toBe("just now");
  expect(relative(0, 240_000)).toBe("4 min ago");
  expect(relative(7_200_000, 0)).toBe("in 2 h");
  expect(relative(7 * 86_400_000 - 2_000, 0)).toBe("in 7 d");
});

it("shortens what is large only", () => {
  expect(short(9_999)).toBe("9,999");
  expect(short(12_345)).toBe("12.3K");
  expect(bytes(5_000_000)).toBe("5.0 MB");
  expect(between("2030-01-01T00:00:00.000Z", "2030-01-01T00:00:01.500Z")).toBe(1_500);
  expect(between(null, null)).toBeNull();
});
