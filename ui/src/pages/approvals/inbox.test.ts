import { QueryClient } from "@tanstack/react-query";
import { describe, expect, it } from "vitest";
import { Problem } from "~/api/problem";
import type { Me } from "~/api/session";
import type { Approval, ApprovalRow } from "~/api/types";
import { bulkItems, isOpen } from "./bulk";
import { caughtUp, EMPTY, editedArguments, isDirty, isOutdated, typed } from "./draft";
import { inboxQuery, neighbour, replaced, settle, span } from "./inbox";
import { withNote, wordOf } from "./word";
import { decidedLine, firstArguments, gist, refusal, timeLeft, whenOver } from "./words";

const me = {
  principal: { id: "pri_me", name: "Ann", kind: "user" },
  scopes: ["*"],
  roles: [],
} as unknown as Me;

const row = (id: string, over: Partial<ApprovalRow> = {}): ApprovalRow =>
  ({
    id,
    type: "tool",
    status: "pending",
    version: 1,
    agent: "support",
    tool: "refund",
    arguments: { amount: "10", order: 7 },
    may_decide: [],
    quorum: 1,
    four_eyes: false,
    requested_by: "pri_x",
    schema: { type: "object", properties: { order: { type: "integer" }, amount: { type: "string" } } },
    decisions: [],
    expires_at: null,
    on_expiry: "reject",
    default: null,
    ...over,
  }) as ApprovalRow;

const decision = (over: object) =>
  ({
    principal: "pri_b",
    name: "Bob",
    decision: "approve",
    arguments: null,
    note: null,
    void: false,
    at: "",
    ...over,
  }) as ApprovalRow["decisions"][number];

describe("the list", () => {
  it("asks for the oldest open, and for the newest decided", () => {
    expect(inboxQuery({})).toEqual({ status: ["pending"], order: "asc" });
    expect(inboxQuery({ view: "decided", age: "day", run: "run_1", agent: "a", tool: "t" })).toMatchObject({
      by: "resolved",
      order: "desc",
      older_than: 86_400,
      run_id: "run_1",
      agent: "a",
      tool: "t",
    });
  });

  it("goes to the one behind, at the end to the one before", () => {
    const rows = [row("a"), row("b"), row("c")];
    expect(neighbour(rows, "b")?.id).toBe("c");
    expect(neighbour(rows, "c")?.id).toBe("b");
    expect(neighbour([row("a")], "a")).toBeNull();
    expect(neighbour(rows, "gone")?.id).toBe("a");
  });

  it("selects spans in both directions", () => {
    const rows = [row("a"), row("b"), row("c")];
    expect(span(rows, "c", "a")).toEqual(["a", "b", "c"]);
    expect(span(rows, null, "b")).toEqual(["b"]);
    expect(span(rows, "gone", "b")).toEqual(["b"]);
    expect(span(rows, "a", "gone")).toEqual([]);
  });

  it("drops a decided one from the open, and keeps it where it is asked for", () => {
    const found = { pages: [{ data: [row("a"), row("b")], next_cursor: null }], pageParams: [null] };
    const after = row("a", { status: "approved" });
    expect(replaced(found, { status: ["pending"] }, after).pages[0]?.data.map((one) => one.id)).toEqual([
      "b",
    ]);
    expect(replaced(found, {}, after).pages[0]?.data[0]?.status).toBe("approved");
  });
});

describe("a draft", () => {
  it("is for the version at which it was begun", () => {
    const draft = typed(EMPTY, row("a"), { note: "hm" });
    expect(isDirty(draft)).toBe(true);
    expect(isOutdated(draft, { version: 1 })).toBe(false);
    expect(isOutdated(draft, { version: 2 })).toBe(true);
    expect(isOutdated(caughtUp(draft, row("a", { version: 2 })), { version: 2 })).toBe(false);
  });

  it("is none any more when all is taken back", () => {
    expect(typed(typed(EMPTY, row("a"), { note: "x" }), row("a"), { note: "" })).toBe(EMPTY);
  });

  it("changes arguments only if they differ", () => {
    const asked = row("a");
    expect(
      editedArguments(typed(EMPTY, asked, { arguments: { order: 7, amount: "10" } }), asked),
    ).toBeUndefined();
    const other = { order: 7, amount: "9" };
    expect(editedArguments(typed(EMPTY, asked, { arguments: other }), asked)).toEqual(other);
  });
});

