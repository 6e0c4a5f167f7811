import { describe, expect, it } from "vitest";
import { Problem } from "~/api/problem";
import type { Effect } from "~/api/types";
import { attentionFirst, gist, refusal, took } from "./words";

const effect = (id: string, over: Partial<Effect> = {}): Effect =>
  ({ id, status: "committed", arguments: {}, started_at: null, ended_at: null, ...over }) as Effect;

describe("attentionFirst", () => {
  it("puts the unknown first, and each once", () => {
    const unknown = [effect("a", { status: "unknown" })];
    const all = [effect("b"), effect("a", { status: "unknown" }), effect("c")];
    expect(attentionFirst(unknown, all).map((one) => one.id)).toEqual(["a", "b", "c"]);
  });

  it("leaves one that is known by now where it is", () => {
    expect(attentionFirst([effect("a")], [effect("b"), effect("a")]).map((one) => one.id)).toEqual([
      "b",
      "a",
    ]);
  });
});

it("tells the arguments in a line", () => {
  expect(gist(effect("a", { arguments: { order: 7, to: { a: 1 } } }))).toBe('order 7 · to {"a":1}');
  expect(gist(effect("a"))).toBe("without arguments");
});

it("tells how long it took once it is over", () => {
  expect(took(effect("a", { started_at: "2026-01-01T00:00:00Z" }))).toBeNull();
  expect(took(effect("a", { started_at: "2026-01-01T00:00:00Z", ended_at: "2026-01-01T00:00:02Z" }))).toBe(
    "2.0 s",
  );
});

it("names who was faster", () => {
  const late = new Problem(409, {
    code: "already_resolved",
    detail: "It is.",
    decision: { name: "Ann", note: "seen" },
  });
  expect(refusal(late)).toEqual({ title: "Ann said so before you", text: "“seen”" });
});
