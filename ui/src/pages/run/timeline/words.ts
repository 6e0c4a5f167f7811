/** What a timeline says in words. */

import { duration } from "~/lib/format";
import type { Gap } from "./axis";
import type { Span } from "./tree";

const WAITED: Readonly<Record<string, string>> = {
  approval: "waiting for approval",
  ask: "waiting for an answer",
  effect: "waiting to learn what became of an effect",
  event: "waiting for an event",
  timer: "asleep",
  child: "waiting for a child run",
  queued: "in the queue",
  fork: "before the fork",
  idle: "nothing recorded",
};

export const gapWords = (gap: Pick<Gap, "type">): string => WAITED[gap.type] ?? "waiting";

const MARKS: Readonly<Record<string, string>> = {
  forked: "forked: what is before was taken over",
  recovered: "recovered: another worker took it over",
  retried: "retried after it had failed",
  version_changed: "went on with another version of the agent",
  compensating: "began to undo what it had done",
  cancelled: "cancelled",
};

export const markWords = (type: string): string => MARKS[type] ?? type;

/** "2 d" of "2 d 3 h": what has room over a fold. */
export function coarse(ms: number): string {
  const [n = "", unit = ""] = duration(ms).split(" ");
  return `${n} ${unit}`;
}

export function spanName(span: Span): string {
  if (span.type === "group") return `gather ${span.branch}`;
  if (span.type === "branch") return `branch ${span.branch}`;
  return span.kind === "interrupt" && span.name === "leave" ? "approval" : span.name;
}

/** `model#2` → "2", the occurrence, when it is not the first one; a call's place → "2/0" stays with its name. */
export function occurrence(span: Span): string | null {
  const found = /#(\d+)$/.exec(span.key)?.[1];
  return span.at < 0 || found === undefined || found === "1" ? null : found;
}
