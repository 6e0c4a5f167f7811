import { expect, it } from "vitest";
import type { Diff, Message, RunState } from "~/api/types";
import { differsIn, measuresOf, messagesBehind } from "./differing";

const usage = { requests: 2, input_tokens: 10, output_tokens: 5, cost_micros: 0, priced: false };
const diff = {
  this: { at: 5, usage, elapsed_ms: 62 },
  other: { at: 3, usage: { ...usage, input_tokens: 1_010 }, elapsed_ms: 62 },
  tokens_difference: 1_000,
  cost_micros_difference: 0,
  elapsed_ms_difference: 0,
} as unknown as Diff;

it("measures with signs, and does not call an unknown cost equal", () => {
  expect(measuresOf(diff).map(({ name, one, two, more }) => [name, one, two, more])).toEqual([
    ["Steps", "5", "3", "−2"],
    ["Model calls", "2", "2", "the same"],
    ["Tokens", "15", "1,015", "+1,000"],
    ["Cost", "unpriced", "unpriced", "unknown"],
    ["Time", "62 ms", "62 ms", "the same"],
  ]);
});

it("says in words what differs", () => {
  expect(differsIn(["output"], "interrupt")).toBe("Another answer.");
  expect(differsIn(["output", "prompt"], "tool")).toBe("Another result, the model was asked something else.");
});

it("finds the messages behind those that are the same", () => {
  const data = [3, 4, 5].map((position) => ({ position }) as Message);
  const talk = { data, total: 5, earlier: 3 } as unknown as RunState["messages"];
  expect(messagesBehind(talk, 3).messages.map((m) => m.position)).toEqual([4, 5]);
  expect(messagesBehind(talk, 1)).toEqual({ messages: data, missing: 1 });
  expect(messagesBehind(talk, 5).messages).toEqual([]);
  expect(messagesBehind(null, 0).messages).toEqual([]);
});
