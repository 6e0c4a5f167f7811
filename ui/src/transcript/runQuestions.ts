/** The questions that a run asks, and what they say of the call that they are about. */

import type { RunEvent } from "~/api/types";
import { type Change, place, put, text, whole } from "./runItems";

export function ask(next: Change, event: RunEvent): void {
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
