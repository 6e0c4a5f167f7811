import { describe, expect, it } from "vitest";
import { axisOf } from "./axis";
import { above, opensAtFirst, rowsOf } from "./rows";
import { answerOf, type Made } from "./sample";
import { extended, placeOf, stepsOf } from "./steps";
import { type Span, treeOf } from "./tree";

const shape = (spans: readonly Span[]): unknown =>
  spans.map((span) => (span.children.length === 0 ? span.id : [span.id, shape(span.children)]));

const everything = { isOpen: () => true, childRun: () => undefined, matches: null };
const shown = (made: readonly Made[], rest = {}) => {
  const steps = stepsOf(answerOf(made, rest));
  return { steps, tree: treeOf(steps) };
};

describe("the tree of steps", () => {
  it("puts a call below the answer that made it, though it came first", () => {
    const { tree } = shown([
      { key: "model#1", from: 0, to: 5 },
      { key: "model#1/0/leave#1", from: 6, to: 8 },
      { key: "model#1/0", from: 6, to: 9 },
      { key: "model#2", from: 9, to: 12 },
    ]);
    expect(shape(tree.roots)).toEqual([["model#1", [["model#1/0", ["model#1/0/leave#1"]]]], "model#2"]);
  });

  it("shows a branch of one step as that step, and others as scopes in the order of their numbers", () => {
    const { tree } = shown([
      { key: "g#1.1/a#1", from: 0, to: 3 },
      { key: "g#1.0/a#1", from: 1, to: 4 },
      { key: "g#1.0/g#1.0/b#1", from: 2, to: 4 },
      { key: "g#1.10/a#1", from: 0, to: 3 },
      { key: "g#1.2/a#1", from: 0, to: 3 },
    ]);
    expect(shape(tree.roots)).toEqual([
      [
        "g#1/",
        [
          ["g#1.0/", ["g#1.0/a#1", ["g#1.0/g#1/", ["g#1.0/g#1.0/b#1"]]]],
          "g#1.1/a#1",
          "g#1.2/a#1",
          "g#1.10/a#1",
        ],
      ],
    ]);
    expect(tree.roots[0]).toMatchObject({ steps: 5, from: 0, to: 4 });
    expect(tree.roots[0]?.children[1]).toMatchObject({ branch: 1, type: "step" });
  });

  it("sums tokens, costs and failures up", () => {
    const { tree } = shown([
      { key: "g#1.0/ask#1", kind: "model", from: 0, to: 3, tokens: 100, cost: 7 },
      { key: "g#1.1/ask#1", kind: "model", from: 0, to: 9, tokens: 50, cost: 3, status: "failed" },
    ]);
    expect(tree.roots[0]).toMatchObject({ tokens: 150, cost: 10, failed: 1, from: 0, to: 9 });
  });

  it("keeps every attempt, and what is below goes to the last one", () => {
    const { tree } = shown([
      { key: "a#1", from: 0, to: 1, status: "voided" },
      { key: "a#1", from: 5, to: 6, attempt: 2 },
    ]);
    expect(shape(tree.roots)).toEqual(["a#1", "a#1@2"]);
  });

  it("shows what is open, and what is at work, until it is recorded", () => {
    const open = [
      {
        key: "wait#1",
        kind: "event",
        name: "wait",
        attempt: 1,
        since: 4,
        child_run_id: null,
        approval_id: null,
      },
    ] as never;
    const steps = stepsOf(answerOf([{ key: "a#1", from: 0, to: 1 }], { open }));
    const tree = treeOf(steps, [
      { key: "a#1", kind: "code", name: "a", since: 0 },
      { key: "b#1", kind: "code", name: "b", since: 2 },
    ]);
    expect(shape(tree.roots)).toEqual(["a#1", "b#1", "wait#1"]);
    expect(tree.roots[2]).toMatchObject({ type: "open", to: null, seq: null });
  });
});

