import { expect, it } from "vitest";
import type { RunEvent } from "~/api/types";
import { blocksOf } from "./blocks";
import { viewOfHistory, withHeard } from "./history";
import { emptyRun, type RunView } from "./runItems";
import { applied } from "./runView";

const RUN = "run_1";
const event = (
  pos: number | null,
  type: string,
  data: object,
  at = "2030-01-01T00:00:00.000Z",
): RunEvent => ({
  pos,
  run_id: RUN,
  thread_id: "thr_1",
  type,
  at,
  data: data as RunEvent["data"],
});
const delta = (piece: number, message: string, text: string, part = 0, kind = "text"): RunEvent =>
  event(null, "message.delta", { message_id: message, part, kind, text, piece });
const started = (pos: number, id: string, key: string, voids: readonly string[] = []): RunEvent =>
  event(pos, "message.started", { message_id: id, key, voids });
const completed = (pos: number, id: string, key: string, parts: readonly object[]): RunEvent =>
  event(pos, "message.completed", {
    seq: pos,
    key,
    kind: "model",
    name: "model",
    attempt: 1,
    status: "succeeded",
    message_id: id,
    role: "assistant",
    parts,
    usage: null,
    started_at: "2030-01-01T00:00:00.000Z",
    ended_at: "2030-01-01T00:00:01.000Z",
  });

const CALL = { type: "tool_call", call_id: "c1", name: "refund", arguments: { amount: 200 } };
const JOURNAL: readonly RunEvent[] = [
  event(1, "run.queued", { input: "Refund it." }),
  event(2, "run.started", { worker: "w" }),
  started(3, "msg_1", "model#1"),
  completed(4, "msg_1", "model#1", [{ type: "text", text: "Let me do that." }, CALL]),
  event(5, "approval.requested", {
    key: "model#1/0/leave#1",
    kind: "interrupt",
    name: "leave",
    attempt: 1,
    approval_id: "apr_1",
    type: "tool",
    message: "support wants to call refund",
  }),
  event(6, "run.waiting", { waiting_on: [] }),
  event(7, "approval.resolved", {
    seq: 5,
    key: "model#1/0/leave#1",
    kind: "interrupt",
    approval_id: "apr_1",
    status: "approved",
    version: 2,
  }),
  event(8, "run.resumed", { worker: "w" }),
  event(9, "tool.started", {
    key: "model#1/0",
    kind: "tool",
    name: "refund",
    attempt: 1,
    effect_id: "eff_1",
    effect_class: "keyed",
  }),
  event(10, "tool.completed", {
    seq: 6,
    key: "model#1/0",
    kind: "tool",
    name: "refund",
    attempt: 1,
    status: "succeeded",
    call_id: "c1",
    result: { refunded: true },
    started_at: "2030-01-01T00:00:02.000Z",
    ended_at: "2030-01-01T00:00:03.000Z",
  }),
  started(11, "msg_2", "model#2"),
  completed(12, "msg_2", "model#2", [{ type: "text", text: "Done." }]),
  event(13, "run.succeeded", { output: "Done." }),
];

const all = (events: readonly RunEvent[], from: RunView = emptyRun(RUN)): RunView => applied(from, events);
const shown = (view: RunView, ended = false) => blocksOf(view, ended);

it("tells a run with a call, its leave and its result", () => {
  const view = all(JOURNAL);
  expect(view.status).toBe("succeeded");
  expect(view.input).toBe("Refund it.");
  const blocks = shown(view, true);
  expect(blocks.map((one) => one.type)).toEqual(["text", "call", "text"]);
  const call = blocks[1];
  if (call?.type !== "call") throw new Error("It is a call.");
  expect(call.call).toMatchObject({
    name: "refund",
    state: "succeeded",
    result: { refunded: true },
    seq: 6,
    effect: { id: "eff_1", effectClass: "keyed", status: "committed" },
  });
  expect(call.call.questions).toEqual([expect.objectContaining({ approvalId: "apr_1", status: "approved" })]);
});

it("comes to the same however events are repeated and mixed up", () => {
  const whole = shown(all(JOURNAL), true);
  const twice = JOURNAL.flatMap((one) => [one, one]);
  expect(shown(all(twice), true)).toEqual(whole);
  expect(shown(all([...JOURNAL].reverse()), true)).toEqual(whole);
  expect(shown(all(JOURNAL.slice(0, 7), all(JOURNAL)), true)).toEqual(whole);
  expect(all([...JOURNAL].reverse()).status).toBe("succeeded");
});

