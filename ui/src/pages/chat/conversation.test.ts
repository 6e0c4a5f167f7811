import { expect, it } from "vitest";
import type { Message, Run, RunEvent, Thread } from "~/api/types";
import { firstOf, takesText } from "./agents";
import { after, type Conversation, EMPTY, lastSaid, toHear, turnsOf } from "./conversation";
import { siblingsAt } from "./siblings";

const message = (position: number, run_id: string, role: string, rest: object = {}): Message =>
  ({
    id: `msg_${position}`,
    thread_id: "thr_1",
    run_id,
    step_seq: role === "user" ? null : position,
    position,
    role,
    parts: [{ type: "text", text: `m${position}` }],
    status: "complete",
    created_at: `2030-01-01T00:00:0${position}.000Z`,
    ...rest,
  }) as unknown as Message;
const run = (id: string, status: string, rest: object = {}): Run =>
  ({
    id,
    status,
    parent: null,
    forked_from: null,
    input: `said to ${id}`,
    created_at: "2030-01-01T00:00:09.000Z",
    ...rest,
  }) as unknown as Run;
const event = (run_id: string, pos: number | null, type: string, data: object): RunEvent =>
  ({ run_id, thread_id: "thr_1", pos, type, at: "2030-01-01T00:00:00.000Z", data }) as RunEvent;

it("puts messages of one run together, behind what the user said", () => {
  const turns = turnsOf(
    "thr_1",
    [
      message(1, "run_a", "user"),
      message(2, "run_a", "assistant"),
      message(3, "run_a", "tool"),
      message(4, "run_b", "user"),
      message(5, "run_b", "assistant"),
    ],
    [],
    [],
    [],
  );
  expect(turns.map((turn) => [turn.runId, turn.user?.messageId, turn.messages.length])).toEqual([
    ["run_a", "msg_1", 2],
    ["run_b", "msg_4", 1],
  ]);
});

it("shows where a fork goes on from what it shares", () => {
  const turns = turnsOf(
    "thr_2",
    [
      message(1, "run_a", "user"),
      message(2, "run_a", "assistant"),
      message(3, "run_fork", "assistant", { thread_id: "thr_2" }),
    ],
    [],
    [],
    [],
  );
  expect(
    turns.map(({ runId, inherited, goesOn, user }) => [runId, inherited, goesOn, user !== null]),
  ).toEqual([
    ["run_a", true, true, true],
    ["run_fork", false, false, false],
  ]);
});

it("appends runs that wait in line, and what is being sent, once each", () => {
  const said = { key: "k", agent: "a", input: "hello", runId: null };
  const stored = [message(1, "run_a", "user")];
  const runs = [run("run_c", "queued"), run("run_b", "queued"), run("run_a", "running")];
  let turns = turnsOf("thr_1", stored, runs, [], [said]);
  expect(turns.map((turn) => turn.runId)).toEqual(["run_a", "run_b", "run_c", null]);
  expect(turns[3]?.user).toMatchObject({ sending: true, parts: [{ type: "text", text: "hello" }] });
  turns = turnsOf("thr_1", stored, runs, [], [{ ...said, runId: "run_c" }]);
  expect(turns.map((turn) => turn.runId)).toEqual(["run_a", "run_b", "run_c"]);
});

it("leaves out earlier runs whose messages are not loaded", () => {
  const early = run("run_0", "succeeded", { created_at: "2029-01-01T00:00:00.000Z" });
  expect(turnsOf("thr_1", [message(1, "run_a", "user")], [early], [], []).map((turn) => turn.runId)).toEqual([
    "run_a",
  ]);
});

it("marks what was taken back", () => {
  const [turn] = turnsOf(
    "thr_1",
    [message(1, "run_a", "user", { status: "void" }), message(2, "run_a", "assistant", { status: "void" })],
    [],
    [],
    [],
  );
  expect(turn?.voided).toBe(true);
});

