/**
 * A run as its events tell it (docs/reference/events.md): events in, view out, nothing else. An event that comes again, or
 * late, changes nothing that is not true: whole messages stay whole, what ended stays ended, what was voided stays
 * forgotten, and everything stands in the order of the journal.
 */

import type { RunEvent, RunStatus } from "~/api/types";
import {
  type Change,
  type Data,
  list,
  type NoteItem,
  place,
  put,
  type RunFailure,
  type RunView,
  text,
  whole,
} from "./runItems";
import { begin, complete, grow } from "./runMessages";
import { ask } from "./runQuestions";
import { close, open, stepId } from "./runSteps";

/** The view after these events; the same object if there are none. */
export function applied(view: RunView, events: readonly RunEvent[]): RunView {
  if (events.length === 0) return view;
  const next: Change = { ...view, items: new Map(view.items), voided: new Set(view.voided) };
  for (const event of events) if (event.run_id === view.runId) apply(next, event);
  return next;
}

function apply(next: Change, event: RunEvent): void {
  const { data, pos } = event;
  if (pos !== null && pos > next.pos) next.pos = pos;
  switch (event.type) {
    case "run.forked":
      next.begun = true;
      become(next, event, "queued");
      break;
    case "run.queued":
      next.begun = true;
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
