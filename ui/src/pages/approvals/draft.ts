/**
 * What somebody typed for a question and has not sent. It is kept while they look at others, and when the question
 * changes under them: then they are told, and decide what to do with it.
 */

import { useCallback, useSyncExternalStore } from "react";
import type { ApprovalRow } from "~/api/types";
import { same } from "~/design/schema";

export type Outcome = "committed" | "not_done";

export interface Draft {
  /** The version of the question that it was written for; null until something was typed. */
  readonly version: number | null;
  /** The arguments of that version. */
  readonly base: unknown;
  /** The call's arguments as they should be; undefined while nobody edits them. */
  readonly arguments: unknown;
  /** undefined: none yet. */
  readonly answer: unknown;
  readonly outcome: Outcome | null;
  readonly note: string;
}

export const EMPTY: Draft = {
  version: null,
  base: undefined,
  arguments: undefined,
  answer: undefined,
  outcome: null,
  note: "",
};

export const isDirty = (draft: Draft): boolean =>
  draft.note.trim() !== "" ||
  draft.answer !== undefined ||
  draft.outcome !== null ||
  (draft.arguments !== undefined && !same(draft.arguments, draft.base));

/** The edited arguments if they differ from those that are asked for now. */
export const editedArguments = (draft: Draft, asked: Pick<ApprovalRow, "arguments">): unknown =>
  draft.arguments === undefined || same(draft.arguments, asked.arguments) ? undefined : draft.arguments;

/** Whether the question is another one than the draft was written for. */
export const isOutdated = (draft: Draft, asked: Pick<ApprovalRow, "version">): boolean =>
  draft.version !== null && draft.version !== asked.version;

/** With a change; from then on it is for the version at hand, if it was for none before. */
export function typed(draft: Draft, asked: ApprovalRow, change: Partial<Draft>): Draft {
  const next = { ...draft, ...change };
  if (!isDirty(next) && next.arguments === undefined) return EMPTY;
  return draft.version === null ? { ...next, version: asked.version, base: asked.arguments } : next;
}

/** Whoever wrote it has seen what the question is now. */
export const caughtUp = (draft: Draft, asked: ApprovalRow): Draft =>
  draft.version === null ? draft : { ...draft, version: asked.version, base: asked.arguments };

const drafts = new Map<string, Draft>();
const listeners = new Set<() => void>();

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export function setDraft(id: string, draft: Draft): void {
  if (draft === EMPTY) drafts.delete(id);
  else drafts.set(id, draft);
  for (const listener of listeners) listener();
}

export function useDraft(id: string): readonly [Draft, (draft: Draft) => void] {
  const draft = useSyncExternalStore(subscribe, () => drafts.get(id) ?? EMPTY);
  return [draft, useCallback((next: Draft) => setDraft(id, next), [id])];
}
