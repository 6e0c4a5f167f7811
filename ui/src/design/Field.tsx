import clsx from "clsx";
import {
  type InputHTMLAttributes,
  type ReactNode,
  type Ref,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
} from "react";

const CONTROL =
  "w-full min-w-0 rounded-md border border-line-2 bg-surface text-sm text-ink placeholder:text-ink-3 disabled:opacity-60 aria-invalid:border-bad";

export function Input({
  className,
  ref,
  ...rest
}: InputHTMLAttributes<HTMLInputElement> & { ref?: Ref<HTMLInputElement> }) {
  return <input ref={ref} {...rest} className={clsx(CONTROL, "h-8 px-2.5", className)} />;
}

export function Textarea({
  className,
  ref,
  ...rest
}: TextareaHTMLAttributes<HTMLTextAreaElement> & { ref?: Ref<HTMLTextAreaElement> }) {
  return (
    <textarea
      ref={ref}
      dir="auto"
      {...rest}
      className={clsx(CONTROL, "px-2.5 py-1.5 leading-5", className)}
    />
  );
}

/** The browser's own select: it opens well on every device and with every aid. */
export function Select({ className, ...rest }: SelectHTMLAttributes<HTMLSelectElement>) {
  return <select {...rest} className={clsx(CONTROL, "h-8 cursor-pointer pl-2 pr-7", className)} />;
}

export interface FieldProps {
  readonly label: ReactNode;
  readonly hint?: ReactNode;
  readonly error?: string | null | undefined;
  readonly children: (props: {
    id: string;
    "aria-describedby": string | undefined;
    "aria-invalid": boolean | undefined;
  }) => ReactNode;
  readonly className?: string;
  /** What can be done with the value besides, at the end of the label's line. */
  readonly actions?: ReactNode;
}

/** A labelled control with a hint, and what is wrong with what it holds. */
export function Field({ label, hint, error, children, className, actions }: FieldProps) {
  const id = useId();
  const described = error ? `${id}-error` : hint ? `${id}-hint` : undefined;
  return (
    <div className={clsx("flex flex-col gap-1", className)}>
      <div className="flex min-w-0 items-center justify-between gap-2">
        <label htmlFor={id} className="min-w-0 text-xs font-medium text-ink-2">
          {label}
        </label>
        {actions}
      </div>
      {children({ id, "aria-describedby": described, "aria-invalid": error ? true : undefined })}
      {error ? (
        <p id={`${id}-error`} className="text-xs text-bad">
          {error}
        </p>
      ) : (
        hint && (
          <p id={`${id}-hint`} className="text-xs text-ink-3">
            {hint}
          </p>
        )
      )}
    </div>
  );
}
