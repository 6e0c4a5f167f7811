/** The replays of a run that are kept: which mode, what it came to, when and by whom. One of them is shown below. */

import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { useMe } from "~/api/session";
import type { components, Page, Run } from "~/api/types";
import { Badge } from "~/design/Badge";
import { Button } from "~/design/Button";
import { Time } from "~/design/Facts";
import { Panel } from "~/design/Page";
import { ErrorState, SkeletonRows } from "~/design/States";
import { inert } from "~/lib/text";
import { MODES, toldOf } from "./replaying";

type ReplayRow = components["schemas"]["ReplayRow"];

const PAGE = 20;
const POLL_MS = 2_000;

export function ReplayList({ run, shown }: { run: Run; shown: string | undefined }) {
  const found = useInfiniteQuery({
    queryKey: keys.ofRun(run.id, "replays"),
    initialPageParam: null as string | null,
    queryFn: async ({ pageParam, signal }) =>
      (await body(
        api.GET("/v1/runs/{run_id}/replays", {
          params: {
            path: { run_id: run.id },
            query: { limit: PAGE, ...(pageParam && { cursor: pageParam }) },
          },
          signal,
        }),
      )) as Page<ReplayRow>,
    getNextPageParam: (last) => last.next_cursor,
    refetchInterval: ({ state }) =>
      state.data?.pages.some((page) => page.data.some((one) => one.status === "pending")) ? POLL_MS : false,
  });
  if (found.isError && found.data === undefined)
    return <ErrorState error={found.error} onRetry={() => void found.refetch()} what="The replays" />;
  const rows = found.data?.pages.flatMap((page) => page.data);
  return (
    <Panel title="Replays of this run" flush>
      {rows === undefined ? (
        <SkeletonRows rows={2} label="Loading the replays" />
      ) : rows.length === 0 ? (
        <p className="px-4 py-3 text-sm text-ink-3">
          None in the last 7 days. Each is kept here for that long.
        </p>
      ) : (
        <ul aria-label="Replays of this run" className="divide-y divide-line">
          {rows.map((replay) => (
            <Row key={replay.id} replay={replay} current={replay.id === shown} />
          ))}
        </ul>
      )}
      {found.hasNextPage && (
        <div className="border-t border-line px-4 py-2">
          <Button size="sm" busy={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>
            Earlier replays
          </Button>
        </div>
      )}
    </Panel>
  );
}

function Row({ replay, current }: { replay: ReplayRow; current: boolean }) {
  const me = useMe();
  const { tone, word } = toldOf(replay);
  return (
    <li>
      <Link
        to="."
        search={((before: object) => ({ ...before, replay: replay.id })) as never}
        resetScroll={false}
        activeOptions={{ exact: true, includeSearch: true }}
        className={clsx(
          "flex min-h-9 flex-wrap items-center gap-x-3 gap-y-0.5 px-4 py-1.5 text-sm focus-visible:-outline-offset-2",
          current ? "bg-accent-soft/50" : "hover:bg-hover",
        )}
      >
        <Badge tone={tone}>{word}</Badge>
        <span className="min-w-0 grow">
          {MODES.find((one) => one.value === replay.mode)?.label ?? replay.mode}
        </span>
        <span className="text-xs text-ink-2">
          by {me.data?.principal.id === replay.requested_by ? "you" : inert(replay.requester) || "somebody"}
        </span>
        <Time at={replay.created_at} className="text-xs text-ink-3" />
      </Link>
    </li>
  );
}
