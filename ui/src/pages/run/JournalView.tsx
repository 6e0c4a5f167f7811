/** The journal of a run as a table, in the order in which it was recorded. */

import { useVirtualizer } from "@tanstack/react-virtual";
import clsx from "clsx";
import { useEffect, useId, useMemo, useRef } from "react";
import { Status } from "~/design/Badge";
import { Cell } from "~/design/Cell";
import { KindIcon } from "~/design/Kind";
import { Empty } from "~/design/States";
import { cost, duration, plural, short } from "~/lib/format";
import { useHotkeys } from "~/lib/hotkeys";
import { inert } from "~/lib/text";
import { matcherOf } from "./filter";
import { StepFilters } from "./StepFilters";
import { useSelection } from "./selection";
import type { Steps } from "./timeline/steps";

const ROW_PX = 30;
const HEAD_PX = 32;
const OVERSCAN = 8;
const COLUMNS =
  "grid grid-cols-[3rem_minmax(6rem,1fr)_6.25rem_5.25rem] @xl:grid-cols-[3rem_minmax(6rem,1fr)_minmax(5rem,0.7fr)_6.25rem_3rem_5.25rem] @4xl:grid-cols-[3.5rem_minmax(8rem,1.4fr)_minmax(6rem,1fr)_5rem_6.25rem_4rem_5.25rem_4.5rem_4.5rem_6.25rem]";
const AT_XL = "hidden @xl:block";
const AT_4XL = "hidden @4xl:block";

export function JournalView({ steps, onOpen }: { steps: Steps; onOpen: () => void }) {
  const { runId, of, step, search, select, change } = useSelection();
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const { kind, outcome, q } = search;
  const places = useMemo(() => placesOf(steps, matcherOf({ kind, outcome, q })), [steps, kind, outcome, q]);
  const index = of === runId && step !== null ? places.findIndex((at) => steps.seq[at] === step) : -1;
  const virtual = useVirtualizer({
    count: places.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: OVERSCAN,
    scrollMargin: HEAD_PX,
    scrollPaddingStart: HEAD_PX,
  });
  const shown = useRef<number | null>(null);
  useEffect(() => {
    if (step === shown.current || index < 0) return;
    shown.current = step;
    virtual.scrollToIndex(index, { align: "auto" });
  }, [step, index, virtual]);
  const go = (to: number): void => {
    const at = places[Math.max(0, Math.min(places.length - 1, to))];
    if (at !== undefined) select(runId, steps.seq[at] ?? null);
  };
  const key = (keys: string, does: string, run: () => void) => ({
    keys,
    does,
    group: "Steps",
    run,
    within: scroller,
  });
  useHotkeys([
    key("arrowdown", "Next step", () => go(index + 1)),
    key("arrowup", "Step before", () => go(Math.max(0, index - 1))),
    key("home", "First step", () => go(0)),
    key("end", "Last step", () => go(places.length - 1)),
    key("enter", "Open what it recorded", onOpen),
    key("f", "Fork here", () => index >= 0 && change({ fork: true })),
  ]);
  const kinds = useMemo(() => [...new Set(steps.kind)].sort(), [steps]);
  return (
    <div className="flex min-h-0 min-w-0 grow flex-col">
      <div className="flex shrink-0 flex-wrap items-center gap-1.5 border-b border-line bg-surface px-3 py-1.5">
        <StepFilters kinds={kinds} />
        <span className="ml-auto text-xs text-ink-3 tabular" role="status">
          {plural(places.length, "step")}
        </span>
      </div>
      <div
        ref={scroller}
        role="grid"
        aria-label="Journal"
        aria-rowcount={places.length + 1}
        aria-activedescendant={index < 0 ? undefined : `${id}-${index}`}
        tabIndex={0}
        className="@container relative min-h-0 grow overflow-y-auto overflow-x-hidden bg-surface focus-visible:-outline-offset-2"
      >
        <Head />
        <div role="rowgroup" className="relative" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((item) => {
            const at = places[item.index] as number;
            return (
              <JournalRow
                key={item.key}
                id={`${id}-${item.index}`}
                steps={steps}
                at={at}
                row={item.index + 2}
                top={item.start - HEAD_PX}
                current={item.index === index}
                onSelect={() => {
                  shown.current = steps.seq[at] ?? null;
                  select(runId, steps.seq[at] ?? null);
                  onOpen();
                }}
              />
            );
          })}
        </div>
        {places.length === 0 && (
          <div role="row" tabIndex={-1}>
            <Cell>
              <Empty title="No step is shown">Nothing is recorded yet, or no step fits the filters.</Empty>
            </Cell>
          </div>
        )}
      </div>
    </div>
  );
}

