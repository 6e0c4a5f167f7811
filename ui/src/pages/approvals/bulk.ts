/** Deciding several questions with one word: one request each, a few at a time, each with its own outcome. */

import { idempotencyKey } from "~/api/client";
import { messageOf, Problem } from "~/api/problem";
import type { Me } from "~/api/session";
import type { Approval, ApprovalRow } from "~/api/types";
import { barred } from "~/transcript/deciding";
import { resolve, type Word } from "./resolving";

export type BulkWord = "approve" | "reject";

export interface BulkItem {
  readonly row: ApprovalRow;
  readonly key: string;
  /** `refused`: for good; sent again it would be refused again. */
  readonly state: "waiting" | "sending" | "done" | "failed" | "refused" | "skipped";
  readonly said: string | null;
}

const AT_ONCE = 3;

/** Why a question cannot be decided together with others; null if it can. */
export function skipped(row: ApprovalRow, word: BulkWord, me: Me): string | null {
  if (row.status !== "pending") return "It is decided already.";
  if (row.type === "effect") return "Nobody knows its outcome: it is answered one by one.";
  if (word === "approve" && row.type !== "tool") return "It asks for an answer: it is answered one by one.";
  const bar = barred(me, row);
  return bar !== null && (bar.of === "all" || word === "approve") ? bar.why : null;
}

export const bulkItems = (rows: readonly ApprovalRow[], word: BulkWord, me: Me): readonly BulkItem[] =>
  rows.map((row) => {
    const why = skipped(row, word, me);
    return { row, key: idempotencyKey(), state: why === null ? "waiting" : "skipped", said: why };
  });

/** Which are to be sent: those not sent yet, and those for which trying again may help. */
export const isOpen = (item: BulkItem): boolean => item.state === "waiting" || item.state === "failed";

export async function sendAll(
  items: readonly BulkItem[],
  word: BulkWord,
  note: string,
  onItem: (item: BulkItem, after: Approval | null) => void,
): Promise<void> {
  const open = items.filter(isOpen);
  const next = async (): Promise<void> => {
    for (let item = open.shift(); item !== undefined; item = open.shift()) {
      onItem({ ...item, state: "sending", said: null }, null);
      try {
        const after = await resolve(item.row.id, bodyOf(item.row, word, note), item.key);
        onItem({ ...item, state: "done", said: doneWords(after) }, after);
      } catch (error) {
        const passes = !(error instanceof Problem) || error.isPassing;
        onItem({ ...item, state: passes ? "failed" : "refused", said: failedWords(error) }, null);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
}

function bodyOf(row: ApprovalRow, word: BulkWord, note: string): Word {
  const said: Word = { decision: word, version: row.version };
  return note.trim() === "" ? said : { ...said, note: note.trim() };
}

const doneWords = (after: Approval): string =>
  after.status === "pending" ? "Counted; it takes more people." : after.status;

function failedWords(error: unknown): string {
  if (!(error instanceof Problem)) return messageOf(error);
  if (error.code === "version_conflict") return "It changed since you selected it: look at it first.";
  const decision = error.body.decision as { name?: string } | null | undefined;
  if (error.code === "already_resolved")
    return decision?.name ? `${decision.name} was faster.` : "It was decided already.";
  return error.message;
}
