/**
 * The rows of the list, those in sight. New ones slide in while the top is in sight and nobody has a hand on it; else they
 * wait behind a button.
 */

import { useElementScrollRestoration } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import clsx from "clsx";
import { ArrowUp } from "lucide-react";
import { useEffect, useRef } from "react";
import { Button } from "~/design/Button";
import { Cell } from "~/design/Cell";
import { plural } from "~/lib/format";
import { useHotkeys } from "~/lib/hotkeys";
import { useMedia } from "~/lib/media";
import { AT_4XL, CARD_PX, COLUMNS, ROW_PX, RunRow } from "./RunRow";
import type { RunFeed } from "./useRunFeed";

const OVERSCAN = 10;
const TOP_PX = 8;
/** Older rows are read before they are needed. */
const AHEAD = 25;
const HEAD_PX = 30;
const SCROLL = "runs";

export function RunList({
  feed,
  picks,
  onPick,
}: {
  feed: RunFeed;
  picks: readonly string[];
  onPick: (id: string) => void;
}) {
  const scroller = useRef<HTMLDivElement>(null);
  const card = useMedia("(max-width: 699px)");
  const head = card ? 0 : HEAD_PX;
  const { rows, fresh, hasMore, isReading, readOn, follow } = feed;
  const restored = useElementScrollRestoration({ id: SCROLL });
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => (card ? CARD_PX : ROW_PX),
    overscan: OVERSCAN,
    scrollMargin: head,
    scrollPaddingStart: head,
    initialOffset: restored?.scrollY ?? 0,
    getItemKey: (index) => rows[index]?.id ?? index,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: rows become cards
  useEffect(() => virtual.measure(), [card]);
  const items = virtual.getVirtualItems();
  const lastShown = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (hasMore && !isReading && lastShown >= rows.length - AHEAD) readOn();
  }, [hasMore, isReading, lastShown, rows.length, readOn]);

  const wanted = useRef<string | null>(null);
  useEffect(() => {
    // The row may have come into the page only now that it was scrolled to.
    if (wanted.current === null) return;
    const link = scroller.current?.querySelector<HTMLElement>(`[data-run="${wanted.current}"] a`);
    if (link === null || link === undefined) return;
    link.focus({ preventScroll: true });
    wanted.current = null;
  });
  const currentIndex = (): number => {
    const id = document.activeElement?.closest("[data-run]")?.getAttribute("data-run");
    return id === null || id === undefined ? -1 : rows.findIndex((run) => run.id === id);
  };
  const go = (to: number): void => {
    const index = Math.max(0, Math.min(rows.length - 1, to));
    const run = rows[index];
    if (run === undefined) return;
    wanted.current = run.id;
    virtual.scrollToIndex(index, { align: "auto" });
    const link = scroller.current?.querySelector<HTMLElement>(`[data-run="${run.id}"] a`);
    if (link) {
      link.focus({ preventScroll: true });
      wanted.current = null;
    }
  };
  /** Rows do not move under a pointer, nor away from the keyboard: then new ones wait behind their button. */
  const whole = useRef<HTMLDivElement>(null);
  const pointed = useRef(false);
  const settle = (): void => {
    const place = scroller.current;
    if (place === null) return;
    const held = pointed.current || whole.current?.contains(document.activeElement) === true;
    follow(place.scrollTop <= TOP_PX && !held);
  };
  const toTop = (): void => {
    follow(true);
    scroller.current?.scrollTo({ top: 0 });
  };
  useHotkeys([
    { keys: "j", does: "Next run", group: "Runs", run: () => go(currentIndex() + 1) },
    { keys: "k", does: "Run before", group: "Runs", run: () => go(currentIndex() - 1) },
    { keys: "t", does: "To the newest", group: "Runs", run: toTop },
    {
      keys: "x",
      does: "Choose to compare",
      group: "Runs",
      run: () => {
        const run = rows[currentIndex()];
        if (run) onPick(run.id);
      },
    },
  ]);
  return (
    <div
      ref={whole}
      role="group"
      aria-label="Runs, newest first"
      className="relative flex min-h-0 grow flex-col"
      onPointerEnter={(event) => {
        pointed.current = event.pointerType === "mouse";
        settle();
      }}
      onPointerLeave={() => {
        pointed.current = false;
        settle();
      }}
      onFocus={settle}
      onBlur={settle}
    >
      <div
        aria-live="polite"
        className="pointer-events-none absolute inset-x-0 top-10 z-20 flex justify-center"
      >
        {fresh > 0 && (
          <Button
            size="sm"
            look="primary"
            icon={<ArrowUp size={13} aria-hidden />}
            onClick={toTop}
            className="pointer-events-auto !rounded-full shadow-pop"
          >
            {feed.more ? `${fresh}+ new runs` : plural(fresh, "new run")}
          </Button>
        )}
      </div>
      <div
        ref={scroller}
        role="table"
        aria-label="Runs"
        aria-rowcount={hasMore ? -1 : rows.length + 1}
        aria-busy={isReading}
        data-scroll-restoration-id={SCROLL}
        onScroll={settle}
        className="@container relative min-h-0 grow overflow-y-auto overflow-x-hidden bg-surface"
      >
        <Head hidden={card} />
        <div role="rowgroup" className="relative" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const run = rows[item.index];
            return (
              run && (
                <RunRow
                  key={item.key}
                  run={run}
                  followed={feed.inHead(run.id)}
                  index={item.index}
                  top={item.start - head}
                  card={card}
                  picked={picks.includes(run.id)}
                  onPick={onPick}
                />
              )
            );
          })}
        </div>
        <p className="px-4 py-3 text-center text-xs text-ink-3" role="presentation">
          {isReading ? "Reading older runs…" : hasMore ? "" : `${plural(rows.length, "run")}, that is all.`}
        </p>
      </div>
    </div>
  );
}

function Head({ hidden }: { hidden: boolean }) {
  const number = "px-2 text-right";
  return (
    <div role="rowgroup" className={clsx("sticky top-0 z-10", hidden && "sr-only")}>
      <div
        role="row"
        tabIndex={-1}
        aria-rowindex={1}
        style={{ height: HEAD_PX }}
        className={clsx(COLUMNS, "items-center border-b border-line bg-surface text-2xs text-ink-3")}
      >
        <Cell role="columnheader">
          <span className="sr-only">Choose</span>
        </Cell>
        <Cell role="columnheader" className="px-1">
          Status
        </Cell>
        <Cell role="columnheader" className="px-2">
          Agent
        </Cell>
        <Cell role="columnheader" className="px-2">
          Input
        </Cell>
        <Cell role="columnheader" className={number}>
          Started
        </Cell>
        <Cell role="columnheader" className={number}>
          Duration
        </Cell>
        <Cell role="columnheader" className={clsx(number, AT_4XL)}>
          Steps
        </Cell>
        <Cell role="columnheader" className={clsx(number, AT_4XL)}>
          Tokens
        </Cell>
        <Cell role="columnheader" className={clsx(number, AT_4XL)}>
          Cost
        </Cell>
      </div>
    </div>
  );
}
