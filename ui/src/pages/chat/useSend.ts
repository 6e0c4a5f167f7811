/** Say something in a thread, or begin one. */

import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useRef } from "react";
import { Doubt } from "~/api/doubt";
import { keys } from "~/api/keys";
import type { Talk } from "./conversations";
import { type OnBusy, type Started, setGoing } from "./starting";

export type Say = (agent: string, input: unknown, onBusy: OnBusy | null) => Promise<Started>;

/**
 * What was said stands in the conversation at once, and is taken out again if it was refused. After a broken connection
 * nobody knows whether it was taken: the same words are then sent under the same key, so that they are said once.
 */
export function useSend(threadId: string | null, talk: Talk): Say {
  const cache = useQueryClient();
  const doubt = useRef<Doubt>(null);
  doubt.current ??= new Doubt();
  return useCallback(
    async (agent, input, onBusy) => {
      const asked = {
        agent,
        input,
        ...(threadId === null ? {} : { thread_id: threadId }),
        ...(onBusy === null ? {} : { on_busy: onBusy }),
      };
      const key = (doubt.current as Doubt).keyOf(asked);
      talk.dispatch({ type: "said", send: { key, agent, input, runId: null } });
      try {
        const started = await setGoing("/v1/runs", asked, key);
        doubt.current?.heard();
        talk.dispatch({ type: "taken", key, runId: started.runId });
        void cache.invalidateQueries({ queryKey: ["threads"] });
        void cache.invalidateQueries({ queryKey: keys.thread(started.threadId) });
        return started;
      } catch (error) {
        doubt.current?.heard(error);
        talk.dispatch({ type: "refused", key });
        throw error;
      }
    },
    [threadId, talk, cache],
  );
}
