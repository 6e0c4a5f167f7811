/**
 * The waterfall of a run: a tree of steps on the left, bars on a folded axis beside it. Rows are virtual: whether there are
 * 20 or 20,000 of them, what is in the page are those in sight.
 */

import { useVirtualizer } from "@tanstack/react-virtual";
import {
  type RefObject,
  useCallback,
  useEffect,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { Cell } from "~/design/Cell";
import { Empty } from "~/design/States";
import { useHotkeys } from "~/lib/hotkeys";
import type { Axis } from "./axis";
import { ROW_PX } from "./columns";
import { Backdrop, Crosshair, Ruler, usePinch } from "./Ruler";
import type { Row, SpanRow as Selected } from "./rows";
import { NoteLine, SpanRow } from "./SpanRow";
import type { Mark } from "./steps";
import type { Viewed } from "./useView";

const OVERSCAN = 8;
const PAGE_ROWS = 15;
const RULER_PX = 44;

export interface WaterfallProps {
  readonly rows: readonly Row[];
  readonly axis: Axis;
  readonly viewed: Viewed;
  readonly marks: readonly Mark[];
  readonly now: number | null;
  readonly label: string;
  readonly current: string | null;
  readonly onCurrent: (row: Selected, chosen: boolean) => void;
  readonly onToggle: (row: Selected, open: boolean) => void;
  readonly onFork: (row: Selected) => void;
}

export function Waterfall({
  rows,
  axis,
  viewed,
  marks,
  now,
  label,
  current,
  onCurrent,
  onToggle,
  onFork,
}: WaterfallProps) {
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const bars = useRef<HTMLDivElement>(null);
  const width = useWidth(bars);
  const at = useMemo(() => new Map(rows.map((row, index) => [row.id, index])), [rows]);
  const index = current === null ? -1 : (at.get(current) ?? -1);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: OVERSCAN,
    scrollMargin: RULER_PX,
    scrollPaddingStart: RULER_PX,
    getItemKey: (place) => rows[place]?.id ?? place,
  });
  const shown = useRef<string | null>(null);
  useEffect(() => {
    // A selection that came from elsewhere is brought into sight once; scrolling away from it is free.
    if (current === shown.current || index < 0) return;
    shown.current = current;
    virtual.scrollToIndex(index, { align: "auto" });
  }, [current, index, virtual]);
  usePinch(scroller, viewed, bars, true);

  const go = (to: number, direction = 1): void => {
    let place = Math.max(0, Math.min(rows.length - 1, to));
    while (rows[place]?.type === "note" && rows[place + direction] !== undefined) place += direction;
    const row = rows[place];
    if (row?.type !== "span") return;
    shown.current = row.id;
    virtual.scrollToIndex(place, { align: "auto" });
    onCurrent(row, false);
  };
  const row = rows[index];
  const sideways = (open: boolean): void => {
    if (row?.type !== "span") return;
    if (row.expandable && row.expanded !== open) onToggle(row, open);
    else if (open && row.expanded) go(index + 1);
    else if (!open) {
      let up = index - 1;
      while (up >= 0 && (rows[up]?.depth ?? 0) >= row.depth) up -= 1;
      if (up >= 0) go(up, -1);
    }
  };
  const within = scroller;
  const key = (keys: string, does: string, run: () => void) => ({ keys, does, group: "Steps", run, within });
  useHotkeys([
    key("arrowdown", "Next step", () => go(index + 1)),
    key("arrowup", "Step before", () => go(index < 0 ? 0 : index - 1, -1)),
    key("arrowright", "Expand, or go in", () => sideways(true)),
    key("arrowleft", "Collapse, or go out", () => sideways(false)),
    key("home", "First step", () => go(0)),
    key("end", "Last step", () => go(rows.length - 1, -1)),
    key("pagedown", "Further down", () => go(index + PAGE_ROWS)),
    key("pageup", "Further up", () => go(index - PAGE_ROWS, -1)),
    key("enter", "Open what it recorded", () => row?.type === "span" && onCurrent(row, true)),
    key("f", "Fork here", () => row?.type === "span" && onFork(row)),
    { keys: "+", does: "Zoom in", group: "Axis", run: () => viewed.zoom(0.6) },
    { keys: "-", does: "Zoom out", group: "Axis", run: () => viewed.zoom(1 / 0.6) },
    {
      keys: "z",
      does: "Zoom to the step",
      group: "Axis",
      run: () => row?.type === "span" && viewed.show(around(row, axis, now)),
    },
    { keys: "0", does: "All of the run", group: "Axis", run: viewed.fit },
  ]);

  const select = useCallback(
    (chosen: Selected): void => {
      shown.current = chosen.id;
      onCurrent(chosen, true);
    },
    [onCurrent],
  );

  return (
    <div
      ref={scroller}
      role="treegrid"
      aria-label={label}
      aria-rowcount={rows.length}
      aria-activedescendant={index < 0 ? undefined : `${id}-${index}`}
      tabIndex={0}
      className="@container relative min-h-0 grow overflow-y-auto overflow-x-hidden bg-surface focus-visible:-outline-offset-2"
    >
      <Ruler axis={axis} viewed={viewed} marks={marks} width={width} now={now} bars={bars} />
      <div
        role="rowgroup"
        className="relative min-h-[calc(100%-2.75rem)]"
        style={{ height: virtual.getTotalSize() }}
      >
        <Backdrop axis={axis} viewed={viewed} marks={marks} width={width} now={now} />
        {virtual.getVirtualItems().map((item) => {
          const one = rows[item.index];
          if (one === undefined) return null;
          return one.type === "note" ? (
            <NoteLine key={item.key} row={one} top={item.start - RULER_PX} index={item.index} />
          ) : (
            <SpanRow
              key={item.key}
              row={one}
              id={`${id}-${item.index}`}
              index={item.index}
              top={item.start - RULER_PX}
              axis={axis}
              view={viewed.view}
              now={one.span.to === null ? now : null}
              current={item.index === index}
              onSelect={select}
              onToggle={onToggle}
            />
          );
        })}
        <Crosshair axis={axis} viewed={viewed} now={now} bars={bars} body={scroller} />
      </div>
      {rows.length === 0 && (
        <div role="row" tabIndex={-1}>
          <Cell>
            <Empty title="No step is shown">Nothing is recorded yet, or no step fits the filters.</Empty>
          </Cell>
        </div>
      )}
    </div>
  );
}

/** The stretch of the axis in which a row lies, with some room beside it. */
function around({ span, shift }: Selected, axis: Axis, now: number | null): readonly [number, number] {
  const from = axis.toV(span.from + shift);
  const to = axis.toV((span.to ?? now ?? axis.end) + shift);
  const room = Math.max(1, (to - from) * 0.1);
  return [Math.max(0, from - room), Math.min(axis.length, to + room)];
}

/** The width of the bars in px, for how many ticks have room. */
function useWidth(place: RefObject<HTMLDivElement | null>): number {
  const [width, setWidth] = useState(600);
  useLayoutEffect(() => {
    const element = place.current;
    if (element === null) return;
    setWidth(element.clientWidth);
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, [place]);
  return width;
}
