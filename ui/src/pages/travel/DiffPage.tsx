/** Two runs side by side: where they part, what became of each, and what each cost. */

import { keepPreviousData, type UseQueryResult, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { ArrowLeftRight } from "lucide-react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { type Diff, hasEnded } from "~/api/types";
import { Button } from "~/design/Button";
import { Id } from "~/design/Facts";
import { JsonDiff } from "~/design/JsonDiff";
import { PageBody, PageHeader, Panel } from "~/design/Page";
import { ErrorState, Skeleton } from "~/design/States";
import { useHotkeys } from "~/lib/hotkeys";
import { Calls, Numbers } from "./DiffNumbers";
import { Outputs, Talks } from "./DiffOutcome";
import { Parting, Same } from "./DiffParting";
import { type Asked, Sides } from "./DiffSides";
import { isLost } from "./lost";

/** How often a run that goes on is looked at again. */
const GROWS_MS = 3_000;

function useDiff(runId: string, otherId: string, asked: Asked): UseQueryResult<Diff> {
  return useQuery<Diff>({
    queryKey: keys.ofRun(runId, "diff", otherId, asked.at ?? null, asked.other_at ?? null),
    placeholderData: keepPreviousData,
    refetchInterval: (query) => (isOver(query.state.data) ? false : GROWS_MS),
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/diff/{other_id}", {
          params: { path: { run_id: runId, other_id: otherId }, query: asked },
          signal,
        }),
      ),
  });
}

export function DiffPage() {
  const { runId, otherId } = useParams({ strict: false }) as { runId: string; otherId: string };
  const asked = useSearch({ strict: false }) as Asked;
  const navigate = useNavigate();
  const found = useDiff(runId, otherId, asked);
  const swap = (): void =>
    void navigate({
      to: "/runs/$runId/diff/$otherId",
      params: { runId: otherId, otherId: runId },
      search: {
        ...(asked.other_at !== undefined && { at: asked.other_at }),
        ...(asked.at !== undefined && { other_at: asked.at }),
      },
    });
  useHotkeys([{ keys: "s", does: "Swap the sides", group: "Comparison", run: swap }]);
  return (
    <>
      <PageHeader
        title="Two runs compared"
        crumbs={
          <nav aria-label="Where this is" className="flex gap-1">
            <Link to="/runs" className="hover:underline">
              Runs
            </Link>
            <span aria-hidden>/</span>
            <Link to="/runs/$runId" params={{ runId }} className="hover:underline">
              <Id id={runId} className="!text-ink-3" />
            </Link>
          </nav>
        }
        actions={
          <Button size="sm" icon={<ArrowLeftRight size={13} aria-hidden />} onClick={swap}>
            Swap sides
          </Button>
        }
      />
      {isLost(found) ? (
        <>
          <ErrorState error={found.error} onRetry={() => void found.refetch()} what="One of these runs" />
          {(asked.at !== undefined || asked.other_at !== undefined) && (
            <Link
              to="/runs/$runId/diff/$otherId"
              params={{ runId, otherId }}
              search={{}}
              className="self-center text-sm text-accent-text underline"
            >
              Compare the whole runs
            </Link>
          )}
        </>
      ) : (
        <PageBody>
          {found.data === undefined ? (
            <>
              <Skeleton className="h-16 w-full" />
              <Skeleton className="h-80 w-full" />
            </>
          ) : (
            <Compared diff={found.data} asked={asked} />
          )}
        </PageBody>
      )}
    </>
  );
}

const isOver = (diff: Diff | undefined): boolean =>
  diff === undefined || (hasEnded(diff.this) && hasEnded(diff.other));

function Compared({ diff, asked }: { diff: Diff; asked: Asked }) {
  return (
    <>
      <Sides diff={diff} asked={asked} />
      {diff.divergence === null ? <Same diff={diff} /> : <Parting diff={diff} />}
      <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,2fr)_minmax(0,1fr)]">
        <div className="flex min-w-0 flex-col gap-4">
          <Outputs diff={diff} />
          <Talks diff={diff} />
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          <Numbers diff={diff} />
          <Calls diff={diff} />
          {diff.state_patch.length > 0 && (
            <Panel title="Published state, A to B">
              <JsonDiff
                before={diff.this.state.value}
                after={diff.other.state.value}
                label="What differs in the published state"
              />
            </Panel>
          )}
        </div>
      </div>
    </>
  );
}
