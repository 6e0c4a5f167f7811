import { describe, expect, it } from "vitest";
import { axisOf, idleStretches, moved, niceStep, tickLabel, ticksOf, zoomed } from "./axis";

const DAY = 86_400_000;
const busy = (...spans: readonly (readonly [number, number])[]) => ({
  from: spans.map(([from]) => from),
  to: spans.map(([, to]) => to),
});

describe("idle stretches", () => {
  it("are what no span covers", () => {
    expect(idleStretches(0, 100, busy([10, 20], [15, 40], [60, 70]))).toEqual([
      [0, 10],
      [40, 60],
      [70, 100],
    ]);
  });
  it("are all of it, or none", () => {
    expect(idleStretches(0, 10, busy())).toEqual([[0, 10]]);
    expect(idleStretches(0, 10, busy([0, 10], [2, 3]))).toEqual([]);
    expect(idleStretches(0, 10, busy([0, 4], [4, 10]))).toEqual([]);
  });
});

describe("the folded axis", () => {
  const waits = [
    { from: 1_000, to: 2 * DAY, type: "approval", key: "model#1/0/leave#1", others: 0 } as const,
  ];
  const axis = axisOf(0, 2 * DAY + 1_000, busy([0, 1_000], [2 * DAY, 2 * DAY + 1_000]), waits);

  it("folds a wait of two days between two seconds of work", () => {
    expect(axis.gaps).toHaveLength(1);
    expect(axis.gaps[0]).toMatchObject({ type: "approval", key: "model#1/0/leave#1", open: false });
    expect(axis.length).toBeLessThan(2_500);
  });
  it("leads there and back", () => {
    for (const t of [0, 500, 1_000, DAY, 2 * DAY, 2 * DAY + 700])
      expect(axis.toT(axis.toV(t))).toBeCloseTo(t, 3);
    expect(axis.toV(2 * DAY + 1_000)).toBeCloseTo(axis.length);
  });
  it("leaves short pauses as they are", () => {
    expect(axisOf(0, 1_000, busy([0, 480], [520, 1_000]), []).gaps).toEqual([]);
  });
  it("has room for work beside many gaps", () => {
    const spans = Array.from({ length: 500 }, (_, n) => [n * 10_000, n * 10_000 + 10] as const);
    const many = axisOf(0, 5_000_000, busy(...spans), []);
    expect(many.gaps.length).toBeGreaterThan(490);
    expect(many.length).toBeLessThan(5_000 * 1.7);
  });
  it("tells waits apart that follow each other", () => {
    const twice = [
      { from: 100, to: 5_100, type: "timer", key: "sleep#1", others: 0 },
      { from: 5_104, to: null, type: "event", key: "go#1", others: 0 },
    ] as const;
    const gaps = axisOf(0, 60_000, busy([0, 100], [5_101, 5_103]), twice).gaps;
    expect(gaps.map((gap) => gap.type)).toEqual(["timer", "event"]);
    const touching = axisOf(0, 60_000, busy([0, 100]), twice).gaps;
    expect(touching.map((gap) => [gap.type, gap.from, gap.open])).toEqual([
      ["timer", 100, false],
      ["event", 5_104, true],
    ]);
  });
  it("shows a run that only waits", () => {
    const waiting = axisOf(0, DAY, busy([0, 5]), [{ from: 5, to: null, type: "ask", key: null, others: 0 }]);
    expect(waiting.gaps[0]).toMatchObject({ type: "ask", open: true });
    expect(waiting.toV(5)).toBeGreaterThan(waiting.length / 2);
  });
  it("says what lies before a fork", () => {
    const fork = axisOf(-DAY, 100, busy([-DAY, -DAY + 500], [10, 100]), [], true);
    expect(fork.gaps[0]?.type).toBe("fork");
    expect(axisOf(0, 0, busy(), []).length).toBeGreaterThan(0);
  });
});

describe("ticks", () => {
  it("stand at round times, outside of gaps", () => {
    const axis = axisOf(0, 10_000, busy([0, 10_000]), []);
    expect(ticksOf(axis, [0, axis.length], 880).map((tick) => tick.label)).toEqual([
      "0",
      ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => `${n} s`),
    ]);
  });
  it("count from a gap's end when the time before it is long", () => {
    const axis = axisOf(0, 2 * DAY + 1_000, busy([0, 1_000], [2 * DAY, 2 * DAY + 1_000]), []);
    const labels = ticksOf(axis, [0, axis.length], 600).map((tick) => tick.label);
    expect(labels).toContain("500 ms");
    expect(labels).toContain("+500 ms");
    expect(labels.length).toBeLessThan(14);
  });
  it("fit any duration", () => {
    expect(niceStep(3)).toBe(5);
    expect(niceStep(61_000)).toBe(120_000);
    expect(tickLabel(90_500, 500)).toBe("1:30.5");
    expect(tickLabel(2 * DAY + 3 * 3_600_000, 3_600_000)).toBe("2 d 3:00");
    expect(tickLabel(-1_500, 500)).toBe("−1.5 s");
  });
});

it("zooms around a place and stays within the whole", () => {
  expect(zoomed([0, 100], 0.5, 50, 100)).toEqual([25, 75]);
  expect(zoomed([25, 75], 4, 50, 100)).toEqual([0, 100]);
  expect(moved([0, 50], 80, 100)).toEqual([50, 100]);
  expect(moved([0, 50], -10, 100)).toEqual([0, 50]);
});
