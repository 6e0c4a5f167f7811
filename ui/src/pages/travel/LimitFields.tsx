import { Field, Input } from "~/design/Field";
import type { Limits } from "./forking";

const LIMITS: readonly { name: keyof Limits; label: string; step: string }[] = [
  { name: "steps_max", label: "Steps", step: "1" },
  { name: "tool_calls_max", label: "Tool calls", step: "1" },
  { name: "tokens_max", label: "Tokens", step: "1" },
  { name: "cost", label: "Cost in US$", step: "0.01" },
];

export function LimitFields({
  tags,
  limits,
  onChange,
  errors,
}: {
  tags: string;
  limits: Limits;
  onChange: (part: { tags?: string; limits?: Limits }) => void;
  errors: { tags: string | null; limits: string | null };
}) {
  const wrong = errors.tags !== null || errors.limits !== null;
  return (
    <details open={wrong || undefined}>
      <summary className="cursor-pointer rounded-sm text-sm font-medium text-ink-2 hover:text-ink">
        Tags and limits
      </summary>
      <div className="mt-3 flex flex-col gap-3">
        <Field label="Tags" hint="Separated by commas." error={errors.tags}>
          {(props) => (
            <Input {...props} value={tags} onChange={(event) => onChange({ tags: event.target.value })} />
          )}
        </Field>
        <LimitInputs
          legend="At most (empty: as the run had it)"
          limits={limits}
          onChange={(next) => onChange({ limits: next })}
          error={errors.limits}
        />
      </div>
    </details>
  );
}

export function LimitInputs({
  legend,
  limits,
  onChange,
  error,
}: {
  legend: string;
  limits: Limits;
  onChange: (limits: Limits) => void;
  error: string | null;
}) {
  return (
    <fieldset>
      <legend className="text-xs font-medium text-ink-2">{legend}</legend>
      <div className="mt-1.5 grid grid-cols-2 gap-3 sm:grid-cols-4">
        {LIMITS.map(({ name, label, step }) => (
          <Field key={name} label={label}>
            {(props) => (
              <Input
                {...props}
                type="number"
                min={step}
                step={step}
                value={limits[name]}
                onChange={(event) => onChange({ ...limits, [name]: event.target.value })}
              />
            )}
          </Field>
        ))}
      </div>
      {error && (
        <p role="alert" className="mt-1 text-xs text-bad">
          {error}
        </p>
      )}
    </fieldset>
  );
}
