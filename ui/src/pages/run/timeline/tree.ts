/**
 * The steps of a run as a tree, by the scopes in their keys: `model#2/0` lies below `model#2`, `g#3.7/fetch#1` in branch 7
 * of the third gather. Pure, and linear in the number of steps; `visits` counts the work so that a test can say so.
 */

import type { Steps } from "./steps";

export type SpanType = "step" | "open" | "group" | "branch";

export interface Span {
  readonly id: string;
  readonly type: SpanType;
  /** The place in the steps, or in what is open; -1 for a scope. */
  readonly at: number;
  seq: number | null;
  readonly key: string;
  readonly kind: string;
  readonly name: string;
  readonly status: string;
  /** Of a gather or a branch: its number; of a step that is all of its branch, the branch's. */
  branch: number | null;
  readonly childRunId: string | null;
  approvalId: string | null;
  /** `to` is null while it is open. Of a scope: of all below. */
  from: number;
  to: number | null;
  children: Span[];
  /** Sums over this and all below. */
  steps: number;
  failed: number;
  tokens: number;
  cost: number;
}

export interface Tree {
  readonly roots: readonly Span[];
  readonly size: number;
  readonly visits: number;
}

/** A step that is known to be at work though nothing of it is recorded yet. */
export interface Flight {
  readonly key: string;
  readonly kind: string;
  readonly name: string;
  readonly since: number;
}

const BRANCH = /^g#(\d+)\.(\d+)$/;

export function treeOf(steps: Steps, flights: readonly Flight[] = []): Tree {
  const builder = new Builder();
  for (let at = 0; at < steps.seq.length; at += 1) builder.add(stepSpan(steps, at));
  const keys = builder.byKey;
  steps.open.forEach((_, at) => {
    const span = openSpan(steps, at);
    const known = keys.get(span.key);
    if (known === undefined || known.type === "open" || known.status === "voided") builder.add(span);
  });
  for (const flight of flights) if (!keys.has(flight.key)) builder.add(flightSpan(flight));
  return builder.built();
}

class Builder {
  readonly byKey = new Map<string, Span>();
  private readonly all: Span[] = [];
  private readonly scopes = new Map<string, Span>();
  private readonly above = new Map<string, Span | null>();
  private readonly roots: Span[] = [];
  private visits = 0;

  add(span: Span): void {
    this.all.push(span);
    this.byKey.set(span.key, span);
  }

  built(): Tree {
    for (const span of this.all) this.place(span, this.over(span.key));
    const roots = this.folded(this.roots);
    return { roots, size: this.all.length, visits: this.visits };
  }

  private place(span: Span, parent: Span | null): void {
    this.visits += 1;
    if (parent === null) this.roots.push(span);
    else if (parent.children === NONE) parent.children = [span];
    else parent.children.push(span);
  }

  /** What a key lies below: the nearest scope or step that one of its beginnings names. */
  private over(key: string): Span | null {
    const slash = key.lastIndexOf("/");
    if (slash < 0) return null;
    const scope = key.slice(0, slash);
    const known = this.above.get(scope);
    if (known !== undefined) return known;
    this.visits += 1;
    const last = scope.lastIndexOf("/") + 1;
    const branch = scope.startsWith("g#", last) ? BRANCH.exec(scope.slice(last)) : null;
    const found = branch ? this.branch(scope, branch) : (this.byKey.get(scope) ?? this.over(scope));
    this.above.set(scope, found);
    return found;
  }

  private branch(scope: string, [segment, group = "", number = ""]: RegExpExecArray): Span {
    const base = scope.slice(0, scope.length - segment.length);
    const groupKey = `${base}g#${group}`;
    let gather = this.scopes.get(groupKey);
    if (gather === undefined) {
      gather = scopeSpan(groupKey, "group", Number(group));
      this.scopes.set(groupKey, gather);
      this.place(gather, this.over(groupKey));
    }
    const made = scopeSpan(scope, "branch", Number(number));
    this.place(made, gather);
    return made;
  }

