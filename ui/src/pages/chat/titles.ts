/** What a thread is called: pure. */

import type { Thread } from "~/api/types";
import { oneLine } from "~/lib/text";

const TITLE_CHARS = 90;

type Named = Pick<Thread, "title" | "preview" | "last_run">;

/** Its title, else the first words that were said in it, else whoever was asked. */
export function titleOf(thread: Named | undefined): string {
  if (thread === undefined) return "Thread";
  const named = [thread.title, thread.preview, thread.last_run?.agent];
  return named.map((one) => oneLine(one ?? "", TITLE_CHARS)).find((one) => one !== "") ?? "Empty thread";
}
