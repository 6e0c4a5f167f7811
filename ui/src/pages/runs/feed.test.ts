import { describe, expect, it } from "vitest";
import type { Page, Run } from "~/api/types";
import { feedOf } from "./feed";
import { askedOf, chipsOf, picked, picksOf, timeOf } from "./filters";

const run = (n: number, status = "succeeded"): Run => ({ id: `run_${n}`, status }) as Run;
const page = (numbers: readonly number[], next: string | null = "more"): Page<Run> => ({
  data: numbers.map((n) => run(n)),
  next_cursor: next,
});
const ids = (rows: readonly Run[]): readonly number[] => rows.map((one) => Number(one.id.slice(4)));

describe("the list of runs", () => {
  const pages = [5, 4, 3, 2, 1].map((n) => run(n));

  it("shows the newest and, behind them, what was read before", () => {
    const head = page([7, 6, 5]);
    const found = feedOf(pages, head, head);
    expect(ids(found.rows)).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(found).toMatchObject({ fresh: 0, torn: false });
  });

  it("stands still while it is scrolled down, and counts", () => {
    const found = feedOf(pages, page([5, 4, 3]), page([8, 7, 6, 5]));
    expect(ids(found.rows)).toEqual([5, 4, 3, 2, 1]);
    expect(found).toMatchObject({ fresh: 3, more: false });
    expect(feedOf(pages, page([5, 4]), page([9, 8])).more).toBe(true);
  });

  it("says of a run what is true now", () => {
    const head: Page<Run> = { data: [run(5, "failed")], next_cursor: "more" };
    expect(feedOf(pages, page([5, 4]), head).rows[0]?.status).toBe("failed");
  });

  it("leaves out what does not fit any more", () => {
    const head = page([5, 3]);
    expect(ids(feedOf(pages, head, head).rows)).toEqual([5, 3, 2, 1]);
    expect(feedOf(pages, page([], null), page([], null)).rows).toEqual([]);
  });

  it("notices when others may be missing in between", () => {
    expect(feedOf(pages, page([9, 8]), page([9, 8])).torn).toBe(true);
    expect(feedOf(pages, page([9, 8], null), page([9, 8], null)).torn).toBe(false);
    expect(feedOf(pages, page([6, 4]), page([6, 4])).torn).toBe(false);
  });
});

describe("filters", () => {
  it("are asked of the API", () => {
    const now = Date.parse("2030-01-02T00:00:00Z");
    expect(askedOf({ status: "failed", thread: "thr_1", since: "24h", children: true }, now)).toEqual({
      status: ["failed"],
      thread_id: "thr_1",
      created_after: "2030-01-01T00:00:00.000Z",
      include_children: true,
    });
    expect(timeOf("yesterday", now)).toBeNull();
  });

  it("are shown as chips", () => {
    expect(chipsOf({ agent: "support", since: "7d", forked: true }).map((one) => one.value)).toEqual([
      "support",
      "the last week",
      "only",
    ]);
  });
});

it("compares two runs at most", () => {
  expect(picked([], "run_1")).toBe("run_1");
  expect(picked(["run_1", "run_2"], "run_3")).toBe("run_2,run_3");
  expect(picked(["run_1"], "run_1")).toBeUndefined();
  expect(picksOf({ pick: "run_1,x,run_2,run_3" })).toEqual(["run_1", "run_2"]);
});
