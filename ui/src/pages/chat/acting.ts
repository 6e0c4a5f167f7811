/** What can be done in a conversation besides talking: stop, retry, say it differently, have it answered anew. */

import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import { api, body, idempotencyKey } from "~/api/client";
import { keys } from "~/api/keys";
import type { Run } from "~/api/types";
import type { ApiCall } from "~/builders/snippets";
import { toastError } from "~/design/Toasts";

export interface Acting {
  readonly stop: (runId: string) => Promise<void>;
  readonly retry: (runId: string) => Promise<void>;
  /** Whether it was taken: then the page is on the new branch. */
  readonly edit: (messageId: string, message: unknown) => Promise<boolean>;
  readonly regenerate: (messageId: string) => Promise<void>;
  readonly showCode: (call: ApiCall) => void;
}

export function useActing(threadId: string, showCode: (call: ApiCall) => void): Acting {
  const cache = useQueryClient();
  const navigate = useNavigate();
  return useMemo(() => {
    const changed = (): void => {
      void cache.invalidateQueries({ queryKey: keys.thread(threadId) });
      void cache.invalidateQueries({ queryKey: ["threads"] });
    };
    let busy = false; // pressed twice, it is done once
    const tried = async (what: string, work: () => Promise<void>): Promise<boolean> => {
      if (busy) return false;
      busy = true;
      try {
        await work();
        return true;
      } catch (error) {
        toastError(what, error);
        return false;
      } finally {
        busy = false;
        changed();
      }
    };
    const goTo = async (run: Run): Promise<void> => {
      await navigate({ to: "/chat/$threadId", params: { threadId: run.thread_id } });
    };
    const header = () => ({ "Idempotency-Key": idempotencyKey() });
    return {
      showCode,
      stop: async (runId) => {
        await tried("The run was not stopped", async () => {
          const params = { path: { run_id: runId }, header: header() };
          const run = await body(api.POST("/v1/runs/{run_id}/cancel", { params, body: {} as never }));
          cache.setQueryData(keys.run(runId), run);
        });
      },
      retry: async (runId) => {
        await tried("The run was not retried", async () => {
          const params = { path: { run_id: runId }, header: header() };
          const run = await body(api.POST("/v1/runs/{run_id}/retry", { params }));
          cache.setQueryData(keys.run(runId), run);
        });
      },
      edit: (messageId, message) =>
        tried("The message was not changed", async () => {
          const params = { path: { thread_id: threadId }, header: header() };
          const asked = { message_id: messageId, message } as never;
          await goTo(await body(api.POST("/v1/threads/{thread_id}/edit", { params, body: asked })));
        }),
      regenerate: async (messageId) => {
        await tried("No other answer was asked for", async () => {
          const params = { path: { thread_id: threadId }, header: header() };
          const asked = { message_id: messageId } as never;
          await goTo(await body(api.POST("/v1/threads/{thread_id}/regenerate", { params, body: asked })));
        });
      },
    };
  }, [threadId, cache, navigate, showCode]);
}
