/** What the code of a workflow did, one line a step; long lists show their end, which is where something happens. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { CircleCheck, CircleDashed, CircleSlash, CircleX, LoaderCircle } from "lucide-react";
import { memo, type ReactNode, useMemo, useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { Button } from "~/design/Button";
import { Elapsed, Time } from "~/design/Facts";
import { KindIcon } from "~/design/Kind";
import { plural } from "~/lib/format";
import { oneLine } from "~/lib/text";
import type { StepSeen, StepState } from "./model";
import { EffectFact } from "./ToolCard";

const SHOWN = 12;
const MORE = 200;

const MARKS: Readonly<Record<StepState, readonly [ReactNode, string]>> = {
  running: [<LoaderCircle key="i" size={13} className="animate-spin text-info" />, "running"],
  waiting: [<CircleDashed key="i" size={13} className="text-warn" />, "waiting"],
  succeeded: [<CircleCheck key="i" size={13} className="text-good" />, "done"],
  failed: [<CircleX key="i" size={13} className="text-bad" />, "failed"],
  stopped: [<CircleSlash key="i" size={13} className="text-ink-3" />, "not finished"],
};

export const StepList = memo(function StepList({
  steps,
  runId,
}: {
  steps: readonly StepSeen[];
  runId: string | null;
}) {
  const [most, setMost] = useState(SHOWN);
  const children = useChildren(runId, steps);
  const shown = steps.slice(-most);
  const hidden = steps.length - shown.length;
  return (
    <div className="min-w-0 rounded-md border border-line bg-surface py-1">
      {hidden > 0 && (
        <Button look="quiet" size="sm" className="mx-1" onClick={() => setMost(most + MORE)}>
          {plural(hidden, "earlier step")}
        </Button>
      )}
      <ol aria-label="Steps">
        {shown.map((step) => (
          <Row
            key={`${step.key}@${step.attempt}`}
            step={step}
            childRunId={step.childRunId ?? children.get(step.key) ?? null}
            runId={runId}
          />
        ))}
      </ol>
    </div>
  );
});

/** The runs that steps started, by their keys: events do not tell their ids. */
function useChildren(runId: string | null, steps: readonly StepSeen[]): ReadonlyMap<string, string> {
  const lacking = runId !== null && steps.some((step) => step.kind === "child" && step.childRunId === null);
  const query = useQuery({
    queryKey: keys.ofRun(runId ?? "", "children", steps.length),
    enabled: lacking,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/children", {
          params: { path: { run_id: runId ?? "" }, query: { limit: 200 } },
          signal,
        }),
      ),
  });
  const found = query.data?.data;
  return useMemo(
    () => new Map((found ?? []).flatMap(({ id, parent }) => (parent === null ? [] : [[parent.step, id]]))),
    [found],
  );
}

const Row = memo(function Row({
  step,
  childRunId,
  runId,
}: {
  step: StepSeen;
  childRunId: string | null;
  runId: string | null;
}) {
  const [mark, word] = MARKS[step.state];
  return (
    <li className="min-w-0 px-2.5">
      <div className="flex min-h-7 min-w-0 items-center gap-2">
        <span title={word} className="flex shrink-0">
          <span aria-hidden>{mark}</span>
          <span className="sr-only">{word}</span>
        </span>
        <KindIcon kind={step.kind} size={13} />
        {runId !== null && step.seq !== null ? (
          <Link
            to="/runs/$runId"
            params={{ runId }}
            search={{ step: step.seq }}
            className="min-w-0 truncate text-xs text-ink hover:underline"
          >
            {oneLine(step.name, 120)}
          </Link>
        ) : (
          <span className="min-w-0 truncate text-xs text-ink">{oneLine(step.name, 120)}</span>
        )}
        {childRunId !== null && (
          <Link
            to="/runs/$runId"
            params={{ runId: childRunId }}
            className="shrink-0 text-xs text-accent-text hover:underline"
          >
            child run
          </Link>
        )}
        <span className="grow" />
        {step.effect !== null && (
          <span className="hidden text-xs sm:inline">
            <EffectFact effect={step.effect} />
          </span>
        )}
        {step.state === "waiting" && step.dueAt !== null ? (
          <span className="shrink-0 text-xs text-ink-3">
            until <Time at={step.dueAt} />
          </span>
        ) : (
          step.startedAt !== null &&
          step.state !== "stopped" && (
            <Elapsed from={step.startedAt} to={step.endedAt} className="shrink-0 text-xs text-ink-3" />
          )
        )}
      </div>
      {step.error !== null && (
        <p dir="auto" className={clsx("pb-1 pl-5 text-xs text-bad [overflow-wrap:anywhere]")}>
          {oneLine(step.error, 400)}
        </p>
      )}
    </li>
  );
});
