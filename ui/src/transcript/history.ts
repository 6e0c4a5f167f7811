/** The view of a run out of what is stored of it: its messages and its steps, instead of its events. */

import type { Message, Part, StepRow } from "~/api/types";
import { emptyRun, type Item, type MessageItem, type RunView, type StepItem, said } from "./runItems";
import { stepId } from "./runSteps";

/**
 * The messages of one run (oldest first) as a view. `steps` says how long things took and what they had to do with the
 * outside; without it the view is there all the same, with less on it.
 */
export function viewOfHistory(
  runId: string,
  messages: readonly Message[],
  steps: readonly StepRow[] | null,
): RunView {
  const items = new Map<string, Item>();
  const bySeq = new Map((steps ?? []).map((row) => [row.seq, row]));
  const put = (item: Item): void => void items.set(item.id, item);
  for (const message of messages) {
    const row = message.step_seq === null ? undefined : bySeq.get(message.step_seq);
    const result = message.parts.find((part) => part.type === "tool_result");
    if (message.role === "tool" && result !== undefined) put(resultItem(message, result, row));
    else put(messageItem(message, row, messages));
  }
  const said = new Set(messages.map((message) => message.step_seq));
  for (const row of steps ?? []) {
    if (row.status === "voided" || said.has(row.seq)) continue;
    for (const item of stepItems(row)) put(item);
  }
  return { ...emptyRun(runId), items };
}

/** What is stored of a run, and behind it what is heard just now, while its events have not been told from the beginning. */
export function withHeard(stored: RunView, heard: RunView): RunView {
  const items = new Map(stored.items);
  for (const item of heard.items.values()) items.set(item.id, { ...item, order: NOW + item.order });
  return { ...stored, items };
}

const NOW = 2 ** 40;
/** Behind the last step that was recorded: there stands an output that no step wrote. */
const END = 2 ** 39;

function messageItem(message: Message, row: StepRow | undefined, all: readonly Message[]): MessageItem {
  const order =
    message.step_seq ?? (message.role === "user" && all[0]?.id === message.id ? 0 : END + message.position);
  return {
    type: "message",
    id: message.id,
    order,
    key: row?.key ?? null,
    parts: message.parts,
    whole: true,
    next: 0,
    seq: message.step_seq,
    role: message.role,
    startedAt: row?.started_at ?? null,
    endedAt: row?.ended_at ?? message.created_at,
    usage: row?.usage ?? null,
  };
}

function resultItem(
  message: Message,
  result: Extract<Part, { type: "tool_result" }>,
  row: StepRow | undefined,
): StepItem {
  const failed = result.error != null;
  return {
    ...stepItem(row, message),
    name: result.name ?? row?.name ?? "tool",
    callId: result.call_id,
    result: result.result,
    state: failed ? "failed" : "succeeded",
    error: failed ? said(result.error) : null,
  };
}

function stepItem(row: StepRow | undefined, message: Message): StepItem {
  const key = row?.key ?? message.id;
  return {
    type: "step",
    id: stepId(key, row?.attempt ?? 1),
    order: message.step_seq ?? message.position,
    key,
    attempt: row?.attempt ?? 1,
    kind: row?.kind ?? "tool",
    name: row?.name ?? "tool",
    state: "succeeded",
    seq: message.step_seq,
    startedAt: row?.started_at ?? null,
    endedAt: row?.ended_at ?? null,
    dueAt: null,
    callId: null,
    result: undefined,
    error: null,
    effect: row === undefined ? null : effectOf(row),
    childRunId: row?.child_run_id ?? null,
  };
}

const effectOf = ({ effect }: StepRow): StepItem["effect"] =>
  effect === null ? null : { id: effect.id, effectClass: effect.effect_class, status: effect.status };

/** What a step that is no message shows as. Models asked aside are for the run page. */
function stepItems(row: StepRow): readonly Item[] {
  switch (row.kind) {
    case "model":
    case "value":
    case "state":
      return [];
    case "emit":
      return [
        {
          type: "custom",
          id: `custom:${row.pos}`,
          order: row.seq,
          name: row.name,
          data: undefined,
          seq: row.seq,
        },
      ];
    case "interrupt":
      return row.approval_id === null
        ? []
        : [
            {
              type: "question",
              id: `question:${row.approval_id}`,
              order: row.seq,
              approvalId: row.approval_id,
              key: row.key,
              asks: "tool",
              status: "resolved",
              version: 1,
              message: null,
              effectId: null,
            },
          ];
    default:
      return [
        {
          type: "step",
          id: stepId(row.key, row.attempt),
          order: row.seq,
          key: row.key,
          attempt: row.attempt,
          kind: row.kind,
          name: row.name,
          state: row.status === "failed" ? "failed" : "succeeded",
          seq: row.seq,
          startedAt: row.started_at,
          endedAt: row.ended_at,
          dueAt: null,
          callId: null,
          result: undefined,
          error: row.error === null ? null : said(row.error),
          effect: effectOf(row),
          childRunId: row.child_run_id,
        },
      ];
  }
}
