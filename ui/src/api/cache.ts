/** The cache of answers, and how the stream keeps it true. */

import { type Query, QueryClient } from "@tanstack/react-query";
import { staleAfter } from "./keys";
import { live } from "./live";
import { Problem } from "./problem";

/** Hints come in bursts (a run that goes through its states); what they make stale is fetched at most this often. */
const GATHER_MS = 250;
/** How often what is shown is fetched again where there are no hints. */
const POLL_MS = 15_000;
const RETRIES = 2;

export function makeCache(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      // What the browser thinks of the network says nothing of a server on this machine, or in this house.
      queries: {
        networkMode: "always",
        staleTime: 10_000,
        retry: (failures, error) => error instanceof Problem && error.isPassing && failures < RETRIES,
        refetchOnWindowFocus: false,
      },
      mutations: { networkMode: "always" },
    },
  });
}

const isAnswered = ({ state }: Query): boolean => state.data !== undefined || state.status === "error";

/** Keep what is shown tolerably new for somebody who may not have hints. Returns how to stop. */
export function poll(cache: QueryClient): () => void {
  const timer = setInterval(() => {
    const isShown = ({ state }: Query): boolean => state.data !== undefined;
    if (document.visibilityState === "visible") void cache.invalidateQueries({ predicate: isShown });
  }, POLL_MS);
  return () => clearInterval(timer);
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
  // At the first connection too: what was answered before it may have changed before it.
  const stopGaps = live.onGap(() => void cache.invalidateQueries({ predicate: isAnswered }));
  return () => {
    clearTimeout(timer);
    stopHints();
    stopGaps();
  };
}
