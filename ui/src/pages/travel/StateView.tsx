import { useNavigate } from "@tanstack/react-router";
import { GitFork } from "lucide-react";
import { may, useMe } from "~/api/session";
import type { Run } from "~/api/types";
import { Button } from "~/design/Button";
import { Kbd } from "~/design/Facts";
import { PageBody } from "~/design/Page";
import { Empty, ErrorState, Skeleton } from "~/design/States";
import { useHotkeys } from "~/lib/hotkeys";
import { isLost } from "./lost";
import { Open, Published, Standing } from "./StatePanels";
import { Recorded, Said } from "./StateRecord";
import { StepAt, StepStrip } from "./StepStrip";
import { type Steps, useSteps } from "./steps";
import { usePaced } from "./usePaced";
import { useStateAt } from "./useStateAt";

export function StateView({ run, at }: { run: Run; at: number | null | undefined }) {
  const steps = useSteps(run.id);
  if (isLost(steps)) return <ErrorState error={steps.error} onRetry={() => void steps.refetch()} />;
  if (steps.data === undefined)
    return (
      <PageBody>
        <Skeleton className="h-10 w-full" />
        <Skeleton className="h-80 w-full" />
      </PageBody>
    );
  if (steps.data.last === 0)
    return (
      <Empty title="No step yet">
        As soon as the run has recorded its first step, its state before and after it can be looked at.
      </Empty>
    );
  return <Scrubbed run={run} steps={steps.data} at={Math.min(at ?? steps.data.last, steps.data.last)} />;
}

function Scrubbed({ run, steps, at }: { run: Run; steps: Steps; at: number }) {
  const navigate = useNavigate();
  const mayFork = may(useMe().data, "runs:write");
  const { here, move } = usePaced(at, (step) => search({ step }));
  const state = useStateAt(run.id, at);
  const search = (part: object): void =>
    void navigate({
      to: ".",
      search: ((before: object) => ({ ...before, ...part })) as never,
      replace: true,
    });
  const go = (next: number): void => move(Math.min(steps.last, Math.max(0, next)));
  const fork = (): void => {
    if (mayFork) search({ step: here, fork: true });
  };
  useHotkeys([
    { keys: "arrowleft", does: "One step back", group: "State", run: () => go(here - 1) },
    { keys: "arrowright", does: "One step on", group: "State", run: () => go(here + 1) },
    ...(mayFork ? [{ keys: "f", does: "Fork from here", group: "State", run: fork }] : []),
  ]);
  return (
    <div className="flex min-h-0 grow flex-col">
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1 border-b border-line bg-surface px-4 py-2 sm:px-5">
        <div className="min-w-0 grow basis-80">
          <StepStrip steps={steps} at={here} onChange={go} label="Step at which to look" />
        </div>
        <div className="flex min-w-0 max-w-full flex-wrap items-center gap-x-3 gap-y-1" aria-live="polite">
          <StepAt steps={steps} at={here} />
          {here > 0 && here <= steps.inherited && (
            <span className="text-xs text-ink-3" title="This step is shared with the run that it comes from.">
              shared
            </span>
          )}
        </div>
        {mayFork && (
          <Button size="sm" icon={<GitFork size={13} aria-hidden />} onClick={fork}>
            Fork from here
            <span className="hidden sm:inline">
              <Kbd keys="f" />
            </span>
          </Button>
        )}
      </div>
      <PageBody>
        {isLost(state) ? (
          <ErrorState error={state.error} onRetry={() => void state.refetch()} what="This step" />
        ) : state.data === undefined ? (
          <Skeleton className="h-96 w-full" />
        ) : (
          <div
            aria-busy={state.isPlaceholderData}
            className="grid items-start gap-4 lg:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]"
          >
            <div className="flex min-w-0 flex-col gap-4">
              {state.data.messages && <Said state={state.data} />}
              {state.data.steps && <Recorded state={state.data} />}
            </div>
            <div className="flex min-w-0 flex-col gap-4">
              <Standing state={state.data} />
              <Open state={state.data} />
              <Published run={run} state={state.data} />
            </div>
          </div>
        )}
      </PageBody>
    </div>
  );
}
