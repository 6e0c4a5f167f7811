/** Say something in a thread, or begin one. */

import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useRef } from "react";
import { idempotencyKey } from "~/api/client";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import type { Talk } from "./conversations";
import { type OnBusy, type Started, startRun } from "./starting";

export type Say = (agent: string, input: unknown, onBusy: OnBusy | null) => Promise<Started>;

/**
 * What was said stands in the conversation at once, and is taken out again if it was refused. After a broken connection
 * nobody knows whether it was taken: the same words are then sent under the same key, so that they are said once.
 */
export function useSend(threadId: string | null, talk: Talk): Say {
  const cache = useQueryClient();
  const doubtful = useRef<{ readonly said: string; readonly key: string } | null>(null);
  return useCallback(
    async (agent, input, onBusy) => {
      const said = JSON.stringify([agent, input, onBusy]);
      const key = doubtful.current?.said === said ? doubtful.current.key : idempotencyKey();
      doubtful.current = { said, key };
      talk.dispatch({ type: "said", send: { key, agent, input, runId: null } });
      try {
        const started = await startRun(
          {
            agent,
            input,
            ...(threadId === null ? {} : { thread_id: threadId }),
            ...(onBusy === null ? {} : { on_busy: onBusy }),
          },
          key,
        );
        doubtful.current = null;
        talk.dispatch({ type: "taken", key, runId: started.runId });
        void cache.invalidateQueries({ queryKey: ["threads"] });
        void cache.invalidateQueries({ queryKey: keys.thread(started.threadId) });
        return started;
      } catch (error) {
        talk.dispatch({ type: "refused", key });
        if (error instanceof Problem && !error.isPassing) doubtful.current = null;
        throw error;
      }
    },
    [threadId, talk, cache],
  );
}
