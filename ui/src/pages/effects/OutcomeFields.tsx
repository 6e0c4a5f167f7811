/** What became of a call that nobody knows of: the choice, and what each side of it causes. */

import clsx from "clsx";
import { useId } from "react";
import type { Effect } from "~/api/types";
import { AnyValue } from "~/design/AnyValue";
import { inert } from "~/lib/text";
import type { Outcome } from "../approvals/draft";

export interface OutcomeFieldsProps {
  readonly tool: string;
  /** The schema of what the tool returns; null if nothing is known. */
  readonly schema: unknown;
  readonly effect: Effect | undefined;
  readonly outcome: Outcome | null;
  readonly result: unknown;
  readonly onOutcome: (outcome: Outcome) => void;
  readonly onResult: (result: unknown) => void;
  readonly errors?: Readonly<Record<string, string>> | undefined;
  readonly onValid?: ((valid: boolean) => void) | undefined;
}

/** What follows from a word on it. */
export function causes(
  tool: string,
  effect: Pick<Effect, "run_ended" | "compensates"> | undefined,
): Record<Outcome, string> {
  if (effect?.run_ended === true)
    return {
      committed: "It is recorded as done. Its run has ended, so nothing goes on from it.",
      not_done: "It is recorded as not done. Its run has ended, so it is not done again.",
    };
  if (effect?.compensates)
    return {
      committed: "What was to be undone counts as undone, and the run goes on to end.",
      not_done: `The undoing by ${tool} is tried again now, under a new key.`,
    };
  return {
    committed: `${tool} is not called again. The run goes on with the result that you give here, or with none.`,
    not_done: `${tool} is called again now, under a new key. If it did happen after all, it happens twice.`,
  };
}

function hintOf(schema: unknown): string {
  if (schema === null || typeof schema !== "object")
    return "As the tool would have returned it; left empty: nothing (null).";
  const { type } = schema as { type?: unknown };
  return `As the tool would have returned it${typeof type === "string" ? ` (${type})` : ""}; it is checked by its schema.`;
}

export function OutcomeFields({
  tool,
  schema,
  effect,
  outcome,
  result,
  onOutcome,
  onResult,
  errors,
  onValid,
}: OutcomeFieldsProps) {
  const name = useId();
  const said = causes(inert(tool), effect);
  const choice = (value: Outcome, title: string) => (
    <label
      className={clsx(
        "flex min-w-0 cursor-pointer gap-2.5 rounded-md border p-3 has-focus-visible:outline-2 has-focus-visible:outline-offset-1 has-focus-visible:outline-accent",
        outcome === value ? "border-accent bg-accent-soft" : "border-line-2 hover:bg-hover",
      )}
    >
      <input
        type="radio"
        name={name}
        value={value}
        checked={outcome === value}
        onChange={() => onOutcome(value)}
        className="mt-0.5 size-4 shrink-0 accent-[var(--c-accent)] outline-none"
      />
      <span className="min-w-0">
        <span className="block font-medium">{title}</span>
        <span className="block text-xs text-ink-2 [overflow-wrap:anywhere]">{said[value]}</span>
      </span>
    </label>
  );
  return (
    <div className="flex min-w-0 flex-col gap-3">
      <fieldset className="grid min-w-0 gap-2 @lg:grid-cols-2">
        <legend className="sr-only">What became of it</legend>
        {choice("committed", "It happened")}
        {choice("not_done", "It did not happen")}
      </fieldset>
      {outcome === "committed" && !effect?.compensates && (
        <AnyValue
          label="What the call gave"
          hint={hintOf(schema)}
          schema={schema}
          value={result}
          onChange={onResult}
          errors={errors}
          onValid={onValid}
          first="json"
        />
      )}
    </div>
  );
}
