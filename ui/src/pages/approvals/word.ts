/** What somebody typed, as it is sent: the word on a question, or what it still lacks. Pure. */

import type { Approval } from "~/api/types";
import { type Draft, editedArguments } from "./draft";
import type { Word } from "./resolving";

/** What would be sent as the answer, or what it still lacks. */
export function wordOf(
  asked: Approval,
  draft: Draft,
  valid: boolean,
): { readonly word: Word | null; readonly lacks: string | null } {
  const lacking = (lacks: string) => ({ word: null, lacks });
  if (!valid && (asked.type !== "tool" || draft.arguments !== undefined))
    return lacking("Something that you typed does not fit: see the fields.");
  switch (asked.type) {
    case "tool": {
      const edited = editedArguments(draft, asked);
      if (edited === undefined) return { word: { decision: "approve" }, lacks: null };
      return { word: { decision: "approve", arguments: edited as Record<string, unknown> }, lacks: null };
    }
    case "effect": {
      if (draft.outcome === null) return lacking("Say whether it happened.");
      const answer =
        draft.outcome === "committed"
          ? { outcome: draft.outcome, result: draft.answer ?? null }
          : { outcome: draft.outcome };
      return { word: { decision: "answer", answer }, lacks: null };
    }
    default: {
      const answer = draft.answer === undefined ? (asked.default ?? undefined) : draft.answer;
      if (answer === undefined || (asked.choices !== null && draft.answer === undefined))
        return lacking(asked.choices === null ? "An answer is needed." : "Choose one of the answers.");
      return { word: { decision: "answer", answer }, lacks: null };
    }
  }
}

/** As it is sent: of the version that was seen, with the note. */
export function withNote(word: Word, asked: Approval, draft: Draft): Word {
  const note = draft.note.trim();
  return { ...word, version: asked.version, ...(note === "" ? {} : { note }) };
}
