/** What a retry may have otherwise, the request that asks for it, and the fork that can have what it cannot. Pure. */

import type { Problem } from "~/api/problem";
import type { Run } from "~/api/types";
import type { Change, Limits } from "./forking";
import type { Steps } from "./steps";

export interface RetryDraft {
  readonly instructions: string;
  readonly model: string;
  readonly limits: Limits;
}

/** What the fork dialog begins with. */
export interface Filled {
  readonly at: number;
  readonly change?: Change;
  readonly instructions?: string;
  readonly model?: string;
}

/** The last step of a run, up to `from`, that fits; 0 if none does. */
export function lastStep(
  steps: Steps,
  fits: (step: { kind: string; status: string }) => boolean,
  from = steps.last,
): number {
  for (let seq = from; seq > 0; seq -= 1) {
    const step = steps.at(seq);
    if (step !== undefined && fits(step)) return seq;
  }
  return 0;
}

/** The model call that the run came to last, be it the one that failed. */
export const lastAsked = (steps: Steps): number => lastStep(steps, (step) => step.kind === "model");

export const limitsOf = ({ limits }: Pick<Run, "limits">): Limits => {
  const text = (value: number | null | undefined): string => (value == null ? "" : String(value));
  const { cost_micros_max: micros } = limits;
  return {
    steps_max: text(limits.steps_max),
    tool_calls_max: text(limits.tool_calls_max),
    tokens_max: text(limits.tokens_max),
    cost: micros == null ? "" : String(micros / 1_000_000),
  };
};

/** What differs from what the run had, by the names of the request. */
export function editsOf(draft: RetryDraft, had: RetryDraft): Record<string, string> {
  return {
    ...(draft.instructions !== had.instructions && { instructions: draft.instructions }),
    ...(draft.model.trim() !== had.model.trim() && { model: draft.model.trim() }),
  };
}

type Limited = Pick<Run, "limits" | "deadline">;

/** The body of `POST /v1/runs/{id}/retry`. Limits replace all of the run's, so all are said if one is another. */
export function bodyOf(run: Limited, draft: RetryDraft, had: RetryDraft): Record<string, unknown> {
  const edits = editsOf(draft, had);
  const limits = limitsSaid(run, draft.limits);
  return {
    ...(Object.keys(edits).length > 0 && { edits }),
    ...(JSON.stringify(draft.limits) !== JSON.stringify(had.limits) && { limits }),
  };
}

function limitsSaid({ limits, deadline }: Limited, { cost, ...counts }: Limits): Record<string, unknown> {
  const { active_ms_max } = limits;
  const given = Object.entries(counts).filter(([, text]) => text.trim() !== "");
  return {
    ...Object.fromEntries(given.map(([name, text]) => [name, Number(text)])),
    ...(cost.trim() !== "" && { cost_micros_max: Math.round(Number(cost) * 1_000_000) }),
    ...(active_ms_max != null && { active_ms_max }),
    ...(deadline != null && { deadline }),
  };
}

/** Why it cannot be sent as it is; null if it can. */
export const missingIn = ({ instructions, model }: RetryDraft, had: RetryDraft): string | null =>
  had.instructions !== "" && instructions.trim() === ""
    ? "A retry cannot have no instructions: leave them as they were, or write others."
    : had.model !== "" && model.trim() === ""
      ? "Write which model, or leave it as it was."
      : null;

const CHANGES: Readonly<Record<string, Change>> = { output: "output", answer: "answer", message: "message" };

/** The fork to make instead: what the server says, else the same edits at the model call that they are for. */
export function forkInstead(steps: Steps, edits: Record<string, string>, refused: Problem | null): Filled {
  const told = refused?.body.fork as { readonly at: number; readonly edit: string } | null | undefined;
  if (told != null) return { at: told.at, change: CHANGES[told.edit] ?? "nothing" };
  const asked = lastAsked(steps);
  if (asked > 0 && Object.keys(edits).length > 0) return { at: asked, change: "model", ...edits };
  return { at: lastStep(steps, (step) => step.status === "succeeded") };
}
