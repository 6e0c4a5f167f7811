/** Fork a run: where, what is different, and what its calls may do. */

import { useQueryClient } from "@tanstack/react-query";
import { CodeXml, GitFork } from "lucide-react";
import { type KeyboardEvent, useId, useState } from "react";
import type { Run } from "~/api/types";
import { useGo } from "~/app/go";
import { SnippetDialog } from "~/builders/SnippetDialog";
import { type ApiCall, forkCall } from "~/builders/snippets";
import { Button } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { Kbd } from "~/design/Facts";
import { ErrorState, Skeleton } from "~/design/States";
import { toast } from "~/design/Toasts";
import { Choices } from "./Choices";
import { EditFields } from "./EditFields";
import { type Change, changesAt, isLeave, keptBy, said } from "./forking";
import { LimitFields } from "./LimitFields";
import { PolicyFields } from "./PolicyFields";
import type { Filled } from "./retrying";
import { nameAt, StepAt, StepStrip } from "./StepStrip";
import { type Steps, useInput, useStep, useSteps } from "./steps";
import { useBeganElsewhere } from "./useFamily";
import { useForkForm } from "./useForkForm";

export interface ForkDialogProps {
  readonly run: Run;
  /** The step to fork at; the last one unless given. */
  readonly step: number | null | undefined;
  /** What it begins with, where that is known already. */
  readonly filled?: Filled | null;
  readonly onClose: () => void;
}

export function ForkDialog({ run, step, filled = null, onClose }: ForkDialogProps) {
  const steps = useSteps(run.id);
  const input = useInput(run.id);
  const imported = useBeganElsewhere(run);
  const failed = steps.isError ? steps : input.isError ? input : null;
  if (steps.data === undefined || input.data === undefined || imported === undefined)
    return (
      <Dialog open wide onClose={onClose} title="Fork this run">
        {failed !== null ? (
          <ErrorState error={failed.error} onRetry={() => void failed.refetch()} />
        ) : (
          <Skeleton className="h-80 w-full" />
        )}
      </Dialog>
    );
  const exact = { ...run, input: input.data, imported };
  return (
    <ForkForm
      run={exact}
      steps={steps.data}
      filled={filled ?? { at: Math.min(step ?? steps.data.last, steps.data.last) }}
      onClose={onClose}
    />
  );
}

function ForkForm({
  run,
  steps,
  filled,
  onClose,
}: Pick<ForkDialogProps, "run" | "onClose"> & { steps: Steps; filled: Filled }) {
  const go = useGo();
  const cache = useQueryClient();
  const id = useId();
  const form = useForkForm(run, steps, filled, (forked) => {
    toast("Forked. The run that it comes from stays as it is.");
    void cache.invalidateQueries({ queryKey: ["runs"] });
    onClose();
    go(`/runs/${forked.id}`);
  });
  const { draft, errors } = form;
  const recorded = useStep(run.id, draft.at);
  const [snippet, setSnippet] = useState<ApiCall | null>(null);
  const pressed = (event: KeyboardEvent): void => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) {
      event.preventDefault();
      form.submit();
    }
  };
  return (
    <Dialog
      open
      wide
      onClose={onClose}
      title="Fork this run"
      description="A new run goes on from a step of this one. This one stays exactly as it is."
      footer={
        <>
          <p aria-live="polite" className="min-w-0 grow basis-60 self-center text-xs text-ink-2">
            {said(draft.at, draft.change, steps.last)}
          </p>
          <Button
            look="quiet"
            icon={<CodeXml size={14} aria-hidden />}
            disabled={!form.isWhole}
            onClick={() => setSnippet(forkCall(run.id, { at: draft.at, ...form.body() }))}
          >
            As code
          </Button>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            look="primary"
            type="submit"
            form={id}
            busy={form.isSending}
            icon={<GitFork size={14} aria-hidden />}
          >
            Fork
            <span className="hidden sm:inline" aria-hidden>
              <Kbd keys="mod+enter" />
            </span>
          </Button>
        </>
      }
    >
      <form
        id={id}
        className="flex flex-col gap-5"
        onKeyDown={pressed}
        onSubmit={(event) => {
          event.preventDefault();
          form.submit();
        }}
      >
        <section className="flex flex-col gap-1">
          <div className="flex flex-wrap items-baseline justify-between gap-x-3">
            <h3 className="text-xs font-medium text-ink-2">Leave the run at</h3>
            <StepAt steps={steps} at={draft.at} />
          </div>
          <StepStrip
            steps={steps}
            at={draft.at}
            filledTo={keptBy(draft.at, draft.change)}
            onChange={form.moveTo}
            label="Where to leave the run"
            focused
          />
          {errors.at && (
            <p role="alert" className="text-xs text-bad">
              {errors.at}
            </p>
          )}
        </section>
        <section className="flex flex-col gap-3">
          <Choices
            legend="What is different"
            columns={2}
            value={draft.change}
            onChange={form.chooseChange}
            choices={changesAt(draft.at, steps.at(draft.at)).map((change) => ({
              value: change,
              ...wordsFor(change, draft.at, steps),
            }))}
          />
          <div className="min-w-0">
            {recorded.isError && recorded.data === undefined ? (
              <ErrorState
                error={recorded.error}
                onRetry={() => void recorded.refetch()}
                what="What this step recorded"
              />
            ) : (
              <EditFields
                key={`${draft.at} ${draft.change}`}
                run={run}
                change={draft.change}
                step={draft.at === 0 ? null : recorded.data}
                onValue={form.setValue}
                anew={draft}
                onAnew={form.set}
                errors={errors}
              />
            )}
          </div>
        </section>
        <PolicyFields
          policy={draft.policy}
          onChange={(policy) => form.set({ policy })}
          imported={run.imported}
          error={errors.effects}
        />
        <LimitFields
          tags={draft.tags}
          limits={draft.limits}
          onChange={form.set}
          errors={{ tags: errors.tags, limits: errors.limits }}
        />
        {errors.form && (
          <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-sm text-bad">
            {errors.form}
          </p>
        )}
      </form>
      <SnippetDialog call={snippet} onClose={() => setSnippet(null)} />
    </Dialog>
  );
}

function wordsFor(change: Change, at: number, steps: Steps): { label: string; means: string } {
  const model = steps.at(at)?.kind === "model";
  const words: Record<Change, { label: string; means: string }> = {
    nothing: isLeave(steps.at(at))
      ? {
          label: "Nothing",
          means: "Leave counts for the call that it was given for: the fork asks for leave of its own.",
        }
      : at === 0
        ? { label: "Nothing", means: "The run again, from its input, by today's code." }
        : { label: "Nothing", means: "It goes on behind this step." },
    output: model
      ? { label: "Another answer of the model", means: "As if it had said, or called, something else." }
      : { label: "Another result", means: `As if ${nameAt(steps, at)} had come to something else.` },
    answer: { label: "Another answer", means: "As if the question had been answered otherwise." },
    message: { label: "Another message", means: "The run begins anew with this input." },
    model: { label: "Instructions or model", means: "This model call, and all after it, are made so." },
    rerun: { label: "Run this step again", means: "With nothing changed." },
  };
  return words[change];
}
