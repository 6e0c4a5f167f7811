/** What a step recorded, and what belongs to it. Recorded things never change, so they are fetched once. */

import { keepPreviousData, type UseQueryResult, useQuery } from "@tanstack/react-query";
import { api, body, request } from "~/api/client";
import { keys } from "~/api/keys";
import type { Effect, Part, Prompt, Step } from "~/api/types";
import { download } from "~/design/Json";
import type { Steps } from "../timeline/steps";

/** Larger payloads are a file: the page shows how large, and gives it. */
export const SHOWN_BYTES_MAX = 512 * 1024;

export function useStep(runId: string, seq: number | null): UseQueryResult<Step> {
  return useQuery({
    queryKey: keys.ofRun(runId, "recorded", seq),
    enabled: seq !== null,
    staleTime: "static",
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/steps/{seq}", {
          params: { path: { run_id: runId, seq: seq ?? 0 }, query: { bytes_max: SHOWN_BYTES_MAX } },
          signal,
        }),
      ),
  });
}

export function usePrompt(runId: string, seq: number, enabled = true): UseQueryResult<Prompt> {
  return useQuery({
    queryKey: keys.ofRun(runId, "prompt", seq),
    enabled,
    staleTime: "static",
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/steps/{seq}/prompt", {
          params: { path: { run_id: runId, seq }, query: { bytes_max: SHOWN_BYTES_MAX } },
          signal,
        }),
      ),
  });
}

export function useEffectOf(id: string): UseQueryResult<Effect> {
  return useQuery({
    queryKey: keys.effects({ id }),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/effects/{effect_id}", { params: { path: { effect_id: id } }, signal })),
  });
}

export async function saveOutput(runId: string, seq: number): Promise<void> {
  const answer = await request(`/v1/runs/${runId}/steps/${seq}/output`);
  download(await answer.blob(), `${runId}-${seq}.json`, "application/json");
}

export async function savePrompt(runId: string, seq: number): Promise<void> {
  const answer = await request(`/v1/runs/${runId}/steps/${seq}/prompt`);
  download(await answer.blob(), `${runId}-${seq}-prompt.json`, "application/json");
}

/** The answer of a model in which a tool was called: a call's own step does not repeat its arguments. */
export function callerOf(steps: Steps | undefined, key: string): number | null {
  const slash = key.lastIndexOf("/");
  if (steps === undefined || slash < 0) return null;
  const caller = steps.key.lastIndexOf(key.slice(0, slash));
  return caller >= 0 && steps.kind[caller] === "model" ? (steps.seq[caller] ?? null) : null;
}

export function argumentsOf(model: Step | undefined, output: unknown): unknown {
  const callId = (output as { call_id?: unknown } | null)?.call_id;
  const parts = (model?.output as { parts?: readonly Part[] } | null)?.parts ?? [];
  const call = parts.find((part) => part.type === "tool_call" && part.call_id === callId);
  return call?.type === "tool_call" ? call.arguments : undefined;
}
