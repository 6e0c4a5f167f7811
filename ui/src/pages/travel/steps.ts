/** The steps of a run by number: what each is, without what it recorded. */

import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import type { components, Step } from "~/api/types";

type Timeline = components["schemas"]["TimelineOut"];

export interface StepName {
  readonly seq: number;
  readonly key: string;
  readonly kind: string;
  readonly name: string;
  readonly status: string;
}

export interface Steps {
  readonly last: number;
  /** Up to which step they are another run's, of which this one is a fork. */
  readonly inherited: number;
  readonly all: readonly StepName[];
  readonly at: (seq: number) => StepName | undefined;
}

/** Beyond these a step is named by its number alone. */
const NAMED_MAX = 20_000;

/** How often a run that goes on is looked at again. */
export const GROWS_MS = 3_000;

export function useSteps(runId: string, grows = false): UseQueryResult<Steps> {
  return useQuery({
    queryKey: keys.ofRun(runId, "step-names"),
    refetchInterval: grows ? GROWS_MS : false,
    queryFn: async ({ signal }) => {
      const path = { run_id: runId };
      return body(
        api.GET("/v1/runs/{run_id}/timeline", { params: { path, query: { limit: NAMED_MAX } }, signal }),
      );
    },
    select: named,
  });
}

export function named({ steps, words, inherited_to }: Timeline): Steps {
  const all = steps.seq.map((seq, row) => ({
    seq,
    key: steps.key[row] ?? "",
    kind: words.kind[steps.kind[row] ?? 0] ?? "code",
    name: words.name[steps.name[row] ?? 0] ?? "",
    status: words.status[steps.status[row] ?? 0] ?? "succeeded",
  }));
  const bySeq = new Map(all.map((step) => [step.seq, step]));
  return { last: all.at(-1)?.seq ?? 0, inherited: inherited_to, all, at: (seq) => bySeq.get(seq) };
}

/** What is put into an editor at most; what is larger can be downloaded. */
const EDITABLE_BYTES_MAX = 200_000;

/** One step with what it recorded; nothing is fetched for the place before the first. */
export function useStep(runId: string, seq: number): UseQueryResult<Step> {
  return useQuery({
    queryKey: keys.ofRun(runId, "step", seq, EDITABLE_BYTES_MAX),
    enabled: seq > 0,
    staleTime: 60_000,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs/{run_id}/steps/{seq}", {
          params: { path: { run_id: runId, seq }, query: { bytes_max: EDITABLE_BYTES_MAX } },
          signal,
        }),
      ),
  });
}
