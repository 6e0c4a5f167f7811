import { Download } from "lucide-react";
import { useState } from "react";
import type { Part, Step } from "~/api/types";
import { Button } from "~/design/Button";
import { JsonView } from "~/design/Json";
import { Skeleton } from "~/design/States";
import { toastError } from "~/design/Toasts";
import { bytes } from "~/lib/format";
import { PlainText } from "~/transcript/LongText";
import { useSelection } from "../selection";
import type { Steps } from "../timeline/steps";
import { Labelled, Parts, Value } from "./Parts";
import { argumentsOf, callerOf, saveOutput, useStep } from "./queries";

/** What a step recorded: an answer in its parts, a call with its arguments, an error in words, all else as it is. */
export function OutputTab({ of, step, steps }: { of: string; step: Step; steps: Steps | undefined }) {
  const isCall = step.kind === "tool" || step.kind === "handoff";
  const caller = useStep(of, isCall ? callerOf(steps, step.key) : null);
  // Both at once: what comes above would push down what is read already.
  if (caller.isLoading) return <Skeleton className="h-64" />;
  return (
    <div className="flex flex-col gap-4">
      {isCall && caller.data && <Arguments of={of} step={step} caller={caller.data} />}
      {step.error !== null && <ErrorPart step={step} />}
      {step.output_cut ? <TooLarge of={of} step={step} /> : step.error === null && <Recorded step={step} />}
    </div>
  );
}

function Recorded({ step }: { step: Step }) {
  const output = typeof step.output === "object" ? (step.output as Record<string, unknown> | null) : null;
  const name = `${step.name}-${step.seq}.json`;
  if (step.kind === "model" && Array.isArray(output?.parts))
    return (
      <Labelled label="Answer">
        <Parts parts={output.parts as readonly Part[]} />
        <p className="mt-3 text-xs text-ink-3">
          {[output.model, output.finish_reason].filter((one) => typeof one === "string").join(" · ")}
        </p>
      </Labelled>
    );
  if ((step.kind === "tool" || step.kind === "handoff") && output !== null && "result" in output)
    return (
      <Labelled label="Result">
        <Value value={output.result} name={name} />
      </Labelled>
    );
  return (
    <Labelled label="Output">
      {step.output === null ? (
        <p className="text-xs text-ink-3">Nothing: it returned none.</p>
      ) : (
        <Value value={step.output} name={name} />
      )}
    </Labelled>
  );
}

/** A call's arguments stand in the answer that made it. */
function Arguments({ of, step, caller }: { of: string; step: Step; caller: Step }) {
  const { select } = useSelection();
  const found = argumentsOf(caller, step.output);
  if (found === undefined) return null;
  return (
    <Labelled
      label="Arguments"
      actions={
        <button
          type="button"
          onClick={() => select(of, caller.seq)}
          className="rounded-sm text-xs text-accent-text hover:underline"
        >
          called in step {caller.seq}
        </button>
      }
    >
      <JsonView value={found} name={`${step.name}-arguments.json`} />
    </Labelled>
  );
}

function ErrorPart({ step }: { step: Step }) {
  const error = step.error;
  if (error === null) return null;
  const details = error.details as Record<string, unknown> | null;
  return (
    <Labelled label="Error">
      <div className="rounded-md bg-bad-soft p-2.5">
        <div className="flex flex-wrap items-baseline gap-x-2 text-xs text-bad">
          <span className="font-mono font-medium">{error.code}</span>
          {error.error_type && <span>{error.error_type}</span>}
        </div>
        <PlainText text={error.message} className="mt-1 text-sm text-ink" />
      </div>
      {details !== null && details !== undefined && Object.keys(details).length > 0 && (
        <JsonView value={details} name="error.json" className="mt-2" />
      )}
    </Labelled>
  );
}

function TooLarge({ of, step }: { of: string; step: Step }) {
  const [busy, setBusy] = useState(false);
  const save = async (): Promise<void> => {
    setBusy(true);
    try {
      await saveOutput(of, step.seq);
    } catch (error) {
      toastError("The output could not be downloaded", error);
    }
    setBusy(false);
  };
  return (
    <Labelled label="Output">
      <div className="flex flex-wrap items-center gap-3 rounded-md bg-sunken p-3">
        <p className="grow text-sm text-ink-2">
          {bytes(step.output_bytes)} of JSON: more than a page shows well.
        </p>
        <Button size="sm" icon={<Download size={13} />} busy={busy} onClick={() => void save()}>
          Download
        </Button>
      </div>
    </Labelled>
  );
}
