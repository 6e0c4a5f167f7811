import { expect, it } from "vitest";
import { Problem } from "~/api/problem";
import { NO_LIMITS } from "./forking";
import { bodyOf, forkInstead, lastAsked, limitsOf, missingIn } from "./retrying";
import type { Steps } from "./steps";

const steps = (...all: readonly (readonly [kind: string, status: string])[]): Steps => ({
  last: all.length,
  inherited: 0,
  at: (seq) => {
    const [kind, status] = all[seq - 1] ?? [];
    return kind === undefined || status === undefined
      ? undefined
      : { seq, key: `${kind}#${seq}`, kind, name: kind, status };
  },
});
const had = { instructions: "Be kind.", model: "a:b", limits: NO_LIMITS };
const run = { limits: {}, deadline: null };

it("asks for what differs only", () => {
  expect(bodyOf(run, had, had)).toEqual({});
  expect(bodyOf(run, { ...had, instructions: "Be brief." }, had)).toEqual({
    edits: { instructions: "Be brief." },
  });
  expect(bodyOf(run, { ...had, model: " c:d " }, had)).toEqual({ edits: { model: "c:d" } });
});

it("says all limits when one of them is another", () => {
  const limited = {
    limits: { steps_max: 2, active_ms_max: 5, cost_micros_max: 250_000 },
    deadline: "2031-01-01T00:00:00Z",
  };
  const before = { ...had, limits: limitsOf(limited) };
  expect(before.limits).toEqual({ steps_max: "2", tool_calls_max: "", tokens_max: "", cost: "0.25" });
  expect(bodyOf(limited, { ...before, limits: { ...before.limits, steps_max: "20" } }, before)).toEqual({
    limits: { steps_max: 20, cost_micros_max: 250_000, active_ms_max: 5, deadline: "2031-01-01T00:00:00Z" },
  });
});

it("sends nothing that is empty where something was", () => {
  expect(missingIn({ ...had, instructions: " " }, had)).toContain("instructions");
  expect(missingIn({ ...had, model: "" }, had)).toContain("model");
  expect(missingIn({ ...had, model: "" }, { ...had, model: "" })).toBeNull();
});

it("knows the fork that can have what the retry cannot", () => {
  const of = steps(["model", "succeeded"], ["tool", "succeeded"], ["model", "failed"], ["tool", "voided"]);
  expect(lastAsked(of)).toBe(3);
  expect(forkInstead(of, { model: "c:d" }, null)).toEqual({ at: 3, change: "model", model: "c:d" });
  expect(forkInstead(of, {}, null)).toEqual({ at: 2 });
  const told = new Problem(422, { code: "edit_needs_fork", fork: { at: 2, edit: "output" } });
  expect(forkInstead(of, {}, told)).toEqual({ at: 2, change: "output" });
  expect(forkInstead(steps(), { model: "c:d" }, null)).toEqual({ at: 0 });
});