describe("rows", () => {
  const root = shown([
    { key: "call#1", kind: "child", from: 0, to: 9, child: "run_b" },
    { key: "a#1", from: 9, to: 10 },
  ]);
  const child = shown([{ key: "a#1", from: 0, to: 5 }], { created_at: "2030-01-01T00:00:00.002Z" });

  it("nests a child run below its step, at its own time", () => {
    const rows = rowsOf(root, { ...everything, childRun: () => child });
    expect(rows.map((row) => [row.id, row.depth])).toEqual([
      ["call#1", 0],
      ["call#1|a#1", 1],
      ["a#1", 0],
    ]);
    expect(rows[1]).toMatchObject({ shift: 2, steps: child.steps });
  });

  it("says that a child run is on its way, or why not", () => {
    expect(rowsOf(root, everything)[1]).toMatchObject({ type: "note", depth: 1 });
    expect(rowsOf(root, { ...everything, childRun: () => "gone" })[1]).toMatchObject({ text: "gone" });
  });

  it("keeps what is above a match", () => {
    const found = shown([
      { key: "model#1", kind: "model", from: 0, to: 1 },
      { key: "model#1/0", kind: "tool", from: 1, to: 2 },
      { key: "model#2", kind: "model", from: 2, to: 3 },
    ]);
    const rows = rowsOf(found, { ...everything, matches: (span) => span.kind === "tool" });
    expect(rows.map((row) => [row.id, row.type === "span" && row.aside])).toEqual([
      ["model#1", true],
      ["model#1/0", false],
    ]);
  });

  it("knows what has to be open for a step to be seen", () => {
    expect(above("g#1.7/model#2/0")).toEqual(["g#1.7", "g#1.7/", "g#1/", "g#1.7/model#2", "g#1.7/model#2/"]);
  });
});

describe("what comes later", () => {
  it("is added behind what is there, once", () => {
    const first = stepsOf(answerOf([{ key: "a#1", from: 0, to: 1 }]));
    const later = answerOf(
      [
        { key: "a#1", from: 0, to: 1 },
        { key: "b#1", from: 1, to: 2 },
      ],
      { waits: [{ from: 2, to: null, type: "timer", key: null, others: 0 }] },
    );
    const both = extended(first, later);
    expect(both.key).toEqual(["a#1", "b#1"]);
    expect(placeOf(both, 2)).toBe(1);
    const ended = extended(
      both,
      answerOf([], { last: 2, waits: [{ from: 2, to: 9, type: "timer", key: null, others: 0 }] }),
    );
    expect(ended.waits).toEqual([{ from: 2, to: 9, type: "timer", key: null, others: 0 }]);
    expect(ended.last).toBe(2);
  });
});

it("lays out 20,000 steps with a few visits for each", () => {
  const made: Made[] = [];
  for (let group = 1; made.length < 20_000; group += 1)
    for (let branch = 0; branch < 40; branch += 1) {
      const scope = `g#${group}.${branch}`;
      const at = made.length;
      made.push({ key: `${scope}/fetch#1`, from: at, to: at + 4 });
      made.push({ key: `${scope}/look_up#1`, kind: "tool", from: at + 1, to: at + 5 });
      made.push({ key: `${scope}/g#1.0/score#1`, from: at + 2, to: at + 6 });
      made.push({ key: `${scope}/g#1.1/score#1`, from: at + 2, to: at + 6 });
    }
  const found = shown(made);
  expect(found.tree.visits).toBeLessThan(made.length * 5);
  const rows = rowsOf(found, everything);
  expect(rows.length).toBe(made.length + 500 / 4 + 5_000 + 5_000);
  const closed = rowsOf(found, { ...everything, isOpen: (_, span) => opensAtFirst(made.length)(span) });
  expect(closed.length).toBe(125);
  const axis = axisOf(0, found.steps.to.at(-1) ?? 0, found.steps, []);
  expect(axis.gaps).toEqual([]);
});
