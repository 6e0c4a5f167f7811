/** What a new install leads through, step by step: which are taken is read off the data. Can be put away, and had back. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Check, ChevronRight, X } from "lucide-react";
import { useState } from "react";
import { api, body } from "~/api/client";
import { useAgents } from "~/api/hooks";
import { keys } from "~/api/keys";
import type { ApprovalRow, Page, Run } from "~/api/types";
import { IconButton } from "~/design/Button";
import { noteFirst, useFirsts } from "~/lib/firsts";
import { type FirstStep, firstSteps, isOwn } from "./firstSteps";

const DECIDED_LOOKED_AT = 50;
const FORKS_LOOKED_AT = 20;

export interface Led {
  readonly steps: readonly FirstStep[];
  /** Nobody has started a run yet. */
  readonly isNew: boolean;
}

/**
 * The steps that are left to lead through; null if there are none. Undefined until that is known: the page waits for it,
 * since what came later would push all else down.
 */
export function useFirstSteps(
  runs: readonly Run[] | undefined,
  pending: readonly ApprovalRow[] | undefined,
  isWanted: boolean,
): Led | null | undefined {
  const firsts = useFirsts();
  const enabled = isWanted && !firsts.has("dismissed");
  const agents = useAgents();
  const forks = useQuery({
    queryKey: keys.runs({ forked: true, limit: FORKS_LOOKED_AT }),
    enabled,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/runs", { params: { query: { forked: true, limit: FORKS_LOOKED_AT } }, signal }),
      ) as Promise<Page<Run>>,
  });
  const decided = useQuery({
    queryKey: keys.approvals({ status: "approved", limit: DECIDED_LOOKED_AT }),
    enabled,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/approvals", {
          params: { query: { status: ["approved"], limit: DECIDED_LOOKED_AT } },
          signal,
        }),
      ) as Promise<Page<ApprovalRow>>,
  });
  if (!enabled) return null;
  if (agents.isPending || forks.isPending || decided.isPending || runs === undefined || pending === undefined)
    return undefined;
  if (agents.data === undefined || forks.data === undefined || decided.data === undefined) return null;
  const steps = firstSteps({
    runs,
    forks: forks.data.data,
    decided: decided.data.data,
    pending,
    agents: agents.data,
    firsts,
  });
  return steps.every((step) => step.done) ? null : { steps, isNew: !runs.some(isOwn) };
}

export function FirstSteps({ steps, isNew }: Led) {
  const [open, setOpen] = useState(isNew);
  const next = steps.find((step) => !step.done);
  const taken = steps.filter((step) => step.done).length;
  return (
    <section className="min-w-0 rounded-lg border border-line bg-surface" aria-label="First steps">
      <header className="flex min-h-10 items-center gap-2 px-2 py-1.5">
        <button
          type="button"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          className="flex min-w-0 grow items-center gap-2 rounded-md px-2 py-1 text-left hover:bg-hover"
        >
          <ChevronRight
            size={15}
            aria-hidden
            className={clsx("shrink-0 text-ink-3 transition-transform", open && "rotate-90")}
          />
          <h2 className="shrink-0 text-sm font-semibold">First steps</h2>
          <span className="shrink-0 text-xs text-ink-3 tabular">
            {taken} of {steps.length}
          </span>
          {!open && next !== undefined && (
            <span className="min-w-0 truncate text-xs text-ink-2">Next: {next.title.toLowerCase()}</span>
          )}
        </button>
        <IconButton label="Put the first steps away" size="sm" onClick={() => noteFirst("dismissed")}>
          <X size={15} />
        </IconButton>
      </header>
      {open && (
        <ol className="grid border-t border-line lg:grid-cols-5">
          {steps.map((step, index) => (
            <li
              key={step.id}
              className="flex min-w-0 gap-3 border-line p-4 max-lg:[&+&]:border-t lg:flex-col lg:gap-2 lg:[&+&]:border-l"
            >
              <Mark done={step.done} next={step === next} number={index + 1} />
              <div className="flex min-w-0 grow flex-col gap-1">
                <h3 className={clsx("text-sm font-semibold", step.done && "text-ink-2")}>
                  {step.title}
                  {step.done && <span className="sr-only"> (done)</span>}
                </h3>
                <p className="grow text-xs text-ink-2">{step.says}</p>
                <Link
                  to={step.to as never}
                  search={(step.search ?? {}) as never}
                  className={clsx(
                    "mt-1 inline-flex h-7 items-center self-start rounded-md border px-2 text-xs font-medium",
                    step === next
                      ? "border-transparent bg-accent text-accent-ink hover:brightness-110"
                      : "border-line-2 bg-surface text-ink hover:bg-hover",
                  )}
                >
                  {step.action}
                </Link>
              </div>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

const Mark = ({ done, next, number }: { done: boolean; next: boolean; number: number }) => (
  <span
    aria-hidden
    className={clsx(
      "flex size-6 shrink-0 items-center justify-center rounded-full text-xs font-semibold tabular",
      done ? "bg-good-soft text-good" : next ? "bg-accent text-accent-ink" : "bg-mute-soft text-ink-2",
    )}
  >
    {done ? <Check size={14} /> : number}
  </span>
);
