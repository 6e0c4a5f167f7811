/** Sending a decision about a question: the one way there is, whichever page it is made on. */

import { type UseMutationResult, useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { api, body } from "./client";
import { Doubt } from "./doubt";
import { keys } from "./keys";
import { Problem } from "./problem";
import type { Approval, components } from "./types";

export type Word = components["schemas"]["ResolveIn"];

export const resolve = (id: string, word: Word, key: string): Promise<Approval> =>
  body(
    api.POST("/v1/approvals/{approval_id}/resolve", {
      params: { path: { approval_id: id }, header: { "Idempotency-Key": key } },
      body: word,
    }),
  );

/**
 * Decides a question. One click is one request, however often it is repeated until the server is heard. All that shows the
 * question is made true; `onDecided` is for what else knows of it.
 */
export function useResolve(
  id: string,
  onDecided?: (asked: Approval) => void,
): UseMutationResult<Approval, unknown, Word> {
  const cache = useQueryClient();
  const doubt = useRef<Doubt>(null);
  doubt.current ??= new Doubt();
  return useMutation({
    mutationFn: (word) => resolve(id, word, (doubt.current as Doubt).keyOf([id, word])),
    onSuccess: (asked) => {
      doubt.current?.heard();
      cache.setQueryData<Approval>(keys.approval(id), (before) => ({ ...before, ...asked }));
      for (const queryKey of [["approvals"], ["overview"], keys.run(asked.run_id)])
        void cache.invalidateQueries({ queryKey });
      if (asked.effect_id !== null) void cache.invalidateQueries({ queryKey: ["effects"] });
      onDecided?.(asked);
    },
    onError: (error) => {
      doubt.current?.heard(error);
      if (!(error instanceof Problem) || (error.status !== 409 && error.status !== 403)) return;
      void cache.invalidateQueries({ queryKey: keys.approval(id) });
      void cache.invalidateQueries({ queryKey: ["approvals"] });
    },
  });
}
