import { expect, it } from "vitest";
import { type Bucket, chartOf, isLabelled, isLabelledNarrow, sums, todayOf, zoneOf } from "./bars";

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

it("counts what was spent since the reader's midnight", () => {
  const now = new Date(2030, 5, 2, 3, 30).getTime();
  const at = (hours: number): string => new Date(now - hours * 3_600_000 - 1_800_000).toISOString();
  const buckets = [5, 4, 3, 2, 1, 0].map((hours) => ({
    ...bucket(1),
    at: at(hours),
    cost_micros: 10 ** hours,
  }));
  expect(todayOf(buckets, now)).toEqual({ since: new Date(2030, 5, 2).getTime(), costMicros: 1_111 });
  expect(todayOf(buckets.slice(0, 2), now), "nothing that begins today").toBeNull();
  expect(zoneOf(now)).not.toBe("");
});
