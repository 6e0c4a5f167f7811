import { expect, it } from "vitest";
import { type Bucket, chartOf, isLabelled, isLabelledNarrow, sums } from "./bars";

const bucket = (succeeded: number, failed = 0, cancelled = 0): Bucket => ({
  at: "2030-01-01T00:00:00.000Z",
  succeeded,
  failed,
  cancelled,
  cost_micros: 0,
  tokens: 0,
});

it("gives what failed the room below the line that it needs", () => {
  const chart = chartOf([bucket(6, 2), bucket(0), bucket(3, 0, 3)]);
  expect(chart.above).toBe(0.75);
  expect(chart.bars.map(({ good, failed, cancelled }) => [good, failed, cancelled])).toEqual([
    [0.75, 0.25, 0],
    [0, 0, 0],
    [0.375, 0, 0.375],
  ]);
});

it("draws nothing of nothing", () => {
  expect(chartOf([bucket(0)])).toMatchObject({ above: 1, empty: true });
  expect(chartOf([])).toMatchObject({ bars: [], empty: true });
});

it("labels a few", () => {
  const all = Array.from({ length: 24 }, (_, index) => index);
  expect(all.filter(isLabelled)).toEqual([0, 4, 8, 12, 16, 20]);
  expect(all.filter(isLabelledNarrow)).toEqual([0, 8, 16]);
});

it("sums", () => {
  expect(sums([bucket(1, 2, 3), bucket(1)])).toEqual({ succeeded: 2, failed: 2, cancelled: 3 });
});
