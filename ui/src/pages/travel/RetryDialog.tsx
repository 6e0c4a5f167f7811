/** Retry a failed run with other instructions, another model or other limits. What it recorded is a fork's to change. */

import { GitFork, RotateCcw, Undo2 } from "lucide-react";
import { type KeyboardEvent, useId } from "react";
import type { Run } from "~/api/types";
import { Button } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { Kbd } from "~/design/Facts";
import { Field, Input, Textarea } from "~/design/Field";
import { JsonDiff } from "~/design/JsonDiff";
import { ErrorState, Skeleton } from "~/design/States";
import { toast } from "~/design/Toasts";
import { LimitInputs } from "./LimitFields";
import { Note } from "./Notes";
import { type Filled, forkInstead } from "./retrying";
import { type Steps, useSteps } from "./steps";
import { type Used, useRetryForm, useUsed } from "./useRetryForm";

export interface RetryDialogProps {
  readonly run: Run;
  readonly onClose: () => void;
  /** Open the fork dialog in place of this one. */
  readonly onFork: (filled: Filled) => void;
}

const TITLE = "Retry with edits";

export function RetryDialog(props: RetryDialogProps) {
  const steps = useSteps(props.run.id);
  if (steps.data !== undefined) return <Prepared {...props} steps={steps.data} />;
  return (
    <Dialog open wide onClose={props.onClose} title={TITLE}>
      {steps.isError ? (
        <ErrorState error={steps.error} onRetry={() => void steps.refetch()} />
      ) : (
        <Skeleton className="h-80 w-full" />
      )}
    </Dialog>
  );
}

function Prepared({ steps, ...props }: RetryDialogProps & { steps: Steps }) {
  const { used, agent, error, retry } = useUsed(props.run, steps);
  if (used !== undefined && agent !== undefined)
    return <RetryForm {...props} steps={steps} used={used} asksModel={agent.kind !== "workflow"} />;
  return (
    <Dialog open wide onClose={props.onClose} title={TITLE}>
      {error ? <ErrorState error={error} onRetry={retry} /> : <Skeleton className="h-80 w-full" />}
    </Dialog>
  );
}

function RetryForm({
  run,
  steps,
  used,
  asksModel,
  onClose,
  onFork,
}: RetryDialogProps & { steps: Steps; used: Used; asksModel: boolean }) {
  const id = useId();
  const form = useRetryForm(run, used, () => {
    toast("The run is queued again. What it recorded stays.");
    onClose();
  });
  const { draft, had, errors } = form;
  const source = used.asked === null ? "As its agent declares it." : `As asked at step ${used.asked}.`;
  const pressed = (event: KeyboardEvent): void => {
    if (event.key !== "Enter" || !(event.metaKey || event.ctrlKey)) return;
    event.preventDefault();
    form.submit();
  };
  const fork = (): void => onFork(forkInstead(steps, form.edits, form.refused));
  return (
    <Dialog
      open
      wide
      onClose={onClose}
      title={TITLE}
      description="It stays the same run: what it recorded stands, and the step at which it failed is made anew."
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            look="primary"
            type="submit"
            form={id}
            busy={form.isSending}
            icon={<RotateCcw size={14} aria-hidden />}
          >
            Retry
            <span className="hidden sm:inline" aria-hidden>
              <Kbd keys="mod+enter" />
            </span>
          </Button>
        </>
      }
    >
      <form
        id={id}
        className="flex flex-col gap-4"
        onKeyDown={pressed}
        onSubmit={(event) => {
          event.preventDefault();
          form.submit();
        }}
      >
        {asksModel ? (
          <>
            <Field
              label="Instructions"
              hint={`${source} They hold for all model calls from here on.`}
              error={errors.instructions}
              actions={
                <Undo
                  shown={draft.instructions !== had.instructions}
                  onClick={() => form.set({ instructions: had.instructions })}
                  label="Undo the instructions"
                />
              }
            >
              {(props) => (
                <Textarea
                  {...props}
                  autoFocus
                  rows={6}
                  value={draft.instructions}
                  onChange={(event) => form.set({ instructions: event.target.value })}
                />
              )}
            </Field>
            <Field
              label="Model"
              hint="Written provider:model."
              error={errors.model}
              actions={
                <Undo
                  shown={draft.model !== had.model}
                  onClick={() => form.set({ model: had.model })}
                  label="Undo the model"
                />
              }
            >
              {(props) => (
                <Input
                  {...props}
                  value={draft.model}
                  spellCheck={false}
                  className="font-mono !text-xs"
                  onChange={(event) => form.set({ model: event.target.value })}
                />
              )}
            </Field>
          </>
        ) : (
          <Note>
            {run.agent} is a workflow: it asks no model itself, so it has no instructions and no model that
            could be others. Change its code, or fork the run with another result of a step.
          </Note>
        )}
        <LimitInputs
          legend="At most (empty: without a limit of its own)"
          limits={draft.limits}
          onChange={(limits) => form.set({ limits })}
          error={errors.limits}
        />
        <section aria-label="What is different" className="rounded-md border border-line px-3 py-2">
          <h3 className="mb-1 text-xs font-medium text-ink-2">What is different</h3>
          <JsonDiff before={had} after={draft} label="What is different" same="Nothing yet: a plain retry." />
        </section>
        {errors.form && (
          <p
            role="alert"
            className="rounded-md bg-bad-soft px-3 py-2 text-sm text-bad [overflow-wrap:anywhere]"
          >
            {errors.form}
          </p>
        )}
        <section className="flex flex-wrap items-center gap-x-3 gap-y-2 border-t border-line pt-3">
          <p className="min-w-0 grow basis-64 text-xs text-ink-2">
            {form.refused === null
              ? "Another message, result or answer would change what is recorded. That is a fork."
              : "A fork can have what this run cannot, and leaves it as it is."}
          </p>
          <Button size="sm" icon={<GitFork size={13} aria-hidden />} onClick={fork}>
            Fork instead…
          </Button>
        </section>
      </form>
    </Dialog>
  );
}

const Undo = ({ shown, onClick, label }: { shown: boolean; onClick: () => void; label: string }) =>
  shown && (
    <Button
      look="quiet"
      size="sm"
      icon={<Undo2 size={12} aria-hidden />}
      aria-label={label}
      onClick={onClick}
      className="!h-5 !px-1"
    >
      Undo
    </Button>
  );
