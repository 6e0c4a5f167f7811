/** What can be done in a conversation besides talking: stop, retry, say it differently, have it answered anew. */

import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import { api, body, idempotencyKey } from "~/api/client";
import { Doubt } from "~/api/doubt";
import { keys } from "~/api/keys";
import type { ApiCall } from "~/builders/snippets";
import { toastError } from "~/design/Toasts";
import { useMounted } from "~/lib/mounted";
import { type Started, setGoing } from "./starting";

export interface Acting {
  // Each answers whether it was taken. With another message, or another answer, the page is on the new branch then.
  readonly stop: (runId: string) => Promise<boolean>;
  readonly retry: (runId: string) => Promise<boolean>;
  readonly edit: (messageId: string, message: unknown) => Promise<boolean>;
  readonly regenerate: (messageId: string) => Promise<boolean>;
  readonly showCode: (call: ApiCall) => void;
}

export function useActing(threadId: string, showCode: (call: ApiCall) => void): Acting {
  const cache = useQueryClient();
  const navigate = useNavigate();
  const isHere = useMounted();
  return useMemo(() => {
    const changed = (): void => {
      void cache.invalidateQueries({ queryKey: keys.thread(threadId) });
      void cache.invalidateQueries({ queryKey: ["threads"] });
    };
    const busy = new Set<string>(); // pressed twice, it is done once
    const doubt = new Doubt();
    const tried = async (what: string, work: () => Promise<void>): Promise<boolean> => {
      if (busy.has(what)) return false;
      busy.add(what);
      try {
        await work();
        return true;
      } catch (error) {
        toastError(what, error);
        return false;
      } finally {
        busy.delete(what);
        changed();
      }
    };
    const gone = async (path: string, asked: object): Promise<Started> => {
      try {
        const started = await setGoing(path, asked, doubt.keyOf([path, asked]));
        doubt.heard();
        return started;
      } catch (error) {
        doubt.heard(error);
        throw error;
      }
    };
    /** To the branch, unless somebody went elsewhere meanwhile. */
    const branched = async (path: string, asked: object): Promise<void> => {
      const { threadId: to } = await gone(path, asked);
      if (isHere()) await navigate({ to: "/chat/$threadId", params: { threadId: to } });
    };
    return {
      showCode,
      stop: (runId) =>
        tried("The run was not stopped", async () => {
          const params = { path: { run_id: runId }, header: { "Idempotency-Key": idempotencyKey() } };
          const run = await body(api.POST("/v1/runs/{run_id}/cancel", { params, body: {} as never }));
          cache.setQueryData(keys.run(runId), run);
        }),
      retry: (runId) =>
        tried("The run was not retried", async () => void (await gone(`/v1/runs/${runId}/retry`, {}))),
      edit: (messageId, message) =>
        tried("The message was not changed", () =>
          branched(`/v1/threads/${threadId}/edit`, { message_id: messageId, message }),
        ),
      regenerate: (messageId) =>
        tried("No other answer was asked for", () =>
          branched(`/v1/threads/${threadId}/regenerate`, { message_id: messageId }),
        ),
    };
  }, [threadId, cache, navigate, isHere, showCode]);
}
