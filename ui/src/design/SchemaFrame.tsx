/** What every field of a `SchemaForm` has around its control: the form it stands in, its label, its actions. */

import { RotateCcw } from "lucide-react";
import { createContext, type ReactNode, use } from "react";
import { brief, inert } from "~/lib/text";
import { Button } from "./Button";
import type { JsonSchema, Shape } from "./schema";

/**
 * Why a form cannot be sent though its value breaks no rule: what is typed is no JSON and the value an older one, or the
 * value lacks something for what was chosen and looks like something else.
 */
export type Flaw = "unread" | "unfinished";

export interface Form {
  readonly root: JsonSchema;
  readonly own: Readonly<Record<string, string>>;
  readonly server: Readonly<Record<string, string>>;
  readonly readOnly: boolean;
  readonly compares: boolean;
  readonly showErrors: boolean;
  readonly touched: ReadonlySet<string>;
  readonly touch: (path: string) => void;
  readonly mark: (path: string, flaw: Flaw | null) => void;
}

export const FormContext = createContext<Form | null>(null);

export function useForm(): Form {
  const form = use(FormContext);
  if (form === null) throw new Error("A field stands in a form.");
  return form;
}

export interface FieldProps {
  readonly name: string;
  readonly path: string;
  readonly schema: JsonSchema;
  /** undefined: it is left out. */
  readonly value: unknown;
  readonly original: unknown;
  readonly required: boolean;
  /** Without a label and a frame of its own: the value of the form itself. */
  readonly bare?: boolean;
  readonly onChange: (value: unknown) => void;
}

export type ControlProps<S extends Shape["kind"]> = Omit<FieldProps, "schema" | "bare"> & {
  readonly shape: Extract<Shape, { kind: S }>;
  readonly hint: ReactNode;
  readonly actions: ReactNode;
  readonly error: string | null;
  readonly label: ReactNode;
};

export function hintOf(description: string | null, changed: boolean, original: unknown): ReactNode {
  const was =
    changed && original !== undefined && (typeof original !== "object" || original === null)
      ? `Was ${original === null ? "null" : brief(original, 120) || "empty"}.`
      : null;
  if (was === null) return description === null ? undefined : inert(description);
  return description === null ? was : `${inert(description)} ${was}`;
}

export const Label = ({ name, required, changed }: { name: string; required: boolean; changed: boolean }) => (
  <span className="[overflow-wrap:anywhere]">
    {inert(name)}
    {required ? (
      <span className="sr-only"> (required)</span>
    ) : (
      <span className="font-normal text-ink-3"> optional</span>
    )}
    {changed && <span className="ml-1.5 font-normal text-accent-text">changed</span>}
  </span>
);

export function Actions({
  name,
  changed,
  nullable,
  optional,
  onReset,
  onNull,
  onLeaveOut,
}: {
  name: string;
  changed: boolean;
  nullable: boolean;
  optional: boolean;
  onReset: () => void;
  onNull: () => void;
  onLeaveOut: () => void;
}) {
  if (!changed && !nullable && !optional) return null;
  const look = "!h-5 !px-1.5 font-normal";
  return (
    <span className="flex shrink-0 items-center">
      {changed && (
        <Button
          look="quiet"
          size="sm"
          className={look}
          icon={<RotateCcw size={11} aria-hidden />}
          aria-label={`Reset ${name}`}
          onClick={onReset}
        >
          Reset
        </Button>
      )}
      {nullable && (
        <Button look="quiet" size="sm" className={look} aria-label={`Set ${name} to null`} onClick={onNull}>
          null
        </Button>
      )}
      {optional && (
        <Button look="quiet" size="sm" className={look} aria-label={`Leave ${name} out`} onClick={onLeaveOut}>
          Leave out
        </Button>
      )}
    </span>
  );
}

/** Fields that belong together, under the name of what holds them. */
export function Group({
  label,
  hint,
  error,
  actions,
  children,
}: Pick<ControlProps<"json">, "label" | "hint" | "error" | "actions"> & { children: ReactNode }) {
  return (
    <fieldset className="min-w-0">
      <div className="flex items-center justify-between gap-2">
        <legend className="contents">
          <span className="text-xs font-medium text-ink-2">{label}</span>
        </legend>
        {actions}
      </div>
      {hint && <p className="mt-0.5 text-xs text-ink-3 [overflow-wrap:anywhere]">{hint}</p>}
      {error && <p className="mt-0.5 text-xs text-bad">{error}</p>}
      <div className="mt-1.5 min-w-0 border-l border-line pl-3">{children}</div>
    </fieldset>
  );
}
