import { useQueryClient } from "@tanstack/react-query";
import { useRun } from "~/api/hooks";
import { keys } from "~/api/keys";
import type { Run } from "~/api/types";

/** The run of a turn: as the thread's list has it, else asked for by itself. Null while, or if, it is not to be had. */
export function useTurnRun(runId: string | null, listed: Run | null): Run | null {
  const cache = useQueryClient();
  const asked = useRun(listed === null ? runId : null);
  if (runId === null) return null;
  return listed ?? asked.data ?? cache.getQueryData<Run>(keys.run(runId)) ?? null;
}
