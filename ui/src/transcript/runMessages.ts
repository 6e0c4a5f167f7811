/** The messages of a run's view: they grow by pieces, and are replaced by the whole. */

import type { Part, RunEvent, Usage } from "~/api/types";
import { type Change, list, type MessageItem, place, put, text, whole } from "./runItems";
import { stepId } from "./runSteps";

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
    next: 0,
    seq: null,
    role: "assistant",
    startedAt: event.at,
    endedAt: null,
    usage: null,
  };
}

export function begin(next: Change, event: RunEvent): void {
  const message = messageOf(next, event);
  if (message === null || message.whole) return;
  put(next, { ...message, key: text(event.data.key) ?? message.key });
}

/** Pieces are not stored: one that came before is left out, and where one is missing there is a hole. */
export function grow(next: Change, event: RunEvent): void {
  const message = messageOf(next, event);
  if (message === null || message.whole) return;
  const number = whole(event.data.piece) ?? message.next;
  if (number < message.next) return;
  const index = whole(event.data.part) ?? 0;
  const parts = [...message.parts];
  for (let at = parts.length; at <= index; at += 1) parts.push({ type: "text", text: "" });
  const kind = text(event.data.kind) ?? "text";
  const said = text(event.data.text) ?? "";
  parts[index] = grown(parts[index], kind, said, number > message.next);
  put(next, { ...message, parts, next: number + 1 });
}

/** A call under way has no name yet, and the text of its arguments in their place. */
function grown(part: Part | undefined, kind: string, said: string, holed: boolean): Part {
  const type = kind === "tool_call" || kind === "thinking" ? kind : "text";
  const before = saidIn(part, type);
  const now = holed ? `${before === "" ? "" : `${before} `}… ${said}` : before + said;
  return type === "tool_call" ? { type, call_id: null, name: "", arguments: now } : { type, text: now };
}

function saidIn(part: Part | undefined, type: string): string {
  if (part?.type !== type) return "";
  if (part.type === "tool_call") return typeof part.arguments === "string" ? part.arguments : "";
  return "text" in part ? part.text : "";
}

export function complete(next: Change, event: RunEvent): void {
  const { data } = event;
  const message = messageOf(next, event) ?? aside(next, event);
  put(next, {
    ...message,
    key: text(data.key) ?? message.key,
    parts: list(data.parts) as readonly Part[],
    whole: true,
    next: 0,
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
    next: 0,
    seq: null,
    role: "aside",
    startedAt: null,
    endedAt: null,
    usage: null,
  };
}
