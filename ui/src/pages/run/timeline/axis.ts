/**
 * The axis of a waterfall: time in which something was done in proportion, and the times between, in which a run waited or
 * nobody had it, each folded into a gap. So a run that took 3 s of work and 2 days for an approval fits on one screen. Pure.
 *
 * `v` is a place along the folded axis: it grows by one a millisecond where something was done.
 */

import type { Pause } from "./steps";

export interface Gap {
  readonly from: number;
  readonly to: number;
  /** What was waited for, as the server calls it; `idle` when nothing says it, `fork` before a fork's own beginning. */
  readonly type: string;
  readonly key: string | null;
  readonly open: boolean;
  readonly v0: number;
  readonly v1: number;
}

export interface Axis {
  readonly start: number;
  readonly end: number;
  readonly length: number;
  readonly gaps: readonly Gap[];
  readonly toV: (t: number) => number;
  readonly toT: (v: number) => number;
}

/** A gap is folded when it is longer than this share of all work, and than this many ms. */
const FOLD_SHARE = 0.12;
const FOLD_MS = 60;
const GAP_SHARE = 0.12;
const GAPS_SHARE = 0.6;

export interface Busy {
  readonly from: ArrayLike<number>;
  readonly to: ArrayLike<number>;
}

/** Stretches of [start, end] in which none of the spans was at work, by a sweep over their ends. */
export function idleStretches(start: number, end: number, busy: Busy): (readonly [number, number])[] {
  const began = Float64Array.from(busy.from).sort();
  const ended = Float64Array.from(busy.to).sort();
  const found: (readonly [number, number])[] = [];
  let idleSince = start;
  let under = 0;
  let e = 0;
  for (const from of began) {
    while (e < ended.length && (ended[e] as number) < from) {
      under -= 1;
      if (under === 0) idleSince = Math.max(idleSince, ended[e] as number);
      e += 1;
    }
    if (under === 0 && from > idleSince) found.push([idleSince, Math.min(from, end)]);
    under += 1;
  }
  const last = ended.length > 0 ? Math.max(start, ended[ended.length - 1] as number) : start;
  if (end > last) found.push([last, end]);
  return found.filter(([from, to]) => to > from);
}

export function axisOf(
  start: number,
  end: number,
  busy: Busy,
  waits: readonly Pause[],
  forked = false,
): Axis {
  const last = Math.max(end, start + 1);
  const idle = idleStretches(start, last, busy);
  const work = Math.max(
    last - start - idle.reduce((sum, [from, to]) => sum + to - from, 0),
    Math.min(20, last - start),
  );
  const folded = idle
    .filter(([from, to]) => to - from > Math.max(FOLD_SHARE * work, FOLD_MS))
    .flatMap(([from, to]) => byReason(from, to, waits));
  const width = Math.min(GAP_SHARE * work, (GAPS_SHARE * work) / Math.max(1, folded.length));
  let cut = 0;
  const gaps = folded.map(([from, to]): Gap => {
    const v0 = from - start - cut;
    cut += to - from - width;
    return { from, to, v0, v1: v0 + width, ...reasonOf(from, to, last, waits, forked) };
  });
  return { start, end: last, length: last - start - cut, gaps, ...scalesOf(start, gaps) };
}

/** The waits that lie in a stretch. They come in order and never overlap: nobody has a run twice. */
function waitsIn(from: number, to: number, waits: readonly Pause[]): readonly Pause[] {
  let low = 0;
  let high = waits.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((waits[middle]?.to ?? Number.POSITIVE_INFINITY) <= from) low = middle + 1;
    else high = middle;
  }
  let last = low;
  while (last < waits.length && (waits[last] as Pause).from < to) last += 1;
  return waits.slice(low, last);
}

/** A stretch in which a run waited for one thing, then another: cut where the next wait begins. */
function byReason(from: number, to: number, waits: readonly Pause[]): (readonly [number, number])[] {
  const found: (readonly [number, number])[] = [];
  let since = from;
  for (const wait of waitsIn(from, to, waits)) {
    if (wait.from - since < FOLD_MS || to - wait.from < FOLD_MS) continue;
    found.push([since, wait.from]);
    since = wait.from;
  }
  return [...found, [since, to]];
}

function reasonOf(
  from: number,
  to: number,
  end: number,
  waits: readonly Pause[],
  forked: boolean,
): Pick<Gap, "type" | "key" | "open"> {
  let best: Pause | null = null;
  let most = 0;
  for (const wait of waitsIn(from, to, waits)) {
    const shared = Math.min(to, wait.to ?? Number.POSITIVE_INFINITY) - Math.max(from, wait.from);
    if (shared > most) [best, most] = [wait, shared];
  }
  if (best !== null) return { type: best.type, key: best.key, open: best.to === null && to >= end };
  return { type: forked && from < 0 ? "fork" : "idle", key: null, open: false };
}

