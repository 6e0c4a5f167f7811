/** A few runs in short rows: what was asked, how it stands, and why it failed. */

import { Link } from "@tanstack/react-router";
import { GitFork } from "lucide-react";
import type { Run } from "~/api/types";
import { Status } from "~/design/Badge";
import { Elapsed, Time } from "~/design/Facts";
import { oneLine, saidTo } from "~/lib/text";

const ROW =
  "flex min-h-11 min-w-0 items-center gap-3 px-4 py-1.5 hover:bg-hover focus-visible:-outline-offset-2";

export const RunList = ({ runs }: { runs: readonly Run[] }) => (
  <ul className="divide-y divide-line">
    {runs.map((run) => (
      <li key={run.id}>
        <Link to="/runs/$runId" params={{ runId: run.id }} className={ROW}>
          <span className="w-22 shrink-0">
            <Status status={run.status} quiet />
          </span>
          <span className="flex min-w-0 grow flex-col sm:flex-row sm:items-center sm:gap-3">
            <span className="shrink-0 truncate text-xs text-ink-2 sm:w-32">{oneLine(run.agent, 40)}</span>
            <span dir="auto" className="min-w-0 grow truncate">
              {run.forked_from !== null && (
                <GitFork size={13} role="img" aria-label="Fork:" className="mr-1 inline text-ink-3" />
              )}
              {oneLine(saidTo(run), 160) || <span className="text-ink-3">no input</span>}
            </span>
          </span>
          <Elapsed from={run.started_at} to={run.ended_at} className="hidden text-xs text-ink-3 md:inline" />
          <Time at={run.created_at} className="w-18 shrink-0 text-right text-xs text-ink-3" />
        </Link>
      </li>
    ))}
  </ul>
);

export const FailureList = ({ runs }: { runs: readonly Run[] }) => (
  <ul className="divide-y divide-line">
    {runs.map((run) => (
      <li key={run.id}>
        <Link
          to="/runs/$runId"
          params={{ runId: run.id }}
          className="flex min-w-0 flex-col px-4 py-2 hover:bg-hover focus-visible:-outline-offset-2"
        >
          <span className="flex min-w-0 items-center gap-2">
            <span className="truncate font-mono text-xs text-bad">
              {oneLine(run.error?.code ?? "failed", 60)}
            </span>
            <span className="min-w-0 grow truncate text-xs text-ink-2">{oneLine(run.agent, 40)}</span>
            <Time at={run.ended_at ?? run.created_at} className="text-xs text-ink-3" />
          </span>
          <span dir="auto" className="truncate">
            {oneLine(run.error?.message ?? "", 200)}
          </span>
        </Link>
      </li>
    ))}
  </ul>
);
