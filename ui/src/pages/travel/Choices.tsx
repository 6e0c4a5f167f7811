/** One of a few, each with what it means. Native radio buttons: arrow keys, labels and forms work as everywhere. */

import clsx from "clsx";
import { type ReactNode, useId } from "react";

export interface Choice<T extends string> {
  readonly value: T;
  readonly label: ReactNode;
  readonly means?: ReactNode;
  /** It makes something happen outside that cannot be taken back. */
  readonly bold?: boolean;
  readonly disabled?: boolean;
}

export function Choices<T extends string>({
  legend,
  hint,
  value,
  onChange,
  choices,
  error,
  columns = 1,
}: {
  legend: ReactNode;
  hint?: ReactNode;
  value: T;
  onChange: (value: T) => void;
  choices: readonly Choice<T>[];
  error?: string | null | undefined;
  columns?: 1 | 2;
}) {
  const name = useId();
  return (
    <fieldset className="min-w-0" aria-describedby={error ? `${name}-error` : undefined}>
      <legend className="text-xs font-medium text-ink-2">{legend}</legend>
      {hint && <p className="text-xs text-ink-3">{hint}</p>}
      <div className={clsx("mt-1.5 grid gap-1.5", columns === 2 && "sm:grid-cols-2")}>
        {choices.map((choice) => (
          <label
            key={choice.value}
            className={clsx(
              "flex min-w-0 cursor-pointer items-start gap-2 rounded-md border px-2.5 py-1.5 has-[:focus-visible]:outline-2 has-[:focus-visible]:outline-offset-1 has-[:focus-visible]:outline-accent",
              choice.value === value ? "border-accent bg-accent-soft" : "border-line hover:bg-hover",
              choice.disabled && "cursor-not-allowed opacity-55",
            )}
          >
            <input
              type="radio"
              name={name}
              value={choice.value}
              checked={choice.value === value}
              disabled={choice.disabled}
              onChange={() => onChange(choice.value)}
              className="mt-[3px] size-3.5 shrink-0 accent-accent outline-none"
            />
            <span className="min-w-0">
              <span className="block text-sm font-medium text-ink">{choice.label}</span>
              {choice.means && (
                <span className={clsx("block text-xs", choice.bold ? "text-warn" : "text-ink-2")}>
                  {choice.means}
                </span>
              )}
            </span>
          </label>
        ))}
      </div>
      {error && (
        <p id={`${name}-error`} role="alert" className="mt-1 text-xs text-bad [overflow-wrap:anywhere]">
          {error}
        </p>
      )}
    </fieldset>
  );
}