function placesOf(steps: Steps, matches: ReturnType<typeof matcherOf>): readonly number[] {
  const all = Array.from(steps.seq, (_, at) => at);
  if (matches === null) return all;
  return all.filter((at) =>
    matches({
      type: "step",
      kind: steps.kind[at] ?? "",
      status: steps.outcome[at] ?? "",
      name: steps.name[at] ?? "",
      key: steps.key[at] ?? "",
    }),
  );
}

function Head() {
  const cell = "truncate px-2";
  return (
    <div role="rowgroup" className="sticky top-0 z-10">
      <div
        tabIndex={-1}
        role="row"
        aria-rowindex={1}
        style={{ height: HEAD_PX }}
        className={clsx(COLUMNS, "items-center border-b border-line bg-surface text-2xs text-ink-3")}
      >
        <Cell role="columnheader" className={clsx(cell, "text-right")}>
          Step
        </Cell>
        <Cell role="columnheader" className={cell}>
          Key
        </Cell>
        <Cell role="columnheader" className={clsx(cell, AT_XL)}>
          Name
        </Cell>
        <Cell role="columnheader" className={clsx(cell, AT_4XL)}>
          Kind
        </Cell>
        <Cell role="columnheader" className={cell}>
          Status
        </Cell>
        <Cell role="columnheader" className={clsx(cell, AT_XL, "text-right")}>
          Tries
        </Cell>
        <Cell role="columnheader" className={clsx(cell, "text-right")}>
          Duration
        </Cell>
        <Cell role="columnheader" className={clsx(cell, AT_4XL, "text-right")}>
          Tokens
        </Cell>
        <Cell role="columnheader" className={clsx(cell, AT_4XL, "text-right")}>
          Cost
        </Cell>
        <Cell role="columnheader" className={clsx(cell, AT_4XL)}>
          Effect
        </Cell>
      </div>
    </div>
  );
}

function JournalRow({
  id,
  steps,
  at,
  row,
  top,
  current,
  onSelect,
}: {
  id: string;
  steps: Steps;
  at: number;
  row: number;
  top: number;
  current: boolean;
  onSelect: () => void;
}) {
  const tokens = (steps.tokensIn[at] ?? 0) + (steps.tokensOut[at] ?? 0);
  const attempt = steps.attempt[at] ?? 1;
  const tries = steps.tries[at] ?? 1;
  const status = steps.outcome[at] ?? "";
  const dim = status === "voided" || (steps.seq[at] ?? 0) <= steps.inheritedTo;
  const cell = "truncate px-2";
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keyboard is the grid's
    <div
      role="row"
      id={id}
      tabIndex={-1}
      aria-rowindex={row}
      aria-selected={current}
      onClick={onSelect}
      style={{ transform: `translateY(${top}px)`, height: ROW_PX }}
      className={clsx(
        COLUMNS,
        "absolute inset-x-0 top-0 cursor-default items-center border-b border-line/60 text-xs [contain:strict]",
        current ? "bg-accent-soft" : "hover:bg-hover/60",
        dim ? "text-ink-3" : "text-ink-2",
      )}
    >
      <Cell className={clsx(cell, "text-right text-ink-3 tabular")}>{steps.seq[at]}</Cell>
      <Cell className="flex min-w-0 items-center gap-1.5 px-2">
        <KindIcon kind={steps.kind[at] ?? ""} size={13} />
        <span
          dir="auto"
          title={steps.key[at]}
          className={clsx("truncate font-mono text-2xs", !dim && "text-ink")}
        >
          {inert(steps.key[at] ?? "")}
        </span>
      </Cell>
      <Cell dir="auto" className={clsx(cell, AT_XL, "font-medium", !dim && "text-ink")}>
        {inert(steps.name[at] ?? "")}
      </Cell>
      <Cell className={clsx(cell, AT_4XL)}>{steps.kind[at]}</Cell>
      <Cell className={cell} title={steps.error[at] ?? undefined}>
        <Status status={status} quiet />
      </Cell>
      <Cell
        title={`attempt ${attempt}, ${plural(tries, "try", "tries")}`}
        className={clsx(cell, AT_XL, "text-right tabular")}
      >
        {attempt > 1 ? `${attempt} · ${tries}` : tries}
      </Cell>
      <Cell className={clsx(cell, "text-right tabular")}>
        {duration((steps.to[at] ?? 0) - (steps.from[at] ?? 0))}
      </Cell>
      <Cell className={clsx(cell, AT_4XL, "text-right tabular")}>{tokens > 0 && short(tokens)}</Cell>
      <Cell className={clsx(cell, AT_4XL, "text-right tabular")}>
        {(steps.cost[at] ?? 0) > 0 && cost(steps.cost[at] ?? 0)}
      </Cell>
      <Cell className={clsx(cell, AT_4XL)}>
        {steps.effect[at] !== null && <Status status={steps.effect[at] ?? ""} quiet />}
      </Cell>
    </div>
  );
}
