import { expect, it } from "vitest";
import type { Agent, ApprovalRow, Run } from "~/api/types";
import { type Evidence, firstSteps } from "./firstSteps";

const nothing: Evidence = { runs: [], forks: [], decided: [], pending: [], agents: [], firsts: new Set() };
const run = { tags: [] as string[], metadata: {}, id: "run_1", status: "succeeded", steps: 3 } as Run;
const done = (found: Partial<Evidence>) =>
  firstSteps({ ...nothing, ...found }).flatMap((step) => (step.done ? [step.id] : []));

it("begins with nothing done", () => {
  expect(done({})).toEqual([]);
  expect(firstSteps(nothing).map((step) => step.to)).toEqual([
    "/chat",
    "/approvals",
    "/runs",
    "/runs",
    "/runs",
  ]);
});

it("takes a plain approval for no edit", () => {
  const approved = (args: object | null) =>
    ({ decisions: [{ decision: "approve", arguments: args }] }) as unknown as ApprovalRow;
  expect(done({ runs: [run], decided: [approved(null)] })).toEqual(["chat"]);
  expect(done({ runs: [run], decided: [approved({ a: 1 })] })).toEqual(["chat", "approve"]);
});

it("sees a fork, and that whoever forked had looked", () => {
  expect(done({ runs: [run], forks: [run] })).toEqual(["chat", "open", "fork"]);
  expect(done({ runs: [run], firsts: new Set(["opened", "replayed"]) })).toEqual(["chat", "open", "replay"]);
});

it("leads to the agent that asks for leave", () => {
  const agent = {
    id: "desk",
    name: "Desk",
    kind: "native",
    tools: [{ name: "refund", policy: [{ decision: "confirm", when: true }] }],
  } as unknown as Agent;
  const [chat, approve] = firstSteps({ ...nothing, agents: [agent] });
  expect(chat?.search).toEqual({ agent: "desk" });
  expect(approve?.says).toContain("Desk asks for leave before refund");
});

it("does not count what was there before anybody came", () => {
  const made = { ...run, metadata: { "holdfast.made_by": "demo" } };
  expect(done({ runs: [made], forks: [made] })).toEqual([]);
  expect(done({ runs: [made, run] })).toEqual(["chat"]);
  expect(done({ runs: [{ ...run, tags: ["seed"] }] }), "a tag is anybody's").toEqual(["chat"]);
});
