import { expect, it } from "vitest";
import { askedOf, chipsOf, picked, picksOf, timeOf } from "./filters";

const NOW = Date.parse("2030-01-02T00:00:00.000Z");

it("asks for what the address says", () => {
  expect(askedOf({ status: "failed", agent: "a", by: "pri_1", external: "x", thread: "thr_1" }, NOW)).toEqual(
    {
      status: ["failed"],
      agent: "a",
      principal: "pri_1",
      external_id: "x",
      thread_id: "thr_1",
    },
  );
  expect(askedOf({ since: "24h", until: "2030-01-01T12:00:00.000Z", children: true }, NOW)).toEqual({
    created_after: "2030-01-01T00:00:00.000Z",
    created_before: "2030-01-01T12:00:00.000Z",
    include_children: true,
  });
  expect(askedOf({}, NOW)).toEqual({});
});

it("says of a time that it cannot read that it is left out", () => {
  expect(timeOf("soon", NOW)).toBeNull();
  expect(askedOf({ since: "soon" }, NOW)).toEqual({});
  expect(chipsOf({ since: "soon" })[0]?.value).toBe("soon is no time, and is left out");
  expect(chipsOf({ since: "24h" })[0]?.value).toBe("the last day");
  expect(chipsOf({ since: "90m" })[0]?.value).toBe("90m ago");
});

it("has a chip for each filter and none for what is picked", () => {
  expect(
    chipsOf({ tag: "red", forked: true, pick: "run_1" }).map(({ label, value }) => [label, value]),
  ).toEqual([
    ["Tag", "red"],
    ["Forks", "only"],
  ]);
});

it("keeps the last two that were picked", () => {
  expect(picksOf({ pick: "run_1,nonsense,run_2,run_3" })).toEqual(["run_1", "run_2"]);
  expect(picked(["run_1", "run_2"], "run_3")).toBe("run_2,run_3");
  expect(picked(["run_1"], "run_1")).toBeUndefined();
});
