/** Where a run stood at one of its steps. */

import { keepPreviousData, type UseQueryResult, useQuery } from "@tanstack/react-query";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import type { RunState } from "~/api/types";

export function useStateAt(runId: string, at: number | null): UseQueryResult<RunState> {
  return useQuery({
    queryKey: keys.ofRun(runId, "state", at),
    enabled: at !== null,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/state", {
          params: { path: { run_id: runId }, query: { at: at ?? 0 } },
          signal,
        }),
      ),
  });
}
