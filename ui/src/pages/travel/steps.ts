/** The steps of a run by number: what each is, without what it recorded. */

import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { request } from "~/api/client";
import { keys } from "~/api/keys";
import type { Run, Step } from "~/api/types";
import { exactly } from "~/builders/exact";
import { placeOf, type Steps as Timeline } from "~/pages/run/timeline/steps";
import { timelineOptions } from "~/pages/run/timeline/useTimeline";

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
  readonly at: (seq: number) => StepName | undefined;
}

/** The run's timeline, by number. The page of the run follows it: what comes is here as soon as it is there. */
export const useSteps = (runId: string): UseQueryResult<Steps> =>
  useQuery({ ...timelineOptions(runId), select: named });

export function named(timeline: Timeline): Steps {
  const { seq, key, kind, name, outcome, last, inheritedTo } = timeline;
  return {
    last,
    inherited: inheritedTo,
    at: (wanted) => {
      const place = placeOf(timeline, wanted);
      if (place < 0) return undefined;
      return {
        seq: seq[place] ?? wanted,
        key: key[place] ?? "",
        kind: kind[place] ?? "code",
        name: name[place] ?? "",
        status: outcome[place] ?? "succeeded",
      };
    },
  };
}

/** What is put into an editor at most; what is larger can be downloaded. */
const EDITABLE_BYTES_MAX = 200_000;

/** One step with what it recorded, its numbers as they were written; nothing is fetched for the place before the first. */
export function useStep(runId: string, seq: number): UseQueryResult<Step> {
  return useQuery({
    queryKey: keys.ofRun(runId, "step to edit", seq),
    enabled: seq > 0,
    staleTime: "static",
    queryFn: async ({ signal }) => {
      const path = `/v1/runs/${runId}/steps/${seq}?bytes_max=${EDITABLE_BYTES_MAX}`;
      return exactly(await (await request(path, { signal })).text()) as Step;
    },
  });
}

/** What a run was given, in the same way. It never becomes anything else. */
export const useInput = (runId: string): UseQueryResult<Run["input"]> =>
  useQuery({
    queryKey: ["input", runId],
    staleTime: "static",
    gcTime: 60_000,
    queryFn: async ({ signal }) =>
      (exactly(await (await request(`/v1/runs/${runId}`, { signal })).text()) as Run).input,
  });
