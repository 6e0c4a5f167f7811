/** What a waterfall shows: the tree of a run and of the child runs opened below it, its rows, and the axis over them. */

import { useQueries, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useState } from "react";
import { live } from "~/api/live";
import { messageOf } from "~/api/problem";
import { ENDED, type RunStatus } from "~/api/types";
import { type Axis, axisOf } from "./axis";
import { above, opensAtFirst, type Row, rowsOf, type Shown, type SpanRow } from "./rows";
import type { Steps } from "./steps";
import { type Flight, type Span, treeOf } from "./tree";
import { timelineKey, timelineOptions } from "./useTimeline";

export interface Waterfall {
  readonly rows: readonly Row[];
  readonly axis: Axis;
  readonly tree: Shown;
  readonly toggle: (row: SpanRow, open: boolean) => void;
  /** Open all of these, so that what is below them can be seen. */
  readonly reveal: (ids: readonly string[]) => void;
  /** Open the step that started a child run, and what is above it. */
  readonly showChild: (childRunId: string) => void;
  readonly openAll: (open: boolean) => void;
}

/** These wait rather than work: time in which nothing else is done may be folded away. */
const WAITS: ReadonlySet<string> = new Set(["sleep", "event", "interrupt", "child"]);
/** A parent that waits for a child for so long is not idle: the child works. Beyond, it waits as well. */
const CHILD_AT_WORK_MS = 600_000;
/** How often a child run that is under way is looked at again. */
const CHILD_MS = 1_500;
/** Hints come in bursts. */
const GATHER_MS = 500;
const NO_CHOICES: ReadonlyMap<string, boolean> = new Map();

export function useWaterfall(
  steps: Steps,
  flights: readonly Flight[],
  end: number,
  matches: ((span: Span) => boolean) | null,
): Waterfall {
  const [choices, setChoices] = useState(NO_CHOICES);
  const [nested, setNested] = useState<readonly string[]>([]);
  const tree = useMemo((): Shown => ({ steps, tree: treeOf(steps, flights) }), [steps, flights]);
  const opens = useMemo(() => opensAtFirst(steps.seq.length), [steps.seq.length]);
  const isOpen = useCallback(
    (id: string, span: Span): boolean =>
      choices.get(id) ?? (span.childRunId === null && (matches !== null || opens(span))),
    [choices, matches, opens],
  );
  const children = useChildren(nested, !ENDED.has(steps.status as RunStatus));
  const rows = useMemo(
    () => rowsOf(tree, { isOpen, childRun: (id) => children.get(id), matches }),
    [tree, isOpen, children, matches],
  );
  const axis = useMemo(() => axisOver(steps, children, end), [steps, children, end]);
  const toggle = useCallback((row: SpanRow, wanted: boolean) => {
    setChoices((known) => new Map(known).set(row.id, wanted));
    const child = row.span.childRunId;
    if (wanted && child !== null) setNested((known) => (known.includes(child) ? known : [...known, child]));
  }, []);
  const reveal = useCallback((ids: readonly string[]) => {
    setChoices((known) => new Map([...known, ...ids.map((id) => [id, true] as const)]));
  }, []);
  const showChild = useCallback(
    (childRunId: string) => {
      const at = steps.child.indexOf(childRunId);
      const key = at < 0 ? steps.open.find((one) => one.child_run_id === childRunId)?.key : steps.key[at];
      if (key === undefined) return;
      const attempt = steps.attempt[at] ?? 1;
      const id = attempt === 1 ? key : `${key}@${attempt}`;
      reveal([...above(id), id]);
      setNested((known) => (known.includes(childRunId) ? known : [...known, childRunId]));
    },
    [steps, reveal],
  );
  const openAll = useCallback(
    (wanted: boolean) => {
      const found = new Map<string, boolean>();
      const walk = (spans: readonly Span[]): void => {
        for (const span of spans) {
          if (span.children.length === 0) continue;
          found.set(span.id, wanted);
          walk(span.children);
        }
      };
      walk(tree.tree.roots);
      setChoices(found);
    },
    [tree],
  );
  return { rows, axis, tree, toggle, reveal, showChild, openAll };
}

type Children = ReadonlyMap<string, Shown | string>;

/** The timelines of child runs that were opened: as trees, or why there is none. */
function useChildren(ids: readonly string[], parentLives: boolean): Children {
  const cache = useQueryClient();
  const found = useQueries({
    queries: ids.map((id) => ({
      ...timelineOptions(id),
      // One that is not there yet is started in a moment by the run that calls it.
      refetchInterval: ({ state }: { state: { data: Steps | undefined; error: unknown } }) =>
        state.data === undefined
          ? parentLives && state.error !== null && CHILD_MS
          : !ENDED.has(state.data.status as RunStatus) && CHILD_MS,
    })),
  });
  useEffect(() => {
    // One that was read before, or has ended, may have gone on since: retried, or with an effect that was looked up.
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stale = new Set(ids.filter((id) => cache.getQueryData(timelineKey(id)) !== undefined));
    const readOn = (): void => {
      timer = undefined;
      for (const id of stale) void cache.fetchQuery({ ...timelineOptions(id), staleTime: 0 }).catch(() => {}); // its row says why
      stale.clear();
    };
    readOn();
    const stop = live.onChange(({ kind, id }) => {
      for (const one of ids) if (kind === "effect" || (kind === "run" && id === one)) stale.add(one);
      if (stale.size > 0) timer ??= setTimeout(readOn, GATHER_MS);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [cache, ids]);
  const version = found.map((one) => `${one.dataUpdatedAt}${one.status}`).join();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the version says when one of them changed
  return useMemo(() => {
    const made = new Map<string, Shown | string>();
    ids.forEach((id, at) => {
      const one = found[at];
      if (one?.data !== undefined) made.set(id, { steps: one.data, tree: treeOf(one.data) });
      else if (one?.error) made.set(id, `The child run could not be loaded: ${messageOf(one.error)}`);
    });
    return made;
  }, [ids, version]);
}

/** The time of the run and of all that is shown below it; what any of them works at is not folded away. */
function axisOver(steps: Steps, children: Children, end: number): Axis {
  const from: number[] = [];
  const to: number[] = [];
  let first = 0;
  let last = end;
  const add = (one: Steps, shift: number): void => {
    for (let at = 0; at < one.seq.length; at += 1) {
      const began = (one.from[at] as number) + shift;
      const ended = (one.to[at] as number) + shift;
      first = Math.min(first, began);
      last = Math.max(last, ended);
      const kind = one.kind[at] as string;
      if (WAITS.has(kind) && (kind !== "child" || ended - began > CHILD_AT_WORK_MS)) continue;
      from.push(began);
      to.push(ended);
    }
  };
  add(steps, 0);
  if (steps.status === "running") {
    // What is under way is not recorded yet: a model may be thinking for a minute.
    const waited = steps.waits.reduce((most, wait) => Math.max(most, wait.to ?? most), 0);
    from.push(Math.min(end, Math.max(waited, ...to.slice(-200))));
    to.push(end);
  }
  for (const child of children.values())
    if (typeof child !== "string") add(child.steps, child.steps.createdAt - steps.createdAt);
  return axisOf(first, last, { from, to }, steps.waits, steps.inheritedTo > 0);
}
