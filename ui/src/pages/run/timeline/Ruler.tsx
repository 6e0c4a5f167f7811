/** The axis over the bars: ticks, what is folded away and why, what happened to the run; and the time under the pointer. */

import clsx from "clsx";
import { memo, type PointerEvent, type RefObject, useEffect, useRef, useState } from "react";
import { Cell } from "~/design/Cell";
import { duration } from "~/lib/format";
import { type Axis, type Gap, tickLabel, ticksOf, type View } from "./axis";
import { COLUMNS } from "./columns";
import type { Mark } from "./steps";
import { placed, type Viewed } from "./useView";
import { coarse, gapWords, markWords } from "./words";

/** How far apart labels of gaps stand at least. */
const LABEL_PX = 46;
const GAP_PX_MIN = 1.5;
const TICK_ROOM_PX = 40;

export const Ruler = memo(function Ruler({
  axis,
  viewed,
  marks,
  width,
  now,
  bars,
}: {
  axis: Axis;
  viewed: Viewed;
  marks: readonly Mark[];
  width: number;
  now: number | null;
  bars: RefObject<HTMLDivElement | null>;
}) {
  const ticks = ticksOf(axis, viewed.view, width);
  const gaps = visible(axis.gaps, viewed.view, width);
  const labelled = roomFor(gaps, viewed.view, width);
  usePinch(bars, viewed);
  return (
    <div
      role="row"
      tabIndex={-1}
      className={clsx(
        COLUMNS,
        "sticky top-0 z-20 h-11 select-none items-end border-b border-line bg-surface text-2xs text-ink-3",
      )}
    >
      <Cell role="columnheader" className="px-3 pb-1.5">
        Step
      </Cell>
      <div
        ref={bars}
        role="columnheader"
        aria-label="Time"
        tabIndex={-1}
        className="relative h-full min-w-0 cursor-ew-resize overflow-hidden"
        {...dragged(viewed)}
      >
        {gaps.map((gap, index) => (
          <GapLabel key={gap.from} gap={gap} viewed={viewed} now={now} shown={labelled[index] === true} />
        ))}
        {ticks.map((tick) => (
          <TickLabel
            key={tick.v}
            at={placed(viewed.view, tick.v, tick.v)?.left ?? -1}
            label={tick.label}
            width={width}
          />
        ))}
        {marks.map((mark) => {
          const place = placed(viewed.view, axis.toV(mark.at), axis.toV(mark.at));
          return (
            place && (
              <span
                key={`${mark.at}${mark.type}`}
                role="img"
                aria-label={markWords(mark.type)}
                title={`${markWords(mark.type)} · ${tickLabel(mark.at, 1)}`}
                style={{ left: `${place.left}%` }}
                className="absolute bottom-0 z-10 size-2 -translate-x-1/2 translate-y-1/2 rotate-45 border border-surface bg-accent"
              />
            )
          );
        })}
      </div>
      <Cell role="columnheader" className="px-2 pb-1.5 text-right">
        Duration
      </Cell>
      <Cell role="columnheader" className="hidden px-2 pb-1.5 text-right @2xl:block">
        Tokens
      </Cell>
      <Cell role="columnheader" className="hidden px-2 pb-1.5 text-right @2xl:block">
        Cost
      </Cell>
    </div>
  );
});

function TickLabel({ at, label, width }: { at: number; label: string; width: number }) {
  if (at < 0) return null;
  const nearEnd = ((100 - at) / 100) * width < TICK_ROOM_PX;
  return (
    <span
      style={{ left: `${at}%` }}
      className={clsx(
        "absolute bottom-1.5 whitespace-nowrap px-1 tabular",
        nearEnd ? "-translate-x-full" : "border-l border-line-2",
      )}
    >
      {label}
    </span>
  );
}

/** Gaps that can be seen: a run that slept 5,000 times has none until it is zoomed in. */
function visible(gaps: readonly Gap[], view: View, width: number): readonly Gap[] {
  const px = width / (view[1] - view[0]);
  return gaps.filter((gap) => (gap.v1 - gap.v0) * px >= GAP_PX_MIN && gap.v1 >= view[0] && gap.v0 <= view[1]);
}

/** Which gaps have room for a label beside the one before. */
function roomFor(gaps: readonly Gap[], view: View, width: number): readonly boolean[] {
  const px = width / (view[1] - view[0]);
  let last = Number.NEGATIVE_INFINITY;
  return gaps.map((gap) => {
    const middle = ((gap.v0 + gap.v1) / 2 - view[0]) * px;
    if (middle - last < LABEL_PX) return false;
    last = middle;
    return true;
  });
}

/** How long a gap is; one that lasts ends now, whatever the axis has left beyond. */
const lengthOf = (gap: Gap, now: number | null): number =>
  (gap.open && now !== null ? Math.min(gap.to, now) : gap.to) - gap.from;

function GapLabel({
  gap,
  viewed,
  now,
  shown,
}: {
  gap: Gap;
  viewed: Viewed;
  now: number | null;
  shown: boolean;
}) {
  const place = placed(viewed.view, gap.v0, gap.v1);
  if (place === null) return null;
  const said = `${duration(lengthOf(gap, now))}${gap.open ? " so far" : ""} ${gapWords(gap)}`;
  return (
    <span
      title={said}
      style={{ left: `${place.left}%`, width: `${place.width}%` }}
      className="absolute inset-y-0 flex items-start justify-center pt-1"
    >
      <span className={clsx("whitespace-nowrap rounded-sm bg-surface px-0.5", !shown && "sr-only")}>
        {coarse(lengthOf(gap, now))}
      </span>
    </span>
  );
}

