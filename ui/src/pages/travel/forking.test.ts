import { expect, it } from "vitest";
import {
  asSent,
  bodyOf,
  changesAt,
  type Draft,
  defaultPolicy,
  keptBy,
  messageOf,
  NO_LIMITS,
  outputOf,
  placeOf,
  said,
} from "./forking";

const draft = (change: Partial<Draft>): Draft => ({
  at: 2,
  change: "output",
  value: "x",
  instructions: "",
  model: "",
  policy: defaultPolicy(false),
  tags: "",
  limits: NO_LIMITS,
  ...change,
});

it("offers what a step can have", () => {
  const of = (kind: string, status = "succeeded", name = "n") => changesAt(3, { kind, status, name });
  expect(changesAt(0, undefined)).toEqual(["message", "nothing"]);
  expect(of("model")[0]).toBe("output");
  expect(of("model")).toContain("model");
  expect(of("tool")).not.toContain("model");
  expect(of("interrupt")[0]).toBe("answer");
  expect(of("interrupt", "succeeded", "leave")).toEqual(["nothing"]);
  expect(of("sleep")).toEqual(["nothing", "rerun"]);
  expect(of("tool", "voided")).not.toContain("output");
});

it("says what is kept", () => {
  expect(keptBy(3, "output")).toBe(3);
  expect(keptBy(3, "rerun")).toBe(2);
  expect(said(2, "output", 5)).toBe(
    "Keeps 2 of 5 steps, the last of them as you write it; what comes after happens again.",
  );
  expect(said(1, "model", 5)).toBe("Keeps no step: all of it happens again.");
  expect(said(1, "output", 1)).toBe("Keeps the only step, as you write it; what comes after happens again.");
  expect(said(5, "nothing", 5)).toBe("Keeps all 5 steps; what comes after happens again.");
});

it("asks for what differs from the defaults only", () => {
  expect(bodyOf(draft({}), false)).toEqual({ at: 2, edits: { output: "x" } });
  expect(bodyOf(draft({ change: "nothing" }), false)).toEqual({ at: 2 });
  expect(bodyOf(draft({ change: "rerun" }), false)).toEqual({ at: 2, rerun: true });
  expect(bodyOf(draft({ change: "model", model: " a:b ", value: 1 }), false)).toEqual({
    at: 2,
    edits: { model: "a:b" },
  });
  expect(
    bodyOf(
      draft({
        at: 0,
        change: "message",
        value: "hi",
        instructions: "Be short.",
        tags: " a, ,b",
        limits: { ...NO_LIMITS, cost: "0.5", steps_max: "9" },
        policy: { repeat: "deny", fresh: "deny", reads: "reuse" },
      }),
      false,
    ),
  ).toEqual({
    at: 0,
    edits: { message: "hi", instructions: "Be short." },
    effects: { repeat: "deny", new: "deny", reads: "reuse" },
    tags: ["a", "b"],
    limits: { steps_max: 9, cost_micros_max: 500_000 },
  });
});

it("reads what a step came to as the API takes it back", () => {
  const parts = [
    { type: "thinking", text: "hm" },
    { type: "text", text: "Hello" },
    { type: "tool_call", name: "t", arguments: { a: 1 }, call_id: "c" },
  ];
  const answer = { text: "Hello", tool_calls: [{ tool: "t", args: { a: 1 } }] };
  expect(outputOf({ kind: "model", output: { parts } })).toEqual(answer);
  expect(asSent(answer)).toEqual(answer);
  expect(asSent({ text: "Hello", tool_calls: [] })).toBe("Hello");
  expect(outputOf({ kind: "tool", output: { call_id: "c", tool: "t", index: 0, result: 7 } })).toBe(7);
  expect(outputOf({ kind: "tool", output: { result: 7 } })).toEqual({ result: 7 });
  expect(outputOf({ kind: "code", output: [1] })).toEqual([1]);
  expect(messageOf({ input: [{ type: "text", text: "hi" }] })).toBe("hi");
  expect(messageOf({ input: { a: 1 } })).toEqual({ a: 1 });
});

it("puts an error beside its field", () => {
  expect(placeOf("invalid_at", undefined)).toBe("at");
  expect(placeOf("invalid_request", ["body", "limits", "steps_max"])).toBe("limits");
  expect(placeOf("invalid_request", ["body", "edits", "instructions"])).toBe("instructions");
  expect(placeOf("edit_not_possible", ["body", "edits", "model"])).toBe("model");
  expect(placeOf("edit_not_possible", ["body", "edits"])).toBe("edit");
  expect(placeOf("invalid_answer", ["amount"])).toBe("edit");
  expect(placeOf("agent_disabled", undefined)).toBe("form");
});
