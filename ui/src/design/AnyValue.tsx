/** A value of any kind: by its schema where there is one, else as text or as JSON. */

import { useState } from "react";
import { Field, Textarea } from "./Field";
import { SchemaForm } from "./SchemaForm";
import { Segmented } from "./Segmented";
import { fieldOf } from "./schema";

type View = "text" | "json";

export interface AnyValueProps {
  readonly label: string;
  readonly hint?: string;
  readonly schema: unknown;
  /** undefined: nothing was given yet. */
  readonly value: unknown;
  readonly onChange: (value: unknown) => void;
  readonly errors?: Readonly<Record<string, string>> | undefined;
  readonly onValid?: ((valid: boolean) => void) | undefined;
  /** How it is asked for at first when nothing is known of it. */
  readonly first?: View;
  /** The label stands above it already. */
  readonly titled?: boolean;
}

export function AnyValue({
  label,
  hint,
  schema,
  value,
  onChange,
  errors,
  onValid,
  first = "text",
  titled = false,
}: AnyValueProps) {
  const known = fieldOf(schema, schema).shape;
  const [view, setView] = useState<View>(() =>
    value === undefined ? first : typeof value === "string" ? "text" : "json",
  );
  const look = (next: View): void => {
    onChange(undefined);
    onValid?.(true);
    setView(next);
  };
  if (known.kind !== "json")
    return (
      <div className="flex min-w-0 flex-col gap-2">
        {!titled && <Title label={label} hint={hint} />}
        <SchemaForm
          label={label}
          schema={schema}
          value={value}
          onChange={onChange}
          errors={errors}
          onValid={onValid}
        />
      </div>
    );
  return (
    <div className="flex min-w-0 flex-col gap-2">
      <div className="flex min-w-0 flex-wrap items-end justify-between gap-2">
        {!titled && <Title label={label} hint={hint} />}
        <Segmented
          label={`How to give: ${label}`}
          value={view}
          onChange={look}
          options={[
            { value: "text", label: "Text" },
            { value: "json", label: "JSON" },
          ]}
        />
      </div>
      {view === "text" ? (
        <Field label={<span className="sr-only">{label}</span>} error={errors?.[""]}>
          {(a11y) => (
            <Textarea
              {...a11y}
              rows={3}
              value={typeof value === "string" ? value : ""}
              onChange={(event) => onChange(event.target.value === "" ? undefined : event.target.value)}
            />
          )}
        </Field>
      ) : (
        <SchemaForm
          label={label}
          schema={schema ?? true}
          value={value}
          onChange={onChange}
          errors={errors}
          onValid={onValid}
        />
      )}
    </div>
  );
}

const Title = ({ label, hint }: { label: string; hint: string | undefined }) => (
  <div className="min-w-0">
    <h4 className="text-xs font-medium text-ink-2">{label}</h4>
    {hint && <p className="text-xs text-ink-3">{hint}</p>}
  </div>
);