function scalesOf(start: number, gaps: readonly Gap[]): Pick<Axis, "toV" | "toT"> {
  const before = (value: number, edge: (gap: Gap) => number): Gap | undefined => {
    let low = 0;
    let high = gaps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (edge(gaps[middle] as Gap) <= value) low = middle + 1;
      else high = middle;
    }
    return gaps[low - 1];
  };
  return {
    toV: (t) => {
      const gap = before(t, (one) => one.from);
      if (gap === undefined) return t - start;
      return t >= gap.to
        ? gap.v1 + t - gap.to
        : gap.v0 + ((t - gap.from) / (gap.to - gap.from)) * (gap.v1 - gap.v0);
    },
    toT: (v) => {
      const gap = before(v, (one) => one.v0);
      if (gap === undefined) return v + start;
      return v >= gap.v1
        ? gap.to + v - gap.v1
        : gap.from + ((v - gap.v0) / (gap.v1 - gap.v0)) * (gap.to - gap.from);
    },
  };
}

// -- ticks ------------------------------------------------------------------------------------------------------------

export interface Tick {
  readonly v: number;
  readonly label: string;
}

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;
const NICE = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 7, 14, 30, 90, 365].map((n) => n * DAY),
];
const TICK_PX = 88;
/** Behind a gap, where the time since the beginning is long and the steps are short, ticks count from the gap's end. */
const RELATIVE_STEPS = 1_000;

export const niceStep = (atLeast: number): number =>
  NICE.find((step) => step >= atLeast) ?? (NICE.at(-1) as number);

/** Ticks of what is in view, at round times, none of them within a gap. */
export function ticksOf(axis: Axis, view: readonly [number, number], width: number): readonly Tick[] {
  const [v0, v1] = view;
  const step = niceStep(((v1 - v0) / Math.max(1, width)) * TICK_PX);
  const found: Tick[] = [];
  const edges = [axis.start, ...axis.gaps.map((gap) => gap.to)];
  edges.forEach((from, index) => {
    const to = axis.gaps[index]?.from ?? axis.end;
    const relative = index > 0 && Math.abs(from) > step * RELATIVE_STEPS;
    const base = relative ? from : 0;
    const first = Math.max(from, axis.toT(v0));
    const last = Math.min(to, axis.toT(v1));
    for (let n = Math.ceil((first - base) / step); base + n * step <= last; n += 1)
      found.push({ v: axis.toV(base + n * step), label: (relative ? "+" : "") + tickLabel(n * step, step) });
  });
  return found;
}

export function tickLabel(t: number, step: number): string {
  if (t < 0) return `−${tickLabel(-t, step)}`;
  if (t === 0) return "0";
  if (t < SECOND) return `${t} ms`;
  const digits = step >= SECOND ? 0 : step >= 100 ? 1 : step >= 10 ? 2 : 3;
  if (t < MINUTE) return `${(t / SECOND).toFixed(digits)} s`;
  const two = (n: number): string => String(n).padStart(2, "0");
  const seconds = (t % MINUTE) / SECOND;
  const shown = digits === 0 ? two(Math.floor(seconds)) : seconds.toFixed(digits).padStart(3 + digits, "0");
  if (t < HOUR) return `${Math.floor(t / MINUTE)}:${shown}`;
  const minutes = Math.floor((t % HOUR) / MINUTE);
  if (t < DAY)
    return step >= MINUTE
      ? `${Math.floor(t / HOUR)} h${minutes ? ` ${minutes} min` : ""}`
      : `${Math.floor(t / HOUR)}:${two(minutes)}:${shown}`;
  const hours = Math.floor((t % DAY) / HOUR);
  return `${Math.floor(t / DAY)} d${step < DAY ? ` ${hours}:${two(minutes)}` : ""}`;
}

// -- what is in view --------------------------------------------------------------------------------------------------

export type View = readonly [number, number];

const VIEW_MIN = 0.5;

/** Zoomed by `factor` around the place `at`; never beyond the whole, nor closer than half a millisecond. */
export function zoomed(view: View, factor: number, at: number, length: number): View {
  const size = Math.min(length, Math.max(Math.min(VIEW_MIN, length), (view[1] - view[0]) * factor));
  const share = (at - view[0]) / (view[1] - view[0]);
  return moved([at - share * size, at - share * size + size], 0, length);
}

export function moved(view: View, by: number, length: number): View {
  const size = Math.min(length, view[1] - view[0]);
  const from = Math.min(Math.max(0, view[0] + by), length - size);
  return [from, from + size];
}
