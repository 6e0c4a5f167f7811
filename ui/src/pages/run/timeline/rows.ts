/** Which rows of a tree are shown, in order: what is open, what matches, and child runs below the steps that started them. */

import type { Steps } from "./steps";
import type { Span, Tree } from "./tree";

/** A run whose tree is shown: the run itself, or a child that was opened below its step. */
export interface Shown {
  readonly steps: Steps;
  readonly tree: Tree;
}

export interface SpanRow {
  readonly type: "span";
  readonly id: string;
  readonly span: Span;
  readonly steps: Steps;
  readonly depth: number;
  /** Times of a child run count from its own beginning; this is how much later that is. */
  readonly shift: number;
  readonly expandable: boolean;
  readonly expanded: boolean;
  /** It does not match itself; something below it does. */
  readonly aside: boolean;
}

export interface NoteRow {
  readonly type: "note";
  readonly id: string;
  readonly depth: number;
  readonly text: string;
}

export type Row = SpanRow | NoteRow;

export interface Choice {
  readonly isOpen: (id: string, span: Span) => boolean;
  readonly childRun: (runId: string) => Shown | string | undefined;
  readonly matches: ((span: Span) => boolean) | null;
}

/** Child runs within child runs end somewhere: a run may call its own agent. */
const NESTED_MAX = 12;

export function rowsOf(root: Shown, choice: Choice): readonly Row[] {
  const found: Row[] = [];
  const add = (shown: Shown, prefix: string, depth: number, shift: number, nested: number): void => {
    const kept = choice.matches === null ? null : keptOf(shown.tree, choice.matches);
    const walk = (spans: readonly Span[], level: number): void => {
      for (const span of spans) {
        const how = kept?.get(span);
        if (kept !== null && how === undefined) continue;
        const id = prefix + span.id;
        const isChild = span.childRunId !== null && nested < NESTED_MAX;
        const expandable = span.children.length > 0 || isChild;
        const expanded = expandable && choice.isOpen(id, span);
        found.push({
          type: "span",
          id,
          span,
          steps: shown.steps,
          depth: level,
          shift,
          expandable,
          expanded,
          aside: how === "aside",
        });
        if (!expanded) continue;
        walk(span.children, level + 1);
        if (isChild && span.childRunId !== null) {
          const below = choice.childRun(span.childRunId);
          if (below === undefined || typeof below === "string")
            found.push({
              type: "note",
              id: `${id}|note`,
              depth: level + 1,
              text: below ?? "Loading the child run…",
            });
          else {
            const later = below.steps.createdAt - root.steps.createdAt;
            add(below, `${id}|`, level + 1, later, nested + 1);
          }
        }
      }
    };
    walk(shown.tree.roots, depth);
  };
  add(root, "", 0, 0, 0);
  return found;
}

/** The spans that match, and those above them. */
function keptOf(tree: Tree, matches: (span: Span) => boolean): Map<Span, "match" | "aside"> {
  const kept = new Map<Span, "match" | "aside">();
  const walk = (spans: readonly Span[]): boolean => {
    let any = false;
    for (const span of spans) {
      const below = walk(span.children);
      const itself = span.at >= 0 && matches(span);
      if (itself || below) kept.set(span, itself ? "match" : "aside");
      any ||= itself || below;
    }
    return any;
  };
  walk(tree.roots);
  return kept;
}

/** Scopes of a long run begin closed: a page of gathers says more than the first 40 of 20,000 rows. */
const OPEN_STEPS_MAX = 600;

export function opensAtFirst(steps: number): (span: Span) => boolean {
  return steps <= OPEN_STEPS_MAX
    ? (span) => span.childRunId === null
    : (span) =>
        span.type === "step" && span.childRunId === null && span.children.length > 0 && span.steps < 50;
}

/** The ids of the rows above a step, so that it can be shown. Keys say it: each beginning of one is above. */
export function above(id: string): readonly string[] {
  const found: string[] = [];
  for (let at = id.indexOf("/"); at >= 0; at = id.indexOf("/", at + 1)) {
    const scope = id.slice(0, at);
    found.push(scope, `${scope}/`);
    const group = /^(.*g#\d+)\.\d+$/.exec(scope)?.[1];
    if (group !== undefined) found.push(`${group}/`);
  }
  return found;
}
