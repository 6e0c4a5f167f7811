/** The state of the retry form, and sending it: once a click, with what the API says no to beside its field. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, request } from "~/api/client";
import { keys } from "~/api/keys";
import { useOnceKey } from "~/api/once";
import { messageOf, Problem } from "~/api/problem";
import type { Agent, Prompt, Run } from "~/api/types";
import { usePrompt } from "~/pages/run/step/queries";
import { placeOf } from "./forking";
import { bodyOf, editsOf, lastAsked, limitsOf, missingIn, type RetryDraft } from "./retrying";
import type { Steps } from "./steps";

/** What the run's model calls were made with, and where that is known from. */
export interface Used {
  readonly instructions: string;
  readonly model: string;
  /** The model step whose prompt said so; null: the agent's own, since none was asked. */
  readonly asked: number | null;
}

export interface Using {
  readonly used: Used | undefined;
  readonly agent: Agent | undefined;
  readonly error: unknown;
  readonly retry: () => void;
}

/** Out of the exact prompt of the last model call; of a run that made none, out of its agent. */
export function useUsed(run: Run, steps: Steps): Using {
  const asked = lastAsked(steps);
  const prompt = usePrompt(run.id, asked, asked > 0);
  const agent = useQuery({
    queryKey: keys.agent(run.acting_agent),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/agents/{agent_id}", { params: { path: { agent_id: run.acting_agent } }, signal })),
  });
  // What a call was asked may not be known, as of a run whose messages were deleted: then the agent says it.
  const untold = asked === 0 || (prompt.error instanceof Problem && prompt.error.status === 404);
  const known = agent.data !== undefined && (untold || prompt.data !== undefined);
  return {
    used: known ? usedOf(agent.data, untold ? undefined : prompt.data, asked) : undefined,
    agent: agent.data,
    error: agent.error ?? (untold ? null : prompt.error),
    retry: () => void (agent.isError ? agent.refetch() : prompt.refetch()),
  };
}

const textOr = (value: unknown, other: string | null): string =>
  typeof value === "string" ? value : (other ?? "");

function usedOf(agent: Agent, prompt: Prompt | undefined, asked: number): Used {
  const said = prompt === undefined || prompt.cut ? undefined : prompt;
  return {
    instructions: textOr(said?.instructions, agent.instructions),
    model: textOr(said?.model, agent.model),
    asked: said === undefined ? null : asked,
  };
}

export interface RetryErrors {
  readonly instructions: string | null;
  readonly model: string | null;
  readonly limits: string | null;
  readonly form: string | null;
}

const NONE: RetryErrors = { instructions: null, model: null, limits: null, form: null };

export interface RetryForm {
  readonly draft: RetryDraft;
  readonly had: RetryDraft;
  readonly edits: Record<string, string>;
  readonly errors: RetryErrors;
  /** What the server said no with. */
  readonly refused: Problem | null;
  readonly isSending: boolean;
  readonly set: (part: Partial<RetryDraft>) => void;
  readonly submit: () => void;
}

export function useRetryForm(run: Run, used: Used, onRetried: () => void): RetryForm {
  const cache = useQueryClient();
  const keyFor = useOnceKey();
  // What the run had when the dialog was opened: nothing that comes later may turn what somebody wrote into "as it was".
  const [had] = useState<RetryDraft>(() => ({
    instructions: used.instructions,
    model: used.model,
    limits: limitsOf(run),
  }));
  const [draft, setDraft] = useState(had);
  const [errors, setErrors] = useState(NONE);
  const [refused, setRefused] = useState<Problem | null>(null);
  const sending = useMutation({
    mutationFn: async (sent: Record<string, unknown>): Promise<Run> => {
      const answer = await request(`/v1/runs/${run.id}/retry`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "idempotency-key": keyFor({ sent, ended: run.ended_at }),
        },
        body: JSON.stringify(sent),
      });
      return answer.json() as Promise<Run>;
    },
    onSuccess: (found) => {
      cache.setQueryData(keys.run(run.id), found);
      onRetried();
    },
    onError: (error) => {
      setRefused(error instanceof Problem ? error : null);
      setErrors(errorsOf(error));
    },
  });
  return {
    draft,
    had,
    edits: editsOf(draft, had),
    errors,
    refused,
    isSending: sending.isPending,
    set: (part) => {
      setDraft((before) => ({ ...before, ...part }));
      setErrors(NONE);
      setRefused(null);
    },
    submit: () => {
      if (sending.isPending) return;
      const missing = missingIn(draft, had);
      if (missing !== null) setErrors({ ...NONE, form: missing });
      else sending.mutate(bodyOf(run, draft, had));
    },
  };
}

function errorsOf(error: unknown): RetryErrors {
  const places = error instanceof Problem ? (error.body.errors ?? []) : [];
  const found: Record<string, string> = {};
  for (const { loc, msg } of places) {
    const place = placeOf(error instanceof Problem ? error.code : "", loc);
    found[place in NONE ? place : "form"] = msg;
  }
  return places.length === 0 ? { ...NONE, form: messageOf(error) } : { ...NONE, ...found };
}