  /** Children in order, branches of one step as that step, and sums, from the leaves up. */
  private folded(spans: Span[]): Span[] {
    for (let at = 0; at < spans.length; at += 1) {
      const span = spans[at] as Span;
      this.visits += 1;
      if (span.children.length > 0) span.children = this.folded(span.children);
      const only = span.children[0];
      if (span.type === "branch" && span.children.length === 1 && only?.at !== undefined && only.at >= 0) {
        only.branch = span.branch;
        spans[at] = only;
      } else sumUp(span);
    }
    return ordered(spans);
  }
}

function ordered(spans: Span[]): Span[] {
  const before = (a: Span, b: Span): number =>
    a.branch !== null && b.branch !== null && a.type !== "group" && b.type !== "group"
      ? a.branch - b.branch
      : a.from - b.from || (a.seq ?? Number.MAX_SAFE_INTEGER) - (b.seq ?? Number.MAX_SAFE_INTEGER);
  for (let at = 1; at < spans.length; at += 1)
    if (before(spans[at - 1] as Span, spans[at] as Span) > 0) return spans.sort(before);
  return spans;
}

function sumUp(span: Span): void {
  const scope = span.at < 0;
  for (const child of span.children) {
    span.steps += child.steps;
    span.failed += child.failed;
    span.tokens += child.tokens;
    span.cost += child.cost;
    if (scope) {
      span.from = Math.min(span.from, child.from);
      span.to = span.to === null || child.to === null ? null : Math.max(span.to, child.to);
    }
  }
}

function stepSpan(steps: Steps, at: number): Span {
  const attempt = steps.attempt[at] ?? 1;
  const key = steps.key[at] as string;
  const made = span(
    attempt === 1 ? key : `${key}@${attempt}`,
    "step",
    at,
    key,
    steps.kind[at] as string,
    steps.name[at] as string,
    steps.outcome[at] as string,
    steps.from[at] as number,
    steps.to[at] as number,
    steps.child[at] ?? null,
  );
  made.seq = steps.seq[at] as number;
  made.steps = 1;
  made.failed = made.status === "failed" ? 1 : 0;
  made.tokens = (steps.tokensIn[at] ?? 0) + (steps.tokensOut[at] ?? 0);
  made.cost = steps.cost[at] ?? 0;
  return made;
}

function openSpan(steps: Steps, at: number): Span {
  const { key, kind, name, since, attempt, child_run_id, approval_id } = steps.open[
    at
  ] as Steps["open"][number];
  const id = attempt === 1 ? key : `${key}@${attempt}`;
  const made = span(id, "open", at, key, kind, name, "running", since, null, child_run_id);
  made.approvalId = approval_id;
  return made;
}

/** Its place is behind all others: it is not in the steps, nor in what is recorded as open. */
const flightSpan = ({ key, kind, name, since }: Flight): Span =>
  span(key, "open", Number.MAX_SAFE_INTEGER, key, kind, name, "running", since, null, null);

function scopeSpan(key: string, type: "group" | "branch", number: number): Span {
  const [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const made = span(`${key}/`, type, -1, key, "", "", "", from, to, null);
  made.branch = number;
  return made;
}

const NONE: Span[] = [];

/** All spans are made here, so that all have one shape: 30,000 of them are made and walked in a few milliseconds. */
function span(
  id: string,
  type: SpanType,
  at: number,
  key: string,
  kind: string,
  name: string,
  status: string,
  from: number,
  to: number | null,
  childRunId: string | null,
): Span {
  return {
    id,
    type,
    at,
    seq: null,
    key,
    kind,
    name,
    status,
    branch: null,
    childRunId,
    approvalId: null,
    from,
    to,
    children: NONE,
    steps: 0,
    failed: 0,
    tokens: 0,
    cost: 0,
  };
}
