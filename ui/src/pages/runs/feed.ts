/**
 * A list that grows at both ends: older runs as somebody scrolls, new ones as they begin. While its top is in sight it shows
 * the newest; scrolled down it stands still, and counts what is new. Pure.
 */

import type { Page, Run } from "~/api/types";

export interface Feed {
  readonly rows: readonly Run[];
  /** How many are new above the first row; `more` if there may be others yet. */
  readonly fresh: number;
  readonly more: boolean;
  /** The newest do not reach down to what is shown: between them others may be missing. */
  readonly torn: boolean;
}

/** Ids sort by when a run was stored here; an imported one began long before. */
const newer = (one: Run, other: Run): boolean => one.id > other.id;

/**
 * `pages` as they were read, `top` the newest that are shown, `head` the newest that there are. The same run may be in all of
 * them; what `head` says of it is the truth.
 */
export function feedOf(pages: readonly Run[], top: Page<Run>, head: Page<Run>): Feed {
  const latest = new Map(head.data.map((run) => [run.id, run]));
  const last = top.data.at(-1);
  const below = last === undefined || top.next_cursor === null ? [] : pages.filter((run) => newer(last, run));
  const rows = [...top.data, ...below].map((run) => latest.get(run.id) ?? run);
  const first = rows[0];
  const fresh = head.data.filter((run) => first === undefined || newer(run, first)).length;
  const overlaps =
    pages.length === 0 || head.next_cursor === null || head.data.some((run) => run.id === pages[0]?.id);
  return {
    rows,
    fresh,
    more: fresh === head.data.length && head.next_cursor !== null && fresh > 0,
    torn: !overlaps && !reaches(head, pages),
  };
}

/** Whether the newest end at or below where the pages begin, though their first one is gone. */
function reaches(head: Page<Run>, pages: readonly Run[]): boolean {
  const last = head.data.at(-1);
  const first = pages[0];
  return last === undefined || first === undefined || !newer(last, first);
}
