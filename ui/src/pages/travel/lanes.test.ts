import { expect, it } from "vitest";
import { type Leaf, lanesOf, rowsOf } from "./lanes";

const leaf = (id: string, from: string | null = null, at = 0, minute = 0): Leaf => ({
  id,
  forked_from: from === null ? null : { run_id: from, at },
  created_at: `2030-01-01T00:${String(minute).padStart(2, "0")}:00.000Z`,
});

const drawn = (leaves: readonly Leaf[]): readonly string[] =>
  rowsOf(leaves).map(
    (row) => `${row.of.id}@${row.lane}<${row.from ?? "-"} |${row.past.join("")}${row.goesOn ? " +" : ""}`,
  );

it("draws a run alone", () => {
  expect(drawn([leaf("a")])).toEqual(["a@0<- |"]);
});

it("draws a chain of forks as one line", () => {
  expect(drawn([leaf("a"), leaf("b", "a"), leaf("c", "b")])).toEqual(["a@0<- | +", "b@0<0 | +", "c@0<0 |"]);
});

it("puts all forks but the last one lane to the right", () => {
  expect(drawn([leaf("a"), leaf("c", "a", 3), leaf("b", "a", 2), leaf("b2", "b", 2)])).toEqual([
    "a@0<- | +",
    "b@1<0 |0 +",
    "b2@1<1 |0",
    "c@0<0 |",
  ]);
});

it("keeps the lines of all that is still open", () => {
  const rows = rowsOf([
    leaf("a"),
    leaf("b", "a", 1),
    leaf("c", "b", 1),
    leaf("d", "b", 2),
    leaf("e", "a", 9),
  ]);
  expect(rows.map((row) => [row.of.id, row.lane, row.past])).toEqual([
    ["a", 0, []],
    ["b", 1, [0]],
    ["c", 2, [0, 1]],
    ["d", 1, [0]],
    ["e", 0, []],
  ]);
  expect(lanesOf(rows)).toBe(3);
});

it("shows forks of what is gone as roots, and survives a run that names itself", () => {
  expect(drawn([leaf("b", "gone", 2), leaf("x", "x", 1)])).toEqual(["x@0<- |", "b@0<- |"]);
});

it("holds 256 forks of forks, and 200 forks of one", () => {
  const chain = Array.from({ length: 257 }, (_, n) => leaf(`r${n}`, n === 0 ? null : `r${n - 1}`));
  expect(lanesOf(rowsOf(chain))).toBe(1);
  const fan = [leaf("root"), ...Array.from({ length: 200 }, (_, n) => leaf(`f${n}`, "root", 1, n % 60))];
  expect(lanesOf(rowsOf(fan))).toBe(2);
});