describe("words", () => {
  it("name arguments in the order of their schema", () => {
    expect(gist(row("a"))).toBe("order 7 · amount 10");
  });

  it("tell the time that is left by the server's clock", () => {
    const asked = row("a", { expires_at: "2026-01-01T01:00:00Z" });
    const at = (time: string) => timeLeft(asked, Date.parse(time));
    expect(at("2026-01-01T00:30:00Z")).toEqual({ text: "30 min left", soon: true, over: false });
    expect(at("2025-12-31T00:00:00Z")?.soon).toBe(false);
    expect(at("2026-01-01T01:00:00Z")?.over).toBe(true);
    expect(timeLeft(row("a", { type: "effect", expires_at: "2026-01-01T01:00:00Z" }), 0)).toBeNull();
  });

  it("tell what happens when it is over", () => {
    expect(whenOver(row("a", { on_expiry: "default", default: "no" }))).toBe("the answer is no");
    expect(whenOver(row("a", { on_expiry: "approve" }))).toContain("approved");
  });

  it("tell who decided", () => {
    const decided = row("a", { status: "approved", decisions: [decision({ note: "fine", arguments: {} })] });
    expect(decidedLine(decided)).toBe("by Bob · arguments changed · “fine”");
    expect(decidedLine(row("a", { status: "expired" }))).toBe("nobody answered in time");
  });

  it("find what the model had asked for", () => {
    const call = (name: string, args: object) => ({
      type: "tool_call",
      call_id: null,
      name,
      arguments: args,
    });
    const asked = {
      ...row("a", { step: "model#2/1/leave#1" } as Partial<ApprovalRow>),
      context: [
        {
          role: "assistant",
          parts: [{ type: "text", text: "" }, call("other", {}), call("refund", { order: 8 })],
        },
      ],
    } as unknown as Approval;
    expect(firstArguments(asked)).toEqual({ order: 8 });
    expect(firstArguments({ ...asked, step: "model#2/1@2/leave#1" })).toEqual({ order: 8 });
    expect(firstArguments({ ...asked, step: "refund#1/leave#1" })).toBeNull();
    expect(firstArguments({ ...asked, tool: "else" })).toBeNull();
    expect(firstArguments({ ...asked, context: [] })).toBeNull();
  });

  it("say who was faster", () => {
    const late = new Problem(409, { code: "already_resolved", decision: decision({ decision: "reject" }) });
    expect(refusal(late, me).title).toBe("Bob rejected this before you");
    expect(refusal(new Problem(409, { code: "version_conflict" }), me).text).toContain(
      "What you typed is kept",
    );
    expect(refusal(new Problem(403, { code: "four_eyes", detail: "why" }), me)).toMatchObject({
      text: "why",
    });
  });
});

it("leaves out of a bulk what needs an answer", () => {
  const rows = [row("a"), row("b", { type: "input" }), row("c", { type: "effect" })];
  expect(
    bulkItems(rows, "approve", me)
      .filter(isOpen)
      .map((one) => one.row.id),
  ).toEqual(["a"]);
  expect(
    bulkItems(rows, "reject", me)
      .filter(isOpen)
      .map((one) => one.row.id),
  ).toEqual(["a", "b"]);
});

it("leaves out of a bulk what one may not decide, and says why", () => {
  const mine = row("a", { four_eyes: true, requested_by: "pri_me" });
  expect(bulkItems([mine], "approve", me)[0]).toMatchObject({ state: "skipped" });
  expect(bulkItems([mine], "reject", me)[0]).toMatchObject({ state: "waiting" });
  const reader = { ...me, scopes: ["approvals:read"] } as Me;
  expect(bulkItems([row("b")], "reject", reader)[0]?.said).toContain("approvals:write");
});

describe("a word", () => {
  const asked = row("a") as Approval;

  it("has the arguments only where they are changed", () => {
    expect(wordOf(asked, EMPTY, true)).toEqual({ word: { decision: "approve" }, lacks: null });
    const draft = typed(EMPTY, asked, { arguments: { order: 7, amount: "9" } });
    expect(wordOf(asked, draft, true).word).toEqual({ decision: "approve", arguments: draft.arguments });
    expect(wordOf(asked, draft, false).lacks).toContain("does not fit");
  });

  it("says what it lacks", () => {
    const question = row("q", { type: "input", choices: [null, "red"] }) as Approval;
    expect(wordOf(question, EMPTY, true).lacks).toBe("Choose one of the answers.");
    expect(wordOf(question, { ...EMPTY, answer: null }, true).word).toEqual({
      decision: "answer",
      answer: null,
    });
    const effect = row("e", { type: "effect" }) as Approval;
    expect(wordOf(effect, EMPTY, true).lacks).toBe("Say whether it happened.");
    expect(wordOf(effect, { ...EMPTY, outcome: "not_done" }, true).word).toEqual({
      decision: "answer",
      answer: { outcome: "not_done" },
    });
  });

  it("is for the version that was seen", () => {
    const draft = typed(EMPTY, asked, { note: " hm " });
    expect(withNote({ decision: "reject" }, asked, draft)).toEqual({
      decision: "reject",
      version: 1,
      note: "hm",
    });
  });
});

it("settles many at once as it settles one", () => {
  const found = { pages: [{ data: [row("a"), row("b"), row("c")], next_cursor: null }], pageParams: [null] };
  const cache = new QueryClient();
  const key = ["approvals", { status: ["pending"] }];
  cache.setQueryData(key, found);
  settle(cache, row("a", { status: "approved" }) as Approval, row("c", { status: "rejected" }) as Approval);
  expect(cache.getQueryData<typeof found>(key)?.pages[0]?.data.map((one) => one.id)).toEqual(["b"]);
});
