/** The tree of forks that a run belongs to. */

import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { type components, hasEnded, type Run } from "~/api/types";

export type Family = components["schemas"]["FamilyOut"];

/** How often a tree is looked at again in which something is under way: no hint at a relative names this run. */
const POLL_MS = 3_000;

export function useFamily(runId: string, enabled = true): UseQueryResult<Family> {
  return useQuery({
    queryKey: keys.ofRun(runId, "family"),
    enabled,
    queryFn: ({ signal }) =>
      body(api.GET("/v1/runs/{run_id}/family", { params: { path: { run_id: runId } }, signal })),
    refetchInterval: ({ state }) =>
      state.data?.data.some((relative) => !hasEnded(relative)) ? POLL_MS : false,
  });
}

/** Whether a run came out of a file, or goes on from one that did: then its forks only simulate, or refuse. Undefined
 * until it is known. */
export function useBeganElsewhere(run: Run): boolean | undefined {
  const asked = !run.imported && run.forked_from !== null;
  const family = useFamily(run.id, asked);
  if (!asked) return run.imported;
  return family.data === undefined && !family.isError
    ? undefined
    : family.data
      ? comesFrom(run.id, family.data)
      : false;
}

function comesFrom(id: string, { data }: Family): boolean {
  const byId = new Map(data.map((relative) => [relative.id, relative]));
  for (let at = byId.get(id); at !== undefined; at = byId.get(at.forked_from?.run_id ?? ""))
    if (at.imported) return true;
  return false;
}
