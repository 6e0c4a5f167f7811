import { type InfiniteData, useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { api, body } from "~/api/client";
import { now } from "~/api/clock";
import { keys } from "~/api/keys";
import type { Page, Run } from "~/api/types";
import { type Feed, feedOf } from "./feed";
import { askedOf, type RunsSearch } from "./filters";

const PAGE_ROWS = 50;
const NOTHING: Page<Run> = { data: [], next_cursor: null };

export interface RunFeed extends Feed {
  readonly error: unknown;
  readonly isPending: boolean;
  readonly hasMore: boolean;
  readonly isReading: boolean;
  readonly readOn: () => void;
  readonly retry: () => void;
  readonly inHead: (id: string) => boolean;
  /** Whether the newest are shown as they come; the list says where it is scrolled to. */
  readonly follow: (following: boolean) => void;
}

/**
 * Pages are read once, by keyset: the ten-thousandth costs what the first does, and no hint reads them again. The newest
 * rows are a query of their own that hints make stale; rows further down follow their own run (`RunRow`).
 */
export function useRunFeed(search: RunsSearch): RunFeed {
  const cache = useQueryClient();
  const { pick: _, ...filters } = search;
  const name = JSON.stringify(filters);
  // biome-ignore lint/correctness/useExhaustiveDependencies: "the last hour" counts from when it was chosen
  const asked = useMemo(() => askedOf(filters, now()), [name]);
  const read = (cursor: string | null, signal: AbortSignal): Promise<Page<Run>> =>
    body(
      api.GET("/v1/runs", {
        params: { query: { ...asked, limit: PAGE_ROWS, ...(cursor !== null && { cursor }) } },
        signal,
      }),
    );
  const pagesKey = ["run-pages", name];
  const pages = useInfiniteQuery({
    queryKey: pagesKey,
    staleTime: "static",
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) => read(pageParam, signal),
    getNextPageParam: (last) => last.next_cursor,
  });
  const first = pages.data?.pages[0];
  const head = useQuery({
    queryKey: keys.runs(filters),
    enabled: first !== undefined,
    ...(first && { initialData: first, initialDataUpdatedAt: pages.dataUpdatedAt }),
    queryFn: ({ signal }) => read(null, signal),
  });
  const newest = head.data ?? first ?? NOTHING;
  const [still, setStill] = useState<Page<Run> | null>(null);
  const rows = useMemo(() => pages.data?.pages.flatMap((page) => page.data) ?? [], [pages.data]);
  const feed = useMemo(() => feedOf(rows, still ?? newest, newest), [rows, still, newest]);
  const ids = useMemo(() => new Set(newest.data.map((run) => run.id)), [newest]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another list begins at its top
  useEffect(() => setStill(null), [name]);
  const startOver = feed.torn && still === null;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key is made of the name
  useEffect(() => {
    if (startOver)
      cache.setQueryData<InfiniteData<Page<Run>, string | null>>(pagesKey, {
        pages: [newest],
        pageParams: [null],
      });
  }, [startOver, newest, cache, name]);
  return {
    ...feed,
    error: pages.error,
    isPending: pages.isPending,
    hasMore: pages.hasNextPage,
    isReading: pages.isFetchingNextPage,
    readOn: () => void pages.fetchNextPage(),
    retry: () => void pages.refetch(),
    inHead: (id) => ids.has(id),
    follow: (following) => setStill((known) => (following ? null : (known ?? newest))),
  };
}
