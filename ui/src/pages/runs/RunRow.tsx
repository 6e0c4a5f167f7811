import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { CornerDownRight, FileInput, GitFork, Hourglass } from "lucide-react";
import { memo, type ReactNode } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { hasEnded, type Run } from "~/api/types";
import { Status } from "~/design/Badge";
import { Cell } from "~/design/Cell";
import { Elapsed, Time } from "~/design/Facts";
import { Waiting } from "~/design/Waiting";
import { cost, count, plural, short } from "~/lib/format";
import { oneLine, saidTo } from "~/lib/text";

export const ROW_PX = 38;
export const CARD_PX = 88;

export const COLUMNS =
  "grid pr-3 grid-cols-[2rem_6.25rem_8rem_minmax(0,1fr)_5.25rem_5.25rem] @4xl:grid-cols-[2rem_6.25rem_minmax(7rem,11rem)_minmax(0,1fr)_5.5rem_6rem_4rem_4.5rem_5rem]";
export const AT_4XL = "hidden @4xl:block";
/** As much of an input as a list tells. */
const LISTED_BYTES = 4 * 1024;

export interface RunRowProps {
  readonly run: Run;
  /** The newest rows are kept true by the list; the others follow their own run. */
  readonly followed: boolean;
  readonly index: number;
  readonly top: number;
  readonly card: boolean;
  readonly picked: boolean;
  readonly onPick: (id: string) => void;
}

export const RunRow = memo(function RunRow({
  run: given,
  followed,
  index,
  top,
  card,
  picked,
  onPick,
}: RunRowProps) {
  const own = useQuery({
    // Not the run's own name: a list may have left out what the run was given.
    queryKey: keys.ofRun(given.id, "row"),
    enabled: !followed,
    initialData: given,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}", {
          params: { path: { run_id: given.id }, query: { bytes_max: LISTED_BYTES } },
          signal,
        }),
      ),
  });
  const run = followed ? given : own.data;
  const shown = { run, picked, onPick };
  return (
    <div
      role="row"
      tabIndex={-1}
      aria-rowindex={index + 2}
      data-run={run.id}
      style={{ transform: `translateY(${top}px)`, height: card ? CARD_PX : ROW_PX }}
      className={clsx(
        "group absolute inset-x-0 top-0 border-b border-line/70 text-sm transition-transform duration-200 focus-within:bg-hover/60 hover:bg-hover/60",
        picked && "bg-accent-soft",
      )}
    >
      {card ? <Card {...shown} /> : <Line {...shown} />}
    </div>
  );
});

interface ShownProps {
  readonly run: Run;
  readonly picked: boolean;
  readonly onPick: (id: string) => void;
}

function Line(props: ShownProps) {
  const { run } = props;
  const tokens = run.usage.input_tokens + run.usage.output_tokens;
  const number = "truncate px-2 text-right text-xs text-ink-2 tabular";
  return (
    <div role="presentation" className={clsx(COLUMNS, "h-full items-center")}>
      <Cell role="cell" className="relative z-10 flex h-full items-center justify-center">
        <Pick {...props} />
      </Cell>
      <Cell role="cell" className="flex items-center px-1">
        <Status status={run.status} />
      </Cell>
      <Cell role="cell" className="min-w-0 truncate px-2">
        <RunLink run={run}>
          <span className="font-medium">{oneLine(run.agent, 60)}</span>
        </RunLink>
      </Cell>
      <Cell role="cell" className="flex min-w-0 items-center gap-2 px-2 text-ink-2">
        <Said run={run} />
        <Marks run={run} />
      </Cell>
      <Cell role="cell" className={number}>
        <Time at={run.created_at} />
      </Cell>
      <Cell role="cell" className={number}>
        <Elapsed from={run.started_at} to={run.ended_at} />
      </Cell>
      <Cell role="cell" className={clsx(number, AT_4XL)}>
        {count(run.steps)}
      </Cell>
      <Cell role="cell" className={clsx(number, AT_4XL)}>
        {tokens > 0 ? short(tokens) : <span className="text-ink-3">—</span>}
      </Cell>
      <Cell role="cell" className={clsx(number, AT_4XL)}>
        {run.usage.requests > 0 ? (
          cost(run.usage.cost_micros, run.usage.priced)
        ) : (
          <span className="text-ink-3">—</span>
        )}
      </Cell>
    </div>
  );
}

