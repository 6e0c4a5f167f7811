/**
 * A list of rows of one height with a cursor: only those in view are rendered, more are fetched as the end comes near,
 * and the row at the cursor is kept in sight and given the focus when that is asked for.
 */

import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import { useVirtualizer, type VirtualItem } from "@tanstack/react-virtual";
import { type RefObject, useEffect, useRef } from "react";
import { keepInView } from "~/lib/inView";

const AHEAD_ROWS = 20;
const OVERSCAN_ROWS = 10;

export interface RowsWanted {
  readonly rows: readonly { readonly id: string }[];
  readonly query: UseInfiniteQueryResult;
  readonly rowPx: number;
  readonly cursor: string | null;
  /** Rises whenever the row at the cursor shall have the focus. */
  readonly focusing: number;
}

export interface Rows {
  readonly scroller: RefObject<HTMLDivElement | null>;
  readonly shown: readonly VirtualItem[];
  readonly totalPx: number;
}

/** A row carries its id as `data-row`; its first link is what has the focus. */
export function useRows({ rows, query, rowPx, cursor, focusing }: RowsWanted): Rows {
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowPx,
    overscan: OVERSCAN_ROWS,
    getItemKey: (index) => rows[index]?.id ?? index,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: measured anew when rows become cards
  useEffect(() => virtual.measure(), [virtual, rowPx]);
  const shown = virtual.getVirtualItems();
  const at = rows.findIndex((one) => one.id === cursor);
  // Where the list is hidden behind what is open, the cursor still goes on through it.
  const last = Math.max(shown.at(-1)?.index ?? 0, at);
  const { hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && !isFetchNextPageError && last >= rows.length - AHEAD_ROWS)
      void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage, last, rows.length]);
  useEffect(() => {
    if (at >= 0) keepInView(scroller.current, at * rowPx, (at + 1) * rowPx);
  }, [at, rowPx]);
  const focused = useRef(focusing);
  useEffect(() => {
    if (focused.current === focusing || cursor === null) return;
    focused.current = focusing;
    const frame = requestAnimationFrame(() =>
      scroller.current
        ?.querySelector<HTMLElement>(`[data-row="${CSS.escape(cursor)}"] a`)
        ?.focus({ preventScroll: true }),
    );
    return () => cancelAnimationFrame(frame);
  }, [focusing, cursor]);
  return { scroller, shown, totalPx: virtual.getTotalSize() };
}
