/** Sending an answer. One click is one request, however often it is repeated until the server is heard. */

import { type UseMutationResult, useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { api, body, idempotencyKey } from "~/api/client";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import type { Approval, components } from "~/api/types";
import { settle } from "./inbox";

export type Word = components["schemas"]["ResolveIn"];

export const resolve = (id: string, word: Word, key: string): Promise<Approval> =>
  body(
    api.POST("/v1/approvals/{approval_id}/resolve", {
      params: { path: { approval_id: id }, header: { "Idempotency-Key": key } },
      body: word,
    }),
  );

/** Whether the same request, sent again, may still do what it was to do. */
const isOpen = (error: unknown): boolean => error instanceof Problem && error.isPassing;

export function useResolve(id: string): UseMutationResult<Approval, unknown, Word> {
  const cache = useQueryClient();
  const sent = useRef<{ readonly text: string; readonly key: string } | null>(null);
  return useMutation({
    mutationFn: (word) => {
      const text = JSON.stringify([id, word]);
      if (sent.current?.text !== text) sent.current = { text, key: idempotencyKey() };
      return resolve(id, word, sent.current.key);
    },
    onSuccess: (asked) => {
      sent.current = null;
      settle(cache, asked);
    },
    onError: (error) => {
      if (!isOpen(error)) sent.current = null;
      if (error instanceof Problem && error.status === 409) {
        void cache.invalidateQueries({ queryKey: keys.approval(id) });
        void cache.invalidateQueries({ queryKey: ["approvals"] });
      }
    },
  });
}