/** Lines and folds behind all rows. */
export const Backdrop = memo(function Backdrop({
  axis,
  viewed,
  marks,
  width,
  now,
}: {
  axis: Axis;
  viewed: Viewed;
  marks: readonly Mark[];
  width: number;
  now: number | null;
}) {
  const at = (v: number): string | null => {
    const place = placed(viewed.view, v, v);
    return place && `${place.left}%`;
  };
  return (
    <div aria-hidden className={clsx(COLUMNS, "pointer-events-none absolute inset-0")}>
      <span />
      <div className="relative min-w-0 overflow-hidden">
        {ticksOf(axis, viewed.view, width).map((tick) => {
          const left = at(tick.v);
          return (
            left && <span key={tick.v} style={{ left }} className="absolute inset-y-0 w-px bg-line/70" />
          );
        })}
        {visible(axis.gaps, viewed.view, width).map((gap) => {
          const place = placed(viewed.view, gap.v0, gap.v1);
          return (
            place && (
              <span
                key={gap.from}
                style={{ left: `${place.left}%`, width: `${place.width}%` }}
                className="hatched absolute inset-y-0 border-x border-dashed border-line-2 bg-sunken opacity-50"
              />
            )
          );
        })}
        {marks.map((mark) => {
          const left = at(axis.toV(mark.at));
          return (
            left && (
              <span
                key={`${mark.at}${mark.type}`}
                style={{ left }}
                className="absolute inset-y-0 border-l border-dashed border-accent"
              />
            )
          );
        })}
        {now !== null && at(axis.toV(now)) && (
          <span style={{ left: at(axis.toV(now)) ?? 0 }} className="absolute inset-y-0 w-px bg-info/60" />
        )}
      </div>
    </div>
  );
});

/** A line at the pointer, and what time it is there. Its own state: moving it renders nothing else. */
export function Crosshair({
  axis,
  viewed,
  now,
  bars,
  body,
}: {
  axis: Axis;
  viewed: Viewed;
  now: number | null;
  bars: RefObject<HTMLDivElement | null>;
  body: RefObject<HTMLDivElement | null>;
}) {
  const [share, setShare] = useState<number | null>(null);
  useEffect(() => {
    const place = body.current;
    if (place === null) return;
    let frame = 0;
    const move = (event: globalThis.PointerEvent): void => {
      const box = bars.current?.getBoundingClientRect();
      if (box === undefined || event.pointerType === "touch") return;
      const found = (event.clientX - box.left) / box.width;
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => setShare(found >= 0 && found <= 1 ? found : null));
    };
    const leave = (): void => {
      cancelAnimationFrame(frame);
      setShare(null);
    };
    place.addEventListener("pointermove", move);
    place.addEventListener("pointerleave", leave);
    return () => {
      leave();
      place.removeEventListener("pointermove", move);
      place.removeEventListener("pointerleave", leave);
    };
  }, [bars, body]);
  const box = bars.current;
  if (share === null || box === null) return null;
  const [from, to] = viewed.view;
  const v = from + (to - from) * share;
  const gap = axis.gaps.find((one) => v >= one.v0 && v <= one.v1);
  const px = (to - from) / Math.max(1, box.clientWidth);
  const said = gap
    ? `${duration(lengthOf(gap, now))} ${gapWords(gap)}`
    : tickLabel(Math.round(axis.toT(v)), px < 10 ? 1 : px < 100 ? 10 : 1_000);
  return (
    <div
      aria-hidden
      className="pointer-events-none absolute inset-y-0 z-30"
      style={{ left: box.offsetLeft + share * box.clientWidth }}
    >
      <span className="absolute inset-y-0 w-px bg-ink-3/50" />
      <span
        className={clsx(
          "absolute top-1 whitespace-nowrap rounded-sm border border-line bg-raised px-1.5 text-2xs text-ink shadow-pop tabular",
          share > 0.7 ? "right-1" : "left-1",
        )}
      >
        {said}
      </span>
    </div>
  );
}

/** Drag the ruler to move along the axis. */
function dragged(viewed: Viewed) {
  return {
    onPointerDown: (event: PointerEvent<HTMLDivElement>) =>
      event.currentTarget.setPointerCapture(event.pointerId),
    onPointerMove: (event: PointerEvent<HTMLDivElement>) => {
      if (event.currentTarget.hasPointerCapture(event.pointerId) && event.movementX !== 0)
        viewed.move(-event.movementX / event.currentTarget.clientWidth);
    },
  };
}

/** The wheel over the ruler zooms around the pointer; over the rows with Ctrl or ⌘, which is also what a pinch sends. */
export function usePinch(
  place: RefObject<HTMLDivElement | null>,
  viewed: Viewed,
  bars = place,
  needsKey = false,
): void {
  const latest = useRef(viewed);
  useEffect(() => {
    latest.current = viewed;
  });
  useEffect(() => {
    const target = place.current;
    if (target === null) return;
    const wheel = (event: WheelEvent): void => {
      const box = bars.current?.getBoundingClientRect();
      if (box === undefined || (needsKey && !event.ctrlKey && !event.metaKey)) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) latest.current.move(event.deltaX / box.width);
      else latest.current.zoom(Math.exp(event.deltaY / 300), (event.clientX - box.left) / box.width);
    };
    target.addEventListener("wheel", wheel, { passive: false });
    return () => target.removeEventListener("wheel", wheel);
  }, [place, bars, needsKey]);
}
