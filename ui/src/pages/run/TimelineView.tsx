/** The waterfall with its tools: filters, folding, zoom. Which row has the keyboard is kept here; which step is selected, in the address. */

import { ChevronsDownUp, ChevronsUpDown, Maximize2, ZoomIn, ZoomOut } from "lucide-react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { hasEnded, type Run } from "~/api/types";
import { IconButton } from "~/design/Button";
import { useFineNow, useNow } from "~/lib/ticking";
import { matcherOf } from "./filter";
import { StepFilters } from "./StepFilters";
import { useSelection } from "./selection";
import { endFor } from "./timeline/clock";
import { above, type SpanRow } from "./timeline/rows";
import { placeOf, type Steps } from "./timeline/steps";
import type { Flight } from "./timeline/tree";
import { useView } from "./timeline/useView";
import { useWaterfall } from "./timeline/useWaterfall";
import { Waterfall } from "./timeline/Waterfall";

/** Rows pass quickly under a held key; the address and what was recorded follow when it rests. */
const REST_MS = 140;

export function TimelineView({
  run,
  steps,
  flights,
  wide,
  asked,
  onOpen,
  onAsked,
}: {
  run: Run;
  steps: Steps;
  flights: readonly Flight[];
  /** The step panel stands beside it, and follows the keyboard. */
  wide: boolean;
  /** The row in the panel that stands for no recorded step. */
  asked: SpanRow | null;
  onOpen: () => void;
  /** A row that stands for no recorded step was chosen, or is not as it was. */
  onAsked: (row: SpanRow | null) => void;
}) {
  const { runId, of, step, search, select, change } = useSelection();
  const ended = hasEnded(run);
  const time = useFineNow(run.status === "running", useNow(!ended)) - steps.createdAt;
  const now = ended ? null : Math.max(steps.now, time);
  const end = now === null ? endOf(run, steps) : endFor(now);
  const { kind, outcome, q } = search;
  const matches = useMemo(() => matcherOf({ kind, outcome, q }), [kind, outcome, q]);
  const { rows, axis, toggle, reveal, showChild, openAll } = useWaterfall(steps, flights, end, matches);
  const viewed = useView(axis.length);
  const [current, setCurrent] = useState<string | null>(null);
  const rest = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  /** Which child was opened for the sake of the selection: once, so that it can be closed again. */
  const shownChild = useRef<string | null>(null);
  /** The rows of children come later than the selection that is in them. */
  const shownRows = of === runId ? null : rows;
  const latest = useRef(rows);
  useEffect(() => {
    latest.current = rows;
  });

  const applied = useRef<string | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a child's rows come later than the selection in them
  useEffect(() => {
    const wanted = step === null ? null : `${of}/${step}`;
    // Once for each selection: what somebody closes afterwards stays closed, however the run goes on.
    if (wanted === null || step === null || applied.current === wanted) {
      applied.current = wanted;
      return;
    }
    const id = rowIdOf(steps, runId, of, step, latest.current);
    if (id === null) {
      if (of !== runId && shownChild.current !== of) showChild(of);
      shownChild.current = of;
      return;
    }
    applied.current = wanted;
    setCurrent(id);
    if (of === runId && !latest.current.some((row) => row.id === id)) reveal(above(id));
  }, [steps, runId, of, step, reveal, showChild, shownRows]);
  useEffect(() => () => clearTimeout(rest.current), []);

  /** What is open ends while it is looked at: then its recorded step is what was chosen. */
  useEffect(() => {
    const found = asked === null ? undefined : rows.find((row) => row.id === asked.id);
    if (asked === null || found?.type !== "span" || found.span === asked.span) return;
    onAsked(found.span.seq === null ? found : null);
    if (found.span.seq !== null) select(found.steps.runId, found.span.seq);
  }, [rows, asked, onAsked, select]);

  const onCurrent = useCallback(
    (row: SpanRow, chosen: boolean) => {
      setCurrent(row.id);
      onAsked(row.span.seq === null ? row : null);
      clearTimeout(rest.current);
      const settle = (): void => select(row.steps.runId, row.span.seq);
      if (chosen) {
        settle();
        onOpen();
      } else if (wide) rest.current = setTimeout(settle, REST_MS);
    },
    [select, wide, onOpen, onAsked],
  );
  const onFork = useCallback(
    (row: SpanRow) => {
      if (row.steps.runId === runId && row.span.seq !== null)
        change({ step: row.span.seq, of: undefined, fork: true });
    },
    [change, runId],
  );
  const kinds = useMemo(() => [...new Set(steps.kind)].sort(), [steps]);
  return (
    <div className="flex min-h-0 min-w-0 grow flex-col">
      <div className="flex shrink-0 flex-wrap items-center gap-1.5 border-b border-line bg-surface px-3 py-1.5">
        <StepFilters kinds={kinds} />
        <span className="grow" />
        <div role="group" aria-label="Rows and axis" className="flex">
          <IconButton label="Expand all" size="sm" onClick={() => openAll(true)}>
            <ChevronsUpDown size={14} />
          </IconButton>
          <IconButton label="Collapse all" size="sm" onClick={() => openAll(false)}>
            <ChevronsDownUp size={14} />
          </IconButton>
          <IconButton label="Zoom in" size="sm" onClick={() => viewed.zoom(0.6)}>
            <ZoomIn size={14} />
          </IconButton>
          <IconButton
            label="Zoom out"
            size="sm"
            disabled={viewed.isWhole}
            onClick={() => viewed.zoom(1 / 0.6)}
          >
            <ZoomOut size={14} />
          </IconButton>
          <IconButton label="All of the run" size="sm" disabled={viewed.isWhole} onClick={viewed.fit}>
            <Maximize2 size={14} />
          </IconButton>
        </div>
      </div>
      <Waterfall
        rows={rows}
        axis={axis}
        viewed={viewed}
        marks={steps.marks}
        now={now}
        label="Steps in time"
        current={current}
        onCurrent={onCurrent}
        onToggle={toggle}
        onFork={onFork}
      />
    </div>
  );
}

function endOf(run: Run, steps: Steps): number {
  const ended = run.ended_at === null ? 0 : Date.parse(run.ended_at) - steps.createdAt;
  return Math.max(ended, steps.to.at(-1) ?? 0);
}

/** The row of a step: by its key in this run; in a child's, wherever that is shown. */
function rowIdOf(
  steps: Steps,
  runId: string,
  of: string,
  seq: number,
  rows: readonly { type: string; id: string }[],
): string | null {
  if (of !== runId) {
    const found = (rows as readonly SpanRow[]).find(
      (row) => row.type === "span" && row.steps.runId === of && row.span.seq === seq,
    );
    return found?.id ?? null;
  }
  const at = placeOf(steps, seq);
  if (at < 0) return null;
  const attempt = steps.attempt[at] ?? 1;
  return attempt === 1 ? (steps.key[at] ?? null) : `${steps.key[at]}@${attempt}`;
}
