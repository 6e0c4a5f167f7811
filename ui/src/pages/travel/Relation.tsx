import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { type components, hasEnded } from "~/api/types";
import { Badge, STATUS_TONES, Status } from "~/design/Badge";
import { Elapsed, Id, Time } from "~/design/Facts";
import { cost, plural, short } from "~/lib/format";
import { oneLine } from "~/lib/text";
import { LaneLines } from "./LaneLines";
import type { Row } from "./lanes";

type Relative = components["schemas"]["RelativeOut"];
const EDITED: Readonly<Record<string, string>> = {
  output: "another result",
  answer: "another answer",
  message: "another message",
  instructions: "other instructions",
  model: "another model",
};

export function Relation({
  row,
  lanes,
  current,
  chosen,
  onChoose,
  leftAt,
}: {
  row: Row<Relative>;
  lanes: number;
  current: boolean;
  chosen: boolean;
  onChoose: () => void;
  leftAt: string | null;
}) {
  const { of } = row;
  const from = of.forked_from;
  return (
    <li
      className={clsx(
        "flex min-h-16 items-stretch border-line [&:not(:first-child)]:border-t",
        current ? "bg-accent-soft/50" : "hover:bg-hover",
      )}
    >
      <label className="flex w-10 shrink-0 cursor-pointer items-center justify-center">
        <input type="checkbox" checked={chosen} onChange={onChoose} className="size-3.5 accent-accent" />
        <span className="sr-only">Select {of.id} to compare</span>
      </label>
      <LaneLines row={row} lanes={lanes} tone={STATUS_TONES[of.status] ?? "neutral"} current={current} />
      <Link
        to="/runs/$runId"
        params={{ runId: of.id }}
        data-run={of.id}
        aria-current={current ? "true" : undefined}
        className="flex min-w-0 grow flex-wrap items-center gap-x-4 gap-y-0.5 py-2 pl-2 pr-4 focus-visible:-outline-offset-2"
      >
        <span className="flex min-w-0 grow basis-64 flex-col">
          <span className="flex min-w-0 flex-wrap items-center gap-x-2 gap-y-0.5">
            <Status status={of.status} />
            <Id id={of.id} />
            {current && <Badge tone="accent">this run</Badge>}
            {of.imported && <Badge>imported</Badge>}
            <span className="min-w-0 text-xs text-ink-2 [overflow-wrap:anywhere]">
              {from === null
                ? "the original"
                : `left at ${from.at === 0 ? "the start" : `step ${from.at}`}${leftAt && from.at > 0 ? `, ${leftAt}` : ""}`}
              {of.edited.length > 0
                ? `, with ${of.edited.map((name) => EDITED[name] ?? name).join(" and ")}`
                : from !== null && ", nothing changed"}
            </span>
          </span>
          <span dir="auto" className="mt-0.5 truncate text-sm text-ink">
            {of.error !== null ? (
              <span className="text-bad">{oneLine(of.error.message || of.error.code, 300)}</span>
            ) : (
              oneLine(of.output ?? "", 300) || (
                <span className="text-ink-3">{hasEnded(of) ? "no output" : "no output yet"}</span>
              )
            )}
          </span>
        </span>
        <span className="flex min-w-0 flex-wrap gap-x-3 text-xs text-ink-2 tabular lg:grid lg:shrink-0 lg:grid-cols-[4rem_5.5rem_4.5rem_5rem_5.5rem] lg:gap-x-2 lg:text-right">
          <span>{plural(of.steps, "step")}</span>
          <span>{short(of.usage.input_tokens + of.usage.output_tokens)} tokens</span>
          <span>{cost(of.usage.cost_micros, of.usage.priced)}</span>
          <Elapsed from={of.created_at} to={of.ended_at} />
          <Time at={of.created_at} className="hidden text-ink-3 lg:inline" />
        </span>
      </Link>
    </li>
  );
}
