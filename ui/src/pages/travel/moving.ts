/** How the keys of a slider move along the steps of a run. */

export type StripKey =
  | "ArrowLeft"
  | "ArrowDown"
  | "ArrowRight"
  | "ArrowUp"
  | "PageUp"
  | "PageDown"
  | "Home"
  | "End";

const PAGE = 10;

/** Where a key leads from `at`; null for any other key. */
export function movedBy(key: StripKey, at: number, last: number): number | null {
  const to: Record<StripKey, number> = {
    ArrowLeft: at - 1,
    ArrowDown: at - 1,
    ArrowRight: at + 1,
    ArrowUp: at + 1,
    PageDown: at - PAGE,
    PageUp: at + PAGE,
    Home: 0,
    End: last,
  };
  const next = to[key];
  return next === undefined ? null : Math.min(last, Math.max(0, next));
}