it("asks while nobody has decided", () => {
  const call = shown(all(JOURNAL.slice(0, 6)))[1];
  expect(call?.type === "call" && call.call.state).toBe("asking");
  expect(all(JOURNAL.slice(0, 6)).status).toBe("waiting");
});

it("grows by pieces and is replaced by the whole", () => {
  let view = all([...JOURNAL.slice(0, 3), delta(0, "msg_1", "Let "), delta(1, "msg_1", "me")]);
  expect(shown(view)[0]).toMatchObject({ type: "text", text: "Let me", streaming: true });
  view = all([completed(4, "msg_1", "model#1", [{ type: "text", text: "Let me see." }])], view);
  expect(shown(view)[0]).toMatchObject({ text: "Let me see.", streaming: false });
  expect(shown(all([delta(2, "msg_1", " late")], view))[0]).toMatchObject({ text: "Let me see." });
});

it("keeps thinking, text and calls of one message apart", () => {
  const view = all([
    started(1, "m", "model#1"),
    delta(0, "m", "Hm", 0, "thinking"),
    delta(1, "m", "Well", 1),
    delta(2, "m", '{"a":', 2, "tool_call"),
  ]);
  const blocks = shown(view);
  expect(blocks.map((one) => one.type)).toEqual(["thinking", "text", "call"]);
  expect(blocks[2]?.type === "call" && blocks[2].call).toMatchObject({ writing: '{"a":', state: "writing" });
});

it("forgets what a lost worker had begun to say", () => {
  const before = all([started(1, "m1", "model#1"), delta(0, "m1", "Half a sen")]);
  const after = all([event(2, "run.recovered", { worker: "w2", lapses: 1, void: ["m1"] })], before);
  expect(shown(after).map((one) => one.type)).toEqual(["note"]);
  const late = all(
    [delta(1, "m1", "tence"), started(3, "m2", "model#1", ["m1"]), delta(0, "m2", "Anew")],
    after,
  );
  expect(shown(late).filter((one) => one.type === "text")).toEqual([
    expect.objectContaining({ text: "Anew" }),
  ]);
});

it("marks what was not heard until the message is whole", () => {
  expect(shown(all([delta(7, "m1", "of it")]))[0]).toMatchObject({ text: "… of it" });
  const joined = all([started(1, "m1", "k"), delta(3, "m1", "of it"), delta(4, "m1", " all")]);
  expect(shown(joined)[0]).toMatchObject({ text: "… of it all" });
  const holed = all([started(1, "m1", "k"), delta(0, "m1", "begin"), delta(2, "m1", "end")]);
  expect(shown(holed)[0]).toMatchObject({ text: "begin … end" });
  const whole = all([completed(2, "m1", "k", [{ type: "text", text: "begin, and the end" }])], holed);
  expect(shown(whole)[0]).toMatchObject({ text: "begin, and the end" });
});

it("tells each piece once, however many ways it comes", () => {
  const words = ["A", " word", " or", " two", ", not", " three"];
  const pieces = words.map((word, at) => delta(at, "m1", word));
  const text = words.join("");
  const begun = all([event(1, "run.queued", { input: "x" }), started(2, "m1", "k")]);
  const twice = pieces.flatMap((one) => [one, one]);
  expect(shown(all(twice, begun))[0]).toMatchObject({ text });
  for (let late = 0; late <= pieces.length; late += 1) {
    const first = all(pieces.slice(0, late), begun);
    for (let from = 0; from <= late; from += 1)
      expect(shown(all(pieces.slice(from), first))[0]).toMatchObject({ text });
  }
});

it("knows whether it was told from the beginning", () => {
  expect(all(JOURNAL).begun).toBe(true);
  expect(all(JOURNAL.slice(1)).begun).toBe(false);
  const fork = all([event(4, "run.forked", { run_id: "run_0", at: 2, kept: 2 })]);
  expect(fork).toMatchObject({ begun: true, status: "queued" });
});

