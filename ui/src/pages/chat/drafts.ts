/** What was written and not sent, kept for this tab, each thread by itself. */

const PREFIX = "holdfast.draft.";
const KEPT_CHARS_MAX = 200_000;

export const NEW = "new";

export function draftOf(thread: string): string {
  try {
    return sessionStorage.getItem(PREFIX + thread) ?? "";
  } catch {
    return "";
  }
}

export function keepDraft(thread: string, text: string): void {
  try {
    if (text === "" || text.length > KEPT_CHARS_MAX) sessionStorage.removeItem(PREFIX + thread);
    else sessionStorage.setItem(PREFIX + thread, text);
  } catch {
    // It lives as long as the page, then.
  }
}

/** What was written goes with the conversation: a new chat has become a thread. */
export function moveDraft(from: string, to: string): void {
  keepDraft(to, draftOf(from));
  keepDraft(from, "");
}
