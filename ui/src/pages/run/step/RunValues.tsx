import { hasEnded, type Part, type Run } from "~/api/types";
import { ModelText } from "~/transcript/LongText";
import { LargeValue } from "./LargeValue";
import { Labelled, Parts, Value } from "./Parts";

/** What the run was given and came to: what is shown while no step is selected. */
export function RunValues({ run }: { run: Run }) {
  return (
    <div
      tabIndex={0}
      className="flex min-h-0 grow flex-col gap-5 overflow-y-auto p-4 focus-visible:-outline-offset-2"
    >
      <h2 className="sr-only">What the run was given and came to</h2>
      <Labelled label="Input of the run">
        {run.input_cut === null ? (
          <Given value={run.input} name="input.json" />
        ) : (
          <LargeValue run={run} of="input" />
        )}
      </Labelled>
      <Labelled label="Output of the run">
        {run.output_cut !== null ? (
          <LargeValue run={run} of="output" />
        ) : run.status === "succeeded" ? (
          <Given value={run.output} name="output.json" />
        ) : (
          <p className="text-sm text-ink-3">
            {run.status === "failed"
              ? "None: the run failed."
              : hasEnded(run)
                ? "None: the run was cancelled."
                : "None yet."}
          </p>
        )}
      </Labelled>
      <p className="text-xs text-ink-3">Choose a step to see what it recorded, and what a model was asked.</p>
    </div>
  );
}

function Given({ value, name }: { value: unknown; name: string }) {
  const parts =
    Array.isArray(value) && value.length > 0 && value.every((one) => typeof one?.type === "string");
  if (parts) return <Parts parts={value as readonly Part[]} />;
  if (typeof value === "string")
    return (
      <div className="rounded-md bg-sunken px-3 py-2">
        <ModelText text={value} streaming={false} />
      </div>
    );
  if (value === null) return <p className="text-sm text-ink-3">None.</p>;
  return <Value value={value} name={name} />;
}