it("takes back what a retry declares void", () => {
  const step = { key: "boom#1", kind: "code", name: "boom", started_at: null };
  const failed = all([
    event(1, "run.started", {}),
    event(2, "step.failed", { ...step, seq: 1, attempt: 1, status: "failed", error: { message: "No." } }),
    event(3, "run.failed", { error: { code: "step_failed", message: "No.", retryable: true } }),
  ]);
  expect(failed).toMatchObject({ status: "failed", error: { code: "step_failed", retryable: true } });
  const retried = all(
    [
      event(4, "run.retried", { voids: [{ key: "boom#1", attempt: 1 }] }),
      event(null, "step.started", { key: "boom#1", kind: "code", name: "boom" }),
    ],
    failed,
  );
  expect(retried.status).toBe("queued");
  expect(retried.error).toBeNull();
  const steps = shown(retried).flatMap((one) => (one.type === "steps" ? one.steps : []));
  expect(steps).toEqual([expect.objectContaining({ name: "boom", attempt: 2, state: "running" })]);
});

it("lists the steps of a workflow and what it emitted", () => {
  const view = all([
    event(1, "step.opened", {
      key: "sleep#1",
      kind: "sleep",
      name: "sleep",
      attempt: 1,
      due_at: "2030-01-01T00:00:09Z",
    }),
    event(2, "step.completed", {
      key: "uuid#1",
      kind: "value",
      name: "uuid",
      attempt: 1,
      seq: 1,
      status: "succeeded",
    }),
    event(3, "custom", { name: "planned", data: { n: 1 } }),
  ]);
  const blocks = shown(view);
  expect(blocks.map((one) => one.type)).toEqual(["steps", "custom"]);
  expect(blocks[0]?.type === "steps" && blocks[0].steps[0]).toMatchObject({ state: "waiting" });
  expect(shown(view, true)[0]).toMatchObject({ steps: [{ state: "stopped" }] });
});

it("is unknown what became of a call that was cut off", () => {
  const view = all([
    completed(1, "m1", "model#1", [CALL]),
    event(2, "tool.started", {
      key: "model#1/0",
      kind: "tool",
      name: "refund",
      attempt: 1,
      effect_id: "e",
      effect_class: "unsafe",
    }),
    event(3, "effect.unknown", {
      key: "model#1/0/fate#1",
      kind: "interrupt",
      approval_id: "a",
      effect_id: "e",
      type: "effect",
    }),
  ]);
  const call = shown(view)[0];
  expect(call?.type === "call" && call.call).toMatchObject({
    state: "unknown",
    effect: { status: "unknown" },
  });
});

it("reads the same out of what is stored", () => {
  const message = (position: number, step_seq: number | null, role: string, parts: readonly object[]) =>
    ({
      id: role === "user" ? "msg_0" : step_seq === 4 ? "msg_1" : step_seq === 12 ? "msg_2" : "msg_t",
      run_id: RUN,
      thread_id: "thr_1",
      position,
      step_seq,
      role,
      parts,
      status: "complete",
      created_at: "2030-01-01T00:00:01.000Z",
    }) as never;
  const view = viewOfHistory(
    RUN,
    [
      message(2, 4, "assistant", [{ type: "text", text: "Let me do that." }, CALL]),
      message(3, 6, "tool", [
        { type: "tool_result", call_id: "c1", name: "refund", result: { refunded: true } },
      ]),
      message(4, 12, "assistant", [{ type: "text", text: "Done." }]),
    ],
    null,
  );
  const stored = blocksOf(view, true);
  const heard = blocksOf(all(JOURNAL), true);
  expect(stored.map((one) => [one.type, one.id])).toEqual(heard.map((one) => [one.type, one.id]));
  expect(stored[1]?.type === "call" && stored[1].call).toMatchObject({ state: "succeeded", seq: 6 });
});

it("puts what is heard behind what is stored until the events come from the beginning", () => {
  const stored = viewOfHistory(
    RUN,
    [
      {
        id: "msg_1",
        run_id: RUN,
        position: 2,
        step_seq: 4,
        role: "assistant",
        parts: [{ type: "text", text: "Earlier." }],
      },
    ] as never,
    null,
  );
  const heard = all([event(20, "run.retried", { voids: [] }), delta(3, "msg_2", "now")]);
  expect(heard).toMatchObject({ begun: false, status: "queued" });
  const blocks = shown(withHeard(stored, heard));
  expect(blocks.map((one) => one.type)).toEqual(["text", "note", "text"]);
  expect(blocks.map((one) => one.type === "text" && one.text)).toEqual(["Earlier.", false, "… now"]);
});
