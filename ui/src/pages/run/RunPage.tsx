/** A run: its head, and one of the ways to look at it. One step is selected, whichever way that is. */

import { useParams, useSearch } from "@tanstack/react-router";
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import { useRun } from "~/api/hooks";
import { Problem } from "~/api/problem";
import type { Run } from "~/api/types";
import { PageHeader } from "~/design/Page";
import { ErrorState, Skeleton, SkeletonRows } from "~/design/States";
import { TabPanel, Tabs } from "~/design/Tabs";
import { noteFirst } from "~/lib/firsts";
import { useHotkeys } from "~/lib/hotkeys";
import { useMedia } from "~/lib/media";
import { RunHead } from "./head/RunHead";
import { JournalView } from "./JournalView";
import { type RunSearch, type RunView, SelectionContext, useSelection, useSelectionOf } from "./selection";
import { StepPanel } from "./step/StepPanel";
import { StepSheet } from "./step/StepSheet";
import { TimelineView } from "./TimelineView";
import type { SpanRow } from "./timeline/rows";
import { type Followed, useTimeline } from "./timeline/useTimeline";

const TranscriptView = lazy(async () => ({ default: (await import("./TranscriptView")).TranscriptView }));
const StateView = lazy(async () => ({ default: (await import("~/pages/travel/StateView")).StateView }));
const FamilyView = lazy(async () => ({ default: (await import("~/pages/travel/FamilyView")).FamilyView }));
const ReplayView = lazy(async () => ({ default: (await import("./ReplayView")).ReplayView }));

const VIEWS: readonly { readonly value: RunView; readonly label: string }[] = [
  { value: "timeline", label: "Timeline" },
  { value: "transcript", label: "Transcript" },
  { value: "journal", label: "Journal" },
  { value: "state", label: "State" },
  { value: "forks", label: "Forks" },
  { value: "replay", label: "Replay" },
];
/** These show one step beside them. */
const STEPPED: ReadonlySet<RunView> = new Set(["timeline", "journal", "transcript"]);

export function RunPage() {
  const { runId } = useParams({ from: "/runs/$runId" });
  const search = useSearch({ from: "/runs/$runId" });
  const run = useRun(runId);
  const isThere = run.data !== undefined;
  useEffect(() => {
    if (isThere) noteFirst("opened");
  }, [isThere]);
  if (run.data === undefined)
    return run.isError ? (
      <>
        <PageHeader title="Run" />
        <ErrorState error={run.error} onRetry={() => void run.refetch()} what="This run" />
      </>
    ) : (
      <Loading />
    );
  // What cannot be read just now stays as it was; what was deleted meanwhile does not.
  const gone = run.error instanceof Problem && [403, 404].includes(run.error.status) ? run.error : null;
  return <Shown key={runId} run={run.data} search={search} gone={gone} />;
}

function Loading() {
  return (
    <div role="status" aria-label="Loading the run">
      <PageHeader title="Run" crumbs="Runs /" />
      <div className="flex h-9 items-center border-b border-line bg-surface px-5">
        <Skeleton className="h-4 w-96 max-w-full" />
      </div>
      <SkeletonRows rows={12} label="Loading the steps" />
    </div>
  );
}

function Shown({ run, search, gone }: { run: Run; search: RunSearch; gone: unknown }) {
  const selection = useSelectionOf(run.id, search);
  const timeline = useTimeline(run);
  const children = useMemo(
    () => [...new Set(timeline.steps?.child.filter((one) => one !== null))],
    [timeline.steps?.child],
  );
  if (gone !== null)
    return (
      <>
        <PageHeader title={run.agent} />
        <ErrorState error={gone} what="This run" />
      </>
    );
  return (
    <SelectionContext value={selection}>
      <RunHead run={run} below={children} recorded={timeline.steps?.last ?? 0} />
      <Views run={run} timeline={timeline} />
    </SelectionContext>
  );
}

function Views({ run, timeline }: { run: Run; timeline: Followed }) {
  const { search, step, of, change, select, runId } = useSelection();
  const view = search.view ?? "timeline";
  const wide = useMedia("(min-width: 1200px)");
  /** A row that stands for no recorded step: something open, or a scope. */
  const [asked, setAsked] = useState<SpanRow | null>(null);
  const [sheet, setSheet] = useState(step !== null);
  const onOpen = useCallback(() => {
    setSheet(true);
    if (wide) document.getElementById("step")?.focus();
  }, [wide]);
  useEffect(() => {
    if (step !== null) setAsked(null);
  }, [step]);
  const close = (): void => {
    setSheet(false);
    setAsked(null);
    select(runId, null);
  };
  const go = (next: RunView): void => change({ view: next === "timeline" ? undefined : next }, true);
  useHotkeys([
    ...VIEWS.map(({ value, label }, index) => ({
      keys: String(index + 1),
      does: label,
      group: "Run",
      run: () => go(value),
    })),
    { keys: "escape", does: "Close the step", group: "Run", run: close },
  ]);
  const stepped = STEPPED.has(view);
  const panel = (
    <StepPanel run={run} open={asked} onClose={wide ? null : close} values={view !== "transcript"} />
  );
  return (
    <div className="flex min-h-0 grow">
      <Tabs<RunView>
        label="Ways to look at the run"
        value={view}
        tabs={VIEWS}
        onChange={go}
        className="flex min-h-0 min-w-0 grow flex-col bg-surface"
      >
        <TabPanel value={view} tabIndex={-1} className="flex min-h-0 grow flex-col outline-none">
          <Suspense fallback={<SkeletonRows rows={10} />}>
            {view === "transcript" && <TranscriptView run={run} />}
            {view === "state" && <StateView run={run} at={of === runId ? step : null} />}
            {view === "forks" && <FamilyView run={run} />}
            {view === "replay" && <ReplayView run={run} />}
            {view === "timeline" && (
              <Steps timeline={timeline}>
                {({ steps, flights }) => (
                  <TimelineView
                    run={run}
                    steps={steps}
                    flights={flights}
                    wide={wide}
                    asked={asked}
                    onOpen={onOpen}
                    onAsked={setAsked}
                  />
                )}
              </Steps>
            )}
            {view === "journal" && (
              <Steps timeline={timeline}>
                {({ steps }) => <JournalView steps={steps} onOpen={onOpen} />}
              </Steps>
            )}
          </Suspense>
        </TabPanel>
      </Tabs>
      {stepped && wide && (
        <aside
          id="step"
          tabIndex={-1}
          aria-label="Step"
          className="flex w-[clamp(22.5rem,30vw,44rem)] shrink-0 flex-col border-l border-line bg-surface outline-none"
        >
          {panel}
        </aside>
      )}
      {stepped && !wide && (
        <StepSheet open={sheet && (step !== null || asked !== null)} onClose={close}>
          {panel}
        </StepSheet>
      )}
    </div>
  );
}

type Ready = { readonly steps: NonNullable<Followed["steps"]>; readonly flights: Followed["flights"] };

function Steps({ timeline, children }: { timeline: Followed; children: (ready: Ready) => ReactNode }) {
  const { steps, flights } = timeline;
  if (steps !== undefined) return children({ steps, flights });
  return timeline.error ? (
    <ErrorState error={timeline.error} onRetry={timeline.retry} what="This run" />
  ) : (
    <SkeletonRows rows={14} label="Loading the steps" />
  );
}
