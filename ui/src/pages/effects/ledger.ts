/** The ledger of side effects: what is asked of the API for it, and saying what became of one. */

import {
  type UseMutationResult,
  type UseQueryResult,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useRef } from "react";
import { api, body, idempotencyKey } from "~/api/client";
import { type Paged, usePages } from "~/api/hooks";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import type { ApprovalRow, components, Effect, EffectRow, EffectStatus } from "~/api/types";
import type * as search from "~/app/search";

export type LedgerSearch = ReturnType<typeof search.effects>;
export type Outcome = components["schemas"]["OutcomeIn"];

export function ledgerQuery({ status, tool, agent, run }: LedgerSearch) {
  return {
    ...(status === undefined ? {} : { status: [status] as EffectStatus[] }),
    ...(tool === undefined ? {} : { tool }),
    ...(agent === undefined ? {} : { agent }),
    ...(run === undefined ? {} : { run_id: run }),
  };
}

export const isFiltered = ({ status, tool, agent, run }: LedgerSearch): boolean =>
  [status, tool, agent, run].some((one) => one !== undefined);

export function useLedger(asked: LedgerSearch): Paged<EffectRow> {
  const query = ledgerQuery(asked);
  return usePages<EffectRow>(keys.effects(query), (cursor, signal) =>
    body(
      api.GET("/v1/effects", {
        params: { query: { ...query, limit: 100, ...(cursor === null ? {} : { cursor }) } },
        signal,
      }),
    ),
  );
}

/** One effect; under the key of all effects, since hints at one make that stale. */
export function useLedgerRow(id: string | null): UseQueryResult<Effect> {
  return useQuery<Effect>({
    queryKey: keys.effects({ id }),
    enabled: id !== null,
    queryFn: ({ signal }) =>
      body(api.GET("/v1/effects/{effect_id}", { params: { path: { effect_id: id ?? "" } }, signal })),
  });
}

/** What was asked about a call, the last question first: leave for it, or what became of it. */
export function useQuestionsAbout(effectId: string): readonly ApprovalRow[] {
  const found = useQuery({
    queryKey: keys.approvals({ about: effectId }),
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/approvals", {
          params: { query: { effect_id: effectId, order: "desc", limit: 200 } },
          signal,
        }),
      ),
  });
  return found.data?.data ?? [];
}

/** Says what became of an effect. The same word sent again is one request. */
export function useOutcome(id: string): UseMutationResult<Effect, unknown, Outcome> {
  const cache = useQueryClient();
  const sent = useRef<{ readonly text: string; readonly key: string } | null>(null);
  const stale = (): void => {
    for (const queryKey of [["effects"], ["approvals"], ["approval"], ["overview"]])
      void cache.invalidateQueries({ queryKey });
  };
  return useMutation({
    mutationFn: (word) => {
      const text = JSON.stringify([id, word]);
      if (sent.current?.text !== text) sent.current = { text, key: idempotencyKey() };
      return body(
        api.POST("/v1/effects/{effect_id}/resolve", {
          params: { path: { effect_id: id }, header: { "Idempotency-Key": sent.current.key } },
          body: word,
        }),
      );
    },
    onSuccess: (effect) => {
      sent.current = null;
      cache.setQueryData(keys.effects({ id }), effect);
      void cache.invalidateQueries({ queryKey: keys.run(effect.run_id) });
      stale();
    },
    onError: (error) => {
      if (!(error instanceof Problem && error.isPassing)) sent.current = null;
      if (error instanceof Problem && error.status === 409) stale();
    },
  });
}
