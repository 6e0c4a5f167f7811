/** The steps of a run's view: they open, and close with what they came to. */

import type { RunEvent } from "~/api/types";
import type { StepState } from "./model";
import { type Change, place, put, type StepItem, said, text, whole } from "./runItems";

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

export function open(next: Change, event: RunEvent): void {
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

export function close(next: Change, event: RunEvent): void {
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
