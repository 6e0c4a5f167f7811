/** The cache of answers, and how the stream keeps it true. */

import { QueryClient } from "@tanstack/react-query";
import { staleAfter } from "./keys";
import { live } from "./live";
import { Problem } from "./problem";

/** Hints come in bursts (a run that goes through its states); what they make stale is fetched at most this often. */
const GATHER_MS = 250;
const RETRIES = 2;

export function makeCache(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 10_000,
        retry: (failures, error) => error instanceof Problem && error.isPassing && failures < RETRIES,
        refetchOnWindowFocus: false,
      },
    },
  });
}

/** Keep what is shown as new as the hints say. Returns how to stop. */
export function followHints(cache: QueryClient): () => void {
  const stale = new Map<string, readonly unknown[]>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = (): void => {
    timer = undefined;
    const found = [...stale.values()];
    stale.clear();
    for (const queryKey of found) void cache.invalidateQueries({ queryKey });
  };
  const stopHints = live.onChange(({ kind, id }) => {
    for (const key of staleAfter(kind, id)) stale.set(JSON.stringify(key), key);
    timer ??= setTimeout(flush, GATHER_MS);
  });
  let first = true;
  const stopGaps = live.onGap(() => {
    if (!first) void cache.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "info" });
    first = false;
  });
  return () => {
    clearTimeout(timer);
    stopHints();
    stopGaps();
  };
}
