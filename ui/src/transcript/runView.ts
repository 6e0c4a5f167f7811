/**
 * A run as its events tell it (docs/reference/events.md): events in, view out, nothing else. An event that comes again, or
 * late, changes nothing that is not true: whole messages stay whole, what ended stays ended, what was voided stays
 * forgotten, and everything stands in the order of the journal.
 */

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
  /** Pieces were sent while nobody listened here: what stands here has a hole until the message is whole. */
  readonly torn: boolean;
  /** It began before anybody listened here: its beginning comes with the whole. */
  readonly missed: boolean;
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
  /** Since when (ms) its events are listened to: of a message that began before, the first pieces were not heard. */
  readonly since: number;
}

export const emptyRun = (runId: string, since = 0): RunView => ({
  runId,
  since,
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

type Data = RunEvent["data"];
type Change = { -readonly [K in keyof RunView]: RunView[K] } & {
  items: Map<string, Item>;
  voided: Set<string>;
};

/** The view after these events. The same object if none of them says anything new. */
export function applied(view: RunView, events: readonly RunEvent[]): RunView {
  if (events.length === 0) return view;
  const next: Change = { ...view, items: new Map(view.items), voided: new Set(view.voided) };
  for (const event of events) if (event.run_id === view.runId) apply(next, event);
  return next;
}

/** Pieces may have been lost on the way: messages under way have a hole from here on, except those named. */
export function torn(view: RunView, except: ReadonlySet<string> = new Set()): RunView {
  const open = [...view.items.values()].filter(
    (one) => one.type === "message" && !one.whole && !one.torn && !except.has(one.id),
  );
  if (open.length === 0) return view;
  const items = new Map(view.items);
  for (const one of open) items.set(one.id, { ...(one as MessageItem), torn: true });
  return { ...view, items };
}

function apply(next: Change, event: RunEvent): void {
  const { data, pos } = event;
  if (pos !== null && pos > next.pos) next.pos = pos;
  switch (event.type) {
    case "run.queued":
      next.input = data.input;
      next.queuedAt = event.at;
      become(next, event, "queued");
      break;
    case "run.started":
    case "run.resumed":
      become(next, event, "running");
      break;
    case "run.recovered":
      become(next, event, "running");
      forget(next, data.void);
      note(next, event, "The worker was lost; another one took the run up.", "warn");
      break;
    case "run.waiting":
      become(next, event, "waiting");
      break;
    case "run.succeeded":
      if (become(next, event, "succeeded")) next.output = data.output;
      break;
    case "run.failed":
      if (become(next, event, "failed")) next.error = failure(data.error);
      break;
    case "run.cancelled":
      if (become(next, event, "cancelled")) next.reason = text(data.reason);
      break;
    case "run.retried":
      if (become(next, event, "queued")) next.error = null;
      forget(next, data.voids);
      note(next, event, "Retried from the step at which it failed.", "quiet");
      break;
    case "run.compensating":
      note(next, event, "Undoing what it did…", "warn");
      break;
    case "run.version_changed":
      note(next, event, `${text(data.agent) ?? "The agent"} is of another version from here on.`, "quiet");
      break;
    case "message.started":
      forget(next, data.voids);
      begin(next, event);
      break;
    case "message.delta":
      grow(next, event);
      break;
    case "message.completed":
      complete(next, event);
      break;
    case "step.started":
    case "step.opened":
    case "tool.started":
      open(next, event);
      break;
    case "step.completed":
    case "step.failed":
    case "tool.completed":
      close(next, event);
      break;
    case "approval.requested":
    case "approval.changed":
    case "approval.resolved":
    case "effect.unknown":
      ask(next, event);
      break;
    case "custom":
      custom(next, event);
      break;
  }
}

/** Whether the run's state is now what this event says: not if something later is known. */
function become(next: Change, event: RunEvent, status: RunStatus): boolean {
  if (event.pos === null || event.pos < next.statusAt) return false;
  next.status = status;
  next.statusAt = event.pos;
  return true;
}

function forget(next: Change, voids: unknown): void {
  for (const one of list(voids)) {
    if (typeof one === "string") {
      next.voided.add(one);
      next.items.delete(one);
      continue;
    }
    const { key, attempt } = one as { key?: unknown; attempt?: unknown };
    if (typeof key !== "string") continue;
    const id = stepId(key, whole(attempt) ?? 1);
    next.voided.add(id);
    next.items.delete(id);
    for (const item of next.items.values())
      if (item.type === "message" && item.key === key && item.order < next.pos) {
        next.voided.add(item.id);
        next.items.delete(item.id);
      }
  }
}

/** Puts an item in; one that was voided stays out. The first place that it had is kept, or an earlier one. */
function put(next: Change, item: Item): void {
  if (next.voided.has(item.id)) return;
  next.items.set(item.id, item);
}

const place = (next: Change, event: RunEvent, known: Item | undefined): number => {
  const here = event.pos ?? next.pos + 0.5;
  return known === undefined ? here : Math.min(known.order, here);
};

function messageOf(next: Change, event: RunEvent): MessageItem | null {
  const id = text(event.data.message_id);
  if (id === null) return null;
  const known = next.items.get(id);
  if (known?.type === "message") return { ...known, order: place(next, event, known) };
  return {
    type: "message",
    id,
    order: place(next, event, undefined),
    key: text(event.data.key),
    parts: [],
    whole: false,
    torn: false,
    missed: event.type === "message.delta",
    seq: null,
    role: "assistant",
    startedAt: event.at,
    endedAt: null,
    usage: null,
  };
}

function begin(next: Change, event: RunEvent): void {
  const message = messageOf(next, event);
  if (message === null) return;
  if (message.whole) return;
  const missed = Date.parse(event.at) < next.since;
  put(next, { ...message, key: text(event.data.key) ?? message.key, missed });
}

const BREAK = " … ";

function grow(next: Change, event: RunEvent): void {
  const message = messageOf(next, event);
  if (message === null || message.whole) return;
  const index = whole(event.data.part) ?? 0;
  const piece = `${message.torn ? BREAK : ""}${text(event.data.text) ?? ""}`;
  const parts = [...message.parts];
  for (let at = parts.length; at <= index; at += 1) parts.push({ type: "text", text: "" });
  parts[index] = grown(parts[index], text(event.data.kind) ?? "text", piece);
  put(next, { ...message, parts, torn: false });
}

/** A call under way has no name yet, and the text of its arguments in their place. */
function grown(part: Part | undefined, kind: string, piece: string): Part {
  if (kind === "tool_call") {
    const before = part?.type === "tool_call" && typeof part.arguments === "string" ? part.arguments : "";
    return { type: "tool_call", call_id: null, name: "", arguments: before + piece };
  }
  const type = kind === "thinking" ? "thinking" : "text";
  const before = part?.type === type ? part.text : "";
  return { type, text: before + piece };
}

function complete(next: Change, event: RunEvent): void {
  const { data } = event;
  const message = messageOf(next, event) ?? aside(next, event);
  put(next, {
    ...message,
    key: text(data.key) ?? message.key,
    parts: list(data.parts) as readonly Part[],
    whole: true,
    torn: false,
    missed: false,
    seq: whole(data.seq),
    role: text(data.role) ?? "assistant",
    startedAt: text(data.started_at) ?? message.startedAt,
    endedAt: text(data.ended_at),
    usage: (data.usage as Usage | undefined) ?? null,
  });
  const pending = next.items.get(stepId(message.key ?? "", whole(data.attempt) ?? 1));
  if (pending?.type === "step") next.items.delete(pending.id);
}

/** A model that was asked aside is no message of the thread, and has no id: its step names it. */
function aside(next: Change, event: RunEvent): MessageItem {
  const id = `aside:${text(event.data.key) ?? event.pos}`;
  return {
    type: "message",
    id,
    order: place(next, event, next.items.get(id)),
    key: text(event.data.key),
    parts: [],
    whole: false,
    torn: false,
    missed: false,
    seq: null,
    role: "aside",
    startedAt: null,
    endedAt: null,
    usage: null,
  };
}

export const stepId = (key: string, attempt: number): string => `step:${key}@${attempt}`;

function stepOf(next: Change, event: RunEvent): StepItem | null {
  const { data } = event;
  const key = text(data.key);
  if (key === null) return null;
  const attempt = whole(data.attempt) ?? lastAttempt(next, key);
  const id = stepId(key, attempt);
  const known = next.items.get(id);
  if (known?.type === "step") return { ...known, order: place(next, event, known) };
  return {
    type: "step",
    id,
    order: place(next, event, undefined),
    key,
    attempt,
    kind: text(data.kind) ?? "code",
    name: text(data.name) ?? key,
    state: "running",
    seq: null,
    startedAt: event.at,
    endedAt: null,
    dueAt: null,
    callId: null,
    result: undefined,
    error: null,
    effect: null,
    childRunId: null,
  };
}

/** Ephemeral events do not tell the attempt: it is the one behind those that were declared void. */
function lastAttempt(next: Change, key: string): number {
  let attempt = 1;
  while (next.voided.has(stepId(key, attempt))) attempt += 1;
  return attempt;
}

/** Steps that show themselves in another way: models as messages, questions as cards, `emit` as what was emitted. */
const SHOWN_OTHERWISE: ReadonlySet<string> = new Set(["model", "interrupt", "emit"]);
const WAITING_KINDS: ReadonlySet<string> = new Set(["sleep", "event"]);

function open(next: Change, event: RunEvent): void {
  const step = stepOf(next, event);
  if (step === null || SHOWN_OTHERWISE.has(step.kind)) return;
  const effectClass = text(event.data.effect_class);
  const effect =
    effectClass === null
      ? step.effect
      : {
          id: text(event.data.effect_id),
          effectClass,
          status: step.effect?.status ?? effectStatus(step.state),
        };
  if (step.endedAt !== null) put(next, { ...step, effect });
  else
    put(next, {
      ...step,
      state: WAITING_KINDS.has(step.kind) ? "waiting" : "running",
      dueAt: text(event.data.due_at) ?? step.dueAt,
      effect,
    });
}

const effectStatus = (state: StepState): string =>
  state === "succeeded" ? "committed" : state === "failed" ? "failed" : "started";

function close(next: Change, event: RunEvent): void {
  const step = stepOf(next, event);
  if (step === null || SHOWN_OTHERWISE.has(step.kind)) return;
  const { data } = event;
  const failed = data.status === "failed" || event.type === "step.failed";
  put(next, {
    ...step,
    state: failed ? "failed" : "succeeded",
    seq: whole(data.seq),
    startedAt: text(data.started_at) ?? step.startedAt,
    endedAt: text(data.ended_at) ?? event.at,
    callId: text(data.call_id),
    result: "result" in data ? data.result : data.output,
    error: failed || data.error != null ? said(data.error) : null,
    effect:
      step.effect === null ? null : { ...step.effect, status: effectStatus(failed ? "failed" : "succeeded") },
  });
}

function ask(next: Change, event: RunEvent): void {
  const { data } = event;
  const approvalId = text(data.approval_id);
  const key = text(data.key);
  if (approvalId === null || key === null) return;
  const id = `question:${approvalId}`;
  const known = next.items.get(id);
  const before = known?.type === "question" ? known : null;
  const version = whole(data.version) ?? 1;
  const later = before === null || version >= before.version;
  const unknown = event.type === "effect.unknown";
  put(next, {
    type: "question",
    id,
    order: place(next, event, known),
    approvalId,
    key,
    asks: text(data.type) ?? before?.asks ?? "tool",
    status: later
      ? ((event.type === "approval.resolved" ? text(data.status) : null) ?? "pending")
      : before.status,
    version: later ? version : before.version,
    message: text(data.message) ?? before?.message ?? null,
    effectId: text(data.effect_id) ?? before?.effectId ?? null,
  });
  if (unknown || before?.asks === "effect") doubt(next, key, text(data.effect_id), event);
}

/** Nobody knows what became of a call: its step says so until somebody does. */
function doubt(next: Change, key: string, effectId: string | null, event: RunEvent): void {
  const callKey = ownerOf(key);
  for (const item of next.items.values()) {
    if (item.type !== "step" || item.key !== callKey || item.endedAt !== null) continue;
    const status = event.type === "approval.resolved" ? "started" : "unknown";
    put(next, {
      ...item,
      effect: {
        id: effectId ?? item.effect?.id ?? null,
        effectClass: item.effect?.effectClass ?? null,
        status,
      },
    });
  }
}

/** The step that a question is about: `model#2/0/leave#1` → `model#2/0`. */
export const ownerOf = (key: string): string => key.slice(0, Math.max(0, key.lastIndexOf("/")));

function custom(next: Change, event: RunEvent): void {
  const id = `custom:${event.pos ?? event.at}`;
  put(next, {
    type: "custom",
    id,
    order: place(next, event, next.items.get(id)),
    name: text(event.data.name) ?? "event",
    data: event.data.data ?? null,
    seq: whole(event.data.seq),
  });
}

function note(next: Change, event: RunEvent, words: string, tone: NoteItem["tone"]): void {
  if (event.pos === null) return;
  put(next, { type: "note", id: `note:${event.pos}`, order: event.pos, text: words, tone });
}

function failure(error: unknown): RunFailure | null {
  if (typeof error !== "object" || error === null) return null;
  const found = error as Data;
  return {
    code: text(found.code) ?? "failed",
    message: text(found.message) ?? "",
    step: text(found.step),
    retryable: found.retryable === true,
  };
}

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

const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
const whole = (value: unknown): number | null => (Number.isSafeInteger(value) ? (value as number) : null);
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