it("hears runs, keeps what was said, and takes it out when it is refused", () => {
  let state: Conversation = EMPTY;
  state = after(state, { type: "said", send: { key: "k", agent: "a", input: "hi", runId: null } });
  state = after(state, {
    type: "heard",
    events: [
      event("run_a", 1, "run.queued", { input: "hi" }),
      event("run_b", 1, "run.queued", { input: "other" }),
      event("run_a", null, "message.delta", { message_id: "m", part: 0, kind: "text", text: "a" }),
    ],
  });
  expect([...state.views.keys()]).toEqual(["run_a", "run_b"]);
  expect(state.views.get("run_a")?.items.size).toBe(1);
  expect(after(state, { type: "taken", key: "k", runId: "run_a" }).sends[0]?.runId).toBe("run_a");
  expect(after(state, { type: "refused", key: "k" }).sends).toEqual([]);
});

it("reads out the last message once it is whole, and no piece of one", () => {
  const whole = (pos: number, id: string, role: string, text: string): RunEvent =>
    event("run_a", pos, "message.completed", { message_id: id, role, parts: [{ type: "text", text }] });
  const piece = event("run_a", null, "message.delta", { message_id: "m2", part: 0, text: "Half", piece: 0 });
  const heard = (...events: RunEvent[]): Conversation => after(EMPTY, { type: "heard", events });
  expect(lastSaid(EMPTY)).toBe("");
  expect(lastSaid(heard(piece))).toBe("");
  expect(lastSaid(heard(whole(2, "m1", "assistant", "One."), piece))).toBe("One.");
  expect(
    lastSaid(heard(whole(2, "m1", "assistant", "One."), whole(3, "m2", "assistant", "Two.\nThree."))),
  ).toBe("Two. Three.");
  expect(lastSaid(heard(whole(2, "m1", "assistant", "One."), whole(3, "m3", "user", "Ask.")))).toBe("One.");
});

it("listens to the runs that are alive, the one that holds the thread first", () => {
  const runs = [
    run("run_4", "queued"),
    run("run_3", "queued"),
    run("run_2", "waiting"),
    run("run_1", "failed"),
  ];
  expect(toHear(runs, 2)).toEqual(["run_2", "run_3"]);
});

it("finds the other ways at a run, from either side", () => {
  const thread = (id: string, branch_of: object | null): Thread => ({ id, branch_of }) as unknown as Thread;
  const origin = thread("thr_1", null);
  const branches = [
    thread("thr_3", { thread_id: "thr_1", run_id: "run_a", at: 3 }),
    thread("thr_2", { thread_id: "thr_1", run_id: "run_a", at: 0 }),
    thread("thr_9", { thread_id: "thr_1", run_id: "run_b", at: 0 }),
  ];
  expect(siblingsAt("run_a", origin, null, branches, [])).toEqual({
    threads: ["thr_1", "thr_2", "thr_3"],
    at: 0,
  });
  expect(siblingsAt("run_c", origin, null, branches, [])).toBeNull();
  const branch = branches[0] as Thread;
  expect(siblingsAt("run_f", branch, { forked_from: { run_id: "run_a", at: 3 } }, [], branches)).toEqual({
    threads: ["thr_1", "thr_2", "thr_3"],
    at: 2,
  });
});

it("tells agents that are talked to from those that take a form", () => {
  expect(takesText({ type: "string" })).toBe(true);
  expect(takesText({ anyOf: [{ type: "string" }, { type: "array" }] })).toBe(true);
  expect(takesText({ type: "object", properties: {} })).toBe(false);
  expect(takesText({ $ref: "#/$defs/Plan" })).toBe(false);
  const agent = (id: string, rest: object) =>
    ({
      id,
      enabled: true,
      workers: 1,
      tools: [{}],
      handoffs: [],
      input_schema: { type: "string" },
      ...rest,
    }) as never;
  const agents = [
    agent("off", { enabled: false }),
    agent("form", { input_schema: { type: "object" } }),
    agent("refunds", {}),
    agent("desk", { handoffs: ["refunds"] }),
  ];
  expect(firstOf(agents)?.id).toBe("desk");
});
