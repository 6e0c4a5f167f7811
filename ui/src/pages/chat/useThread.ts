/** What is stored of a thread: itself, its messages from the end backwards, its runs. */

import { type UseQueryResult, useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { live } from "~/api/live";
import type { Message, Page, Run, StepRow, Thread } from "~/api/types";

const PAGE = 40;
const RUNS = 50;
/** As much of what was said as a list of runs may tell. */
const SAID_BYTES_MAX = 64 * 1024;
export const STEPS_SHOWN = 200;

export function useThread(id: string | null): UseQueryResult<Thread> {
  return useQuery({
    queryKey: keys.thread(id ?? ""),
    enabled: id !== null,
    queryFn: ({ signal }) =>
      body(api.GET("/v1/threads/{thread_id}", { params: { path: { thread_id: id ?? "" } }, signal })),
  });
}

export interface Messages {
  /** Oldest first. */
  readonly rows: readonly Message[];
  readonly isPending: boolean;
  readonly error: Error | null;
  readonly retry: () => void;
  readonly hasOlder: boolean;
  readonly isLoadingOlder: boolean;
  /** They could not be loaded: it is tried again when somebody says so, not by itself. */
  readonly olderFailed: boolean;
  readonly loadOlder: () => void;
}

export function useMessages(id: string | null): Messages {
  const query = useInfiniteQuery({
    queryKey: keys.ofThread(id ?? "", "messages"),
    enabled: id !== null,
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) =>
      body(
        api.GET("/v1/threads/{thread_id}/messages", {
          params: {
            path: { thread_id: id ?? "" },
            query: { order: "desc", limit: PAGE, ...(pageParam === null ? {} : { cursor: pageParam }) },
          },
          signal,
        }),
      ) as Promise<Page<Message>>,
    getNextPageParam: (last) => last.next_cursor,
  });
  const pages = query.data?.pages;
  const rows = useMemo(() => oldestFirst(pages ?? []), [pages]);
  return {
    rows,
    isPending: query.isPending && id !== null,
    error: query.data === undefined ? query.error : null,
    retry: () => void query.refetch(),
    hasOlder: query.hasNextPage,
    isLoadingOlder: query.isFetchingNextPage,
    olderFailed: query.isFetchNextPageError,
    loadOlder: () => void (query.isFetchingNextPage || query.fetchNextPage()),
  };
}

/** Pages overlap when something was said between two requests: each message counts once, at its place. */
function oldestFirst(pages: readonly Page<Message>[]): readonly Message[] {
  const found = new Map<string, Message>();
  for (const page of pages) for (const message of page.data) found.set(message.id, message);
  return [...found.values()].sort((a, b) => a.position - b.position);
}

/** The thread's last runs, newest first; fetched again when one of them, or the thread, changes. */
export function useThreadRuns(id: string | null): UseQueryResult<readonly Run[]> {
  const cache = useQueryClient();
  const query = useQuery({
    queryKey: keys.ofThread(id ?? "", "runs"),
    enabled: id !== null,
    queryFn: async ({ signal }) => {
      const page = await body(
        api.GET("/v1/threads/{thread_id}/runs", {
          params: { path: { thread_id: id ?? "" }, query: { limit: RUNS, bytes_max: SAID_BYTES_MAX } },
          signal,
        }),
      );
      for (const run of page.data)
        if (run.input_cut === null && run.output_cut === null) cache.setQueryData(keys.run(run.id), run);
      return page.data;
    },
  });
  const known = query.data;
  useEffect(() => {
    if (id === null || known === undefined) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = live.onChange((change) => {
      if (change.kind !== "run" || !known.some((run) => run.id === change.id)) return;
      timer ??= setTimeout(() => {
        timer = undefined;
        void cache.invalidateQueries({ queryKey: keys.thread(id) });
      }, 250);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [id, known, cache]);
  return query;
}

/** The steps of a run that is over, for what its messages do not tell. The first ones; the rest is on its page. */
export function useRunSteps(runId: string | null): readonly StepRow[] | null {
  const query = useQuery({
    queryKey: keys.ofRun(runId ?? "", "steps", STEPS_SHOWN),
    enabled: runId !== null,
    staleTime: 60_000,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/steps", {
          params: { path: { run_id: runId ?? "" }, query: { limit: STEPS_SHOWN } },
          signal,
        }),
      ) as Promise<Page<StepRow>>,
  });
  return query.data?.data ?? null;
}

/** The threads that leave this one. */
export function useBranches(id: string | null): readonly Thread[] {
  const query = useQuery({
    queryKey: keys.ofThread(id ?? "", "branches"),
    enabled: id !== null,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/threads/{thread_id}/branches", {
          params: { path: { thread_id: id ?? "" }, query: { limit: 200 } },
          signal,
        }),
      ),
  });
  return query.data?.data ?? NO_THREADS;
}

const NO_THREADS: readonly Thread[] = [];
