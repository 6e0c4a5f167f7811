/** What pages ask the API for, by noun. Mutations stand beside the pages that make them. */

import {
  type QueryKey,
  type UseInfiniteQueryResult,
  type UseQueryResult,
  useInfiniteQuery,
  useQuery,
} from "@tanstack/react-query";
import { useEffect, useRef, useSyncExternalStore } from "react";
import { api, body } from "./client";
import { keys } from "./keys";
import { type LiveState, live } from "./live";
import type { Agent, Page, Run, RunEvent } from "./types";

export const useLive = (): LiveState => useSyncExternalStore(live.subscribe, live.snapshot);

/** Calls `listener` with the events of a run behind `after`, as long as `runId` is given. */
export function useRunEvents(runId: string | null, after: number, listener: (event: RunEvent) => void): void {
  const latest = useRef(listener);
  useEffect(() => {
    latest.current = listener;
  });
  useEffect(() => {
    if (runId === null) return;
    return live.watch(runId, after, (event) => latest.current(event));
  }, [runId, after]);
}

/** A larger input or output of a run is a file: pages say how large it is, how it begins, and give it. */
const SHOWN_BYTES_MAX = 512 * 1024;

export function useRun(id: string | null): UseQueryResult<Run> {
  return useQuery({
    queryKey: keys.run(id ?? ""),
    enabled: id !== null,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}", {
          params: { path: { run_id: id ?? "" }, query: { bytes_max: SHOWN_BYTES_MAX } },
          signal,
        }),
      ),
  });
}

export function useAgents(enabled = true): UseQueryResult<readonly Agent[]> {
  return useQuery({
    queryKey: keys.agents,
    enabled,
    staleTime: 60_000,
    queryFn: async ({ signal }) => {
      const found: Agent[] = [];
      let cursor: string | null = null;
      do {
        const query: { limit: number; cursor?: string } =
          cursor === null ? { limit: 200 } : { limit: 200, cursor };
        const page: Page<Agent> = await body(api.GET("/v1/agents", { params: { query }, signal }));
        found.push(...page.data);
        cursor = page.next_cursor;
      } while (cursor !== null);
      return found;
    },
  });
}

export interface Paged<T> {
  readonly rows: readonly T[];
  readonly query: UseInfiniteQueryResult;
}

/** A list that grows at its end as `query.fetchNextPage` is called. */
export function usePages<T>(
  queryKey: QueryKey,
  fetchPage: (cursor: string | null, signal: AbortSignal) => Promise<Page<T>>,
): Paged<T> {
  const query = useInfiniteQuery({
    queryKey,
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) => fetchPage(pageParam, signal),
    getNextPageParam: (last) => last.next_cursor,
  });
  return { rows: query.data?.pages.flatMap((page) => page.data) ?? [], query };
}
