/** What a view of a run is made of, and how an event finds its place in it. */

import type { Part, RunEvent, RunStatus, Usage } from "~/api/types";
import type { EffectSeen, StepState } from "./model";

export interface RunFailure {
  readonly code: string;
  readonly message: string;
  readonly step: string | null;
  readonly retryable: boolean;
}

interface Ordered {
  readonly id: string;
  /** The first entry of the journal that told of it; what is not in the journal stands behind what was last known. */
  readonly order: number;
}

export interface MessageItem extends Ordered {
  readonly type: "message";
  readonly key: string | null;
  readonly parts: readonly Part[];
  readonly whole: boolean;
  /** The number of the piece that comes next. Another one came before, or tells of a hole, until the message is whole. */
  readonly next: number;
  readonly seq: number | null;
  readonly role: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly usage: Usage | null;
}

export interface StepItem extends Ordered {
  readonly type: "step";
  readonly key: string;
  readonly attempt: number;
  readonly kind: string;
  readonly name: string;
  readonly state: StepState;
  readonly seq: number | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly dueAt: string | null;
  readonly callId: string | null;
  readonly result: unknown;
  readonly error: string | null;
  readonly effect: EffectSeen | null;
  readonly childRunId: string | null;
}

export interface QuestionItem extends Ordered {
  readonly type: "question";
  readonly approvalId: string;
  readonly key: string;
  readonly asks: string;
  readonly status: string;
  readonly version: number;
  readonly message: string | null;
  readonly effectId: string | null;
}

export interface CustomItem extends Ordered {
  readonly type: "custom";
  readonly name: string;
  readonly data: unknown;
  readonly seq: number | null;
}

export interface NoteItem extends Ordered {
  readonly type: "note";
  readonly text: string;
  readonly tone: "quiet" | "warn";
}

export type Item = MessageItem | StepItem | QuestionItem | CustomItem | NoteItem;

export interface RunView {
  readonly runId: string;
  /** Whether its first event is in here: else something that was recorded is not. */
  readonly begun: boolean;
  /** The last entry of the journal that is in here. */
  readonly pos: number;
  readonly status: RunStatus | null;
  /** Where `status` was told. */
  readonly statusAt: number;
  readonly queuedAt: string | null;
  readonly input: unknown;
  readonly output: unknown;
  readonly error: RunFailure | null;
  readonly reason: string | null;
  readonly items: ReadonlyMap<string, Item>;
  readonly voided: ReadonlySet<string>;
}

export const emptyRun = (runId: string): RunView => ({
  runId,
  begun: false,
  pos: 0,
  status: null,
  statusAt: 0,
  queuedAt: null,
  input: undefined,
  output: undefined,
  error: null,
  reason: null,
  items: new Map(),
  voided: new Set(),
});

export type Data = RunEvent["data"];

/** A view that is being changed by events. */
export type Change = { -readonly [K in keyof RunView]: RunView[K] } & {
  items: Map<string, Item>;
  voided: Set<string>;
};

/** Puts an item in; one that was voided stays out. The first place that it had is kept, or an earlier one. */
export function put(next: Change, item: Item): void {
  if (next.voided.has(item.id)) return;
  next.items.set(item.id, item);
}

export const place = (next: Change, event: RunEvent, known: Item | undefined): number => {
  const here = event.pos ?? next.pos + 0.5;
  return known === undefined ? here : Math.min(known.order, here);
};

// Members of an event's data, as far as they are what they should be.
export const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
export const whole = (value: unknown): number | null =>
  Number.isSafeInteger(value) ? (value as number) : null;
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** An error of a step or a call in words, whatever form it came in. */
export function said(error: unknown): string {
  if (typeof error === "string") return error;
  if (typeof error === "object" && error !== null) {
    const { message, code } = error as Data;
    if (typeof message === "string" && message !== "") return message;
    if (typeof code === "string") return code;
  }
  return error == null ? "It failed." : JSON.stringify(error);
}
