/** The numbers that matter, each leading to what it counts. */

import { Link } from "@tanstack/react-router";
import { now } from "~/api/clock";
import type { components } from "~/api/types";
import { cost, count, plural, short } from "~/lib/format";
import { clockOf, todayOf, zoneOf } from "./bars";

type Overview = components["schemas"]["OverviewOut"];

export function Numbers({
  overview,
  day,
  days,
}: {
  overview: Overview;
  /** The last 24 hours, by the hour. */
  day: Overview | undefined;
  days: number;
}) {
  const { runs, since } = overview;
  const today = day === undefined ? null : todayOf(day.hours, now());
  const last = days === 1 ? "24 h" : `${days} days`;
  return (
    <section
      aria-label="Numbers"
      className="grid grid-cols-2 gap-px overflow-hidden rounded-lg border border-line bg-line sm:grid-cols-4 xl:grid-cols-8"
    >
      <Figure label="Running" value={runs.running} to="/runs" search={{ status: "running" }} />
      <Figure label="Queued" value={runs.queued} to="/runs" search={{ status: "queued" }} />
      <Figure label="Waiting" value={runs.waiting} to="/runs" search={{ status: "waiting" }} />
      {overview.approvals_pending !== null && (
        <Figure
          label="To decide"
          value={overview.approvals_pending}
          to="/approvals"
          tone={overview.approvals_pending > 0 ? "text-warn" : undefined}
        />
      )}
      {overview.effects_unknown !== null && (
        <Figure
          label="Unknown"
          hint="effects, now"
          value={overview.effects_unknown}
          to="/effects"
          search={{ status: "unknown" }}
          tone={overview.effects_unknown > 0 ? "text-bad" : undefined}
        />
      )}
      <Figure
        label={`Failed, ${last}`}
        value={since.failed}
        to="/runs"
        search={{ status: "failed" }}
        tone={since.failed > 0 ? "text-bad" : undefined}
        hint={`of ${count(since.started)} started`}
      />
      <Figure
        label="Spent today"
        value={today === null ? "—" : cost(today.costMicros, day?.since.priced)}
        hint={today === null ? "" : `since ${clockOf(today.since)} ${zoneOf(today.since)}`}
        title="What the runs cost that have begun since then."
      />
      <Figure
        label={`Spent, ${last}`}
        value={cost(since.cost_micros, since.priced)}
        hint={`${short(since.input_tokens + since.output_tokens)} tokens`}
        title={`${plural(since.requests, "model call")}: ${count(since.input_tokens)} tokens in, ${count(since.output_tokens)} out.`}
      />
    </section>
  );
}

function Figure({
  label,
  value,
  hint,
  to,
  search = {},
  tone = "text-ink",
  title,
}: {
  label: string;
  value: number | string;
  hint?: string;
  title?: string;
  to?: string;
  search?: object;
  tone?: string | undefined;
}) {
  const inside = (
    <>
      <span className="truncate text-xs text-ink-2">{label}</span>
      <span className={`truncate text-xl font-semibold tabular ${tone}`}>
        {typeof value === "number" ? count(value) : value}
      </span>
      <span className="truncate text-2xs text-ink-3 tabular">{hint ?? "now"}</span>
    </>
  );
  const look = "flex min-w-0 flex-col bg-surface px-4 py-2.5";
  return to === undefined ? (
    <div className={look} title={title}>
      {inside}
    </div>
  ) : (
    <Link
      to={to as never}
      search={search as never}
      className={`${look} hover:bg-hover focus-visible:-outline-offset-2`}
    >
      {inside}
    </Link>
  );
}