function Card(props: ShownProps) {
  const { run } = props;
  const tokens = run.usage.input_tokens + run.usage.output_tokens;
  return (
    <Cell role="cell" className="flex h-full flex-col justify-center gap-1 px-4">
      <div className="flex items-center gap-2">
        <RunLink run={run}>
          <span className="font-semibold">{oneLine(run.agent, 60)}</span>
        </RunLink>
        <Status status={run.status} />
        <span className="grow" />
        <span className="relative z-10 flex size-6 items-center justify-center">
          <Pick {...props} />
        </span>
      </div>
      <div className="flex min-w-0 items-center gap-2 text-ink-2">
        <Said run={run} />
        <Marks run={run} />
      </div>
      <div className="flex gap-3 overflow-hidden whitespace-nowrap text-xs text-ink-3 tabular">
        <Time at={run.created_at} />
        <Elapsed from={run.started_at} to={run.ended_at} />
        <span>{plural(run.steps, "step")}</span>
        {tokens > 0 && <span>{short(tokens)} tokens</span>}
        {run.usage.requests > 0 && <span>{cost(run.usage.cost_micros, run.usage.priced)}</span>}
      </div>
    </Cell>
  );
}

/** The link reaches over the whole row; only the box to choose it lies above. */
const RunLink = ({ run, children }: { run: Run; children: ReactNode }) => (
  <Link
    to="/runs/$runId"
    params={{ runId: run.id }}
    preload={false}
    className="truncate text-ink outline-none after:absolute after:inset-0 focus-visible:after:outline-2 focus-visible:after:-outline-offset-2 focus-visible:after:outline-accent"
  >
    {children}
  </Link>
);

function Said({ run }: { run: Run }) {
  return (
    <span dir="auto" className="min-w-0 grow truncate">
      {oneLine(saidTo(run), 240) || <span className="text-ink-3">no input</span>}
    </span>
  );
}

function Marks({ run }: { run: Run }) {
  const wait = run.waiting_on[0];
  return (
    <>
      {wait && !hasEnded(run) && (
        <span className="flex max-w-56 shrink-0 items-center gap-1 truncate text-xs text-warn">
          <Hourglass size={12} aria-hidden className="shrink-0" />
          <span className="truncate">
            <Waiting wait={wait} brief />
            {run.waiting_on.length > 1 && ` and ${run.waiting_on.length - 1} more`}
          </span>
        </span>
      )}
      {run.error && (
        <span
          className="max-w-40 shrink-0 truncate font-mono text-2xs text-bad"
          title={oneLine(run.error.message, 200)}
        >
          {run.error.code}
        </span>
      )}
      {run.parent && <Mark icon={<CornerDownRight size={13} />} label="child run" />}
      {run.forked_from && <Mark icon={<GitFork size={13} />} label="fork" />}
      {run.imported && <Mark icon={<FileInput size={13} />} label="imported" />}
    </>
  );
}

const Mark = ({ icon, label }: { icon: ReactNode; label: string }) => (
  <span title={label} className="shrink-0 text-ink-3">
    <span aria-hidden>{icon}</span>
    <span className="sr-only">{label}</span>
  </span>
);

function Pick({ run, picked, onPick }: ShownProps) {
  return (
    <input
      type="checkbox"
      checked={picked}
      onChange={() => onPick(run.id)}
      aria-label={`Choose ${run.agent}, ${run.id}, to compare`}
      className={clsx(
        "size-3.5 cursor-pointer accent-accent focus-visible:opacity-100 group-hover:opacity-100 group-focus-within:opacity-100",
        !picked && "opacity-45",
      )}
    />
  );
}
