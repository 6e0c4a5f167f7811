/** What can be done with a run, each named once: as a button, in the menu, by a key. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, body, request } from "~/api/client";
import { keys } from "~/api/keys";
import { useOnceKey } from "~/api/once";
import { may, useMe } from "~/api/session";
import { hasEnded, type Run } from "~/api/types";
import { download } from "~/design/Json";
import { toast, toastError } from "~/design/Toasts";

export interface RunActions {
  readonly mayWrite: boolean;
  readonly canCancel: boolean;
  readonly canRetry: boolean;
  readonly retry: () => void;
  readonly retrying: boolean;
  readonly save: () => void;
  readonly saving: boolean;
}

export function useRunActions(run: Run): RunActions {
  const cache = useQueryClient();
  const me = useMe();
  const keyFor = useOnceKey();
  const retry = useMutation({
    mutationFn: () =>
      body(
        api.POST("/v1/runs/{run_id}/retry", {
          params: { path: { run_id: run.id }, header: { "Idempotency-Key": keyFor(run.ended_at) } },
        }),
      ),
    onSuccess: (found: Run) => {
      cache.setQueryData(keys.run(run.id), found);
      toast("The run is queued again. What it recorded stays.");
    },
    onError: (error) => toastError("The run cannot be retried", error),
  });
  const save = useMutation({
    mutationFn: async () => (await request(`/v1/runs/${run.id}/export`)).blob(),
    onSuccess: (file) => download(file, `${run.id}.jsonl`, "application/x-ndjson"),
    onError: (error) => toastError("The run could not be exported", error),
  });
  const mayWrite = may(me.data, "runs:write");
  return {
    mayWrite,
    canCancel: mayWrite && !hasEnded(run) && run.cancel_requested_at === null,
    // What called it, or goes on from it, has built on the failure already.
    canRetry:
      mayWrite &&
      run.status === "failed" &&
      !run.imported &&
      run.parent === null &&
      run.successor_id === null,
    retry: () => {
      if (!retry.isPending) retry.mutate();
    },
    retrying: retry.isPending,
    save: () => {
      if (!save.isPending) save.mutate();
    },
    saving: save.isPending,
  };
}
