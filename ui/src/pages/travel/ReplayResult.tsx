/** What a replay came to: its verdict, and where the record and today's code differ. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { CircleCheck, CircleX, GitCompareArrows, LoaderCircle } from "lucide-react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import type { Replay, Run } from "~/api/types";
import { Elapsed, Fact, Id } from "~/design/Facts";
import { Panel } from "~/design/Page";
import { ErrorState, Skeleton } from "~/design/States";
import { plural } from "~/lib/format";
import { inert } from "~/lib/text";
import { Against } from "./Against";
import { isLost } from "./lost";
import { isUnderWay, MODES, reasonOf } from "./replaying";

const POLL_MS = 1_000;

export function ReplayResult({ run, id }: { run: Run; id: string }) {
  const found = useQuery({
    queryKey: keys.ofRun(run.id, "replay", id),
    staleTime: 60_000,
    queryFn: async ({ signal }) =>
      (await body(
        api.GET("/v1/runs/{run_id}/replays/{replay_id}", {
          params: { path: { run_id: run.id, replay_id: id } },
          signal,
        }),
      )) as Replay,
    refetchInterval: (query) =>
      query.state.data !== undefined && isUnderWay(query.state.data) ? POLL_MS : false,
  });
  if (isLost(found))
    return <ErrorState error={found.error} onRetry={() => void found.refetch()} what="This replay" />;
  if (found.data === undefined) return <Skeleton className="h-40 w-full" />;
  return (
    <div aria-live="polite">
      <Panel title="What it came to">
        <Told run={run} replay={found.data} />
      </Panel>
    </div>
  );
}

function Told({ run, replay }: { run: Run; replay: Replay }) {
  return (
    <div className="flex flex-col gap-4">
      <Verdict replay={replay} />
      <dl className="grid grid-cols-2 gap-3 sm:grid-cols-4">
        <Fact label="Mode">{MODES.find((one) => one.value === replay.mode)?.label ?? replay.mode}</Fact>
        <Fact label="Took">
          <Elapsed from={replay.created_at} to={replay.ended_at} />
        </Fact>
        <Fact label="Recorded by version">
          <span className="font-mono text-xs">{replay.version.recorded}</span>
        </Fact>
        <Fact label="Replayed with">
          {replay.version.current === replay.version.recorded ? (
            "the same version"
          ) : (
            <Link
              to="/agents/$agentId"
              params={{ agentId: replay.agent }}
              search={{ version: replay.version.current, against: replay.version.recorded }}
              className="font-mono text-xs text-accent-text underline"
            >
              {replay.version.current}
            </Link>
          )}
        </Fact>
      </dl>
      {replay.verdict === "diverged" && <Difference run={run} replay={replay} />}
      {replay.replay_run_id && <Made run={run} replay={replay} id={replay.replay_run_id} />}
    </div>
  );
}

function Verdict({ replay }: { replay: Replay }) {
  if (isUnderWay(replay))
    return (
      <p className="flex items-center gap-2 text-base font-semibold">
        <LoaderCircle size={18} aria-hidden className="animate-spin text-info" />
        Under way
        {replay.message && <span className="text-sm font-normal text-ink-2">{inert(replay.message)}</span>}
      </p>
    );
  if (replay.status === "failed")
    return (
      <div>
        <p className="flex items-center gap-2 text-base font-semibold text-bad">
          <CircleX size={18} aria-hidden /> It could not be found out
        </p>
        <p className="mt-1 text-sm text-ink-2 [overflow-wrap:anywhere]">
          {inert(String(replay.error?.message ?? ""))}
        </p>
      </div>
    );
  const same = replay.verdict === "identical";
  return (
    <div>
      <p className={`flex items-center gap-2 text-base font-semibold ${same ? "text-good" : "text-warn"}`}>
        {same ? <CircleCheck size={18} aria-hidden /> : <GitCompareArrows size={18} aria-hidden />}
        {same
          ? "Identical: it would do the same"
          : replay.at === null
            ? "Diverged at its end"
            : `Diverged at step ${replay.at}`}
      </p>
      <p className="mt-1 text-sm text-ink-2">
        {same ? `${plural(replay.steps ?? 0, "step")}, each asked for as recorded.` : reasonOf(replay.reason)}
      </p>
    </div>
  );
}

function Difference({ run, replay }: { run: Run; replay: Replay }) {
  const { difference } = replay;
  return (
    <div className="flex flex-col gap-3">
      {replay.message && (
        <p dir="auto" className="text-sm [overflow-wrap:anywhere]">
          {inert(replay.message)}
        </p>
      )}
      {replay.at !== null && (
        <Link
          to="/runs/$runId"
          params={{ runId: run.id }}
          search={{ view: "journal", step: replay.at }}
          className="self-start text-sm text-accent-text underline"
        >
          Step {replay.at} of the run
        </Link>
      )}
      {difference && (
        <div>
          <p className="mb-2 text-xs text-ink-2">
            First differs at <code className="font-mono">{inert(difference.path) || "the whole"}</code>
          </p>
          <Against
            one={{ label: "Was recorded as", value: difference.recorded }}
            two={{ label: "Would now be", value: difference.requested }}
          />
        </div>
      )}
      {(replay.recorded !== null || replay.requested !== null) && (
        <details>
          <summary className="cursor-pointer rounded-sm text-sm font-medium text-ink-2 hover:text-ink">
            All of both sides
          </summary>
          <div className="mt-2">
            <Against
              one={{ label: "Recorded", value: replay.recorded }}
              two={{ label: "Requested", value: replay.requested }}
            />
          </div>
        </details>
      )}
    </div>
  );
}

function Made({ run, replay, id }: { run: Run; replay: Replay; id: string }) {
  if (replay.mode === "live")
    return (
      <p className="text-sm text-ink-2">
        The run that it made, <Id id={id} copy />, is in the sandbox tenant: a key of that tenant shows it.
      </p>
    );
  return (
    <p className="flex flex-wrap gap-x-4 text-sm">
      <Link to="/runs/$runId" params={{ runId: id }} className="text-accent-text underline">
        The run that it made
      </Link>
      <Link
        to="/runs/$runId/diff/$otherId"
        params={{ runId: run.id, otherId: id }}
        className="text-accent-text underline"
      >
        Compare the two
      </Link>
    </p>
  );
}
