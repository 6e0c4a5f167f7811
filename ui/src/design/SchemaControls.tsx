/** The controls for what is one value: a text, a number, a choice, or JSON of any kind. */

import { useEffect, useState } from "react";
import { bytes } from "~/lib/format";
import { brief, inert } from "~/lib/text";
import { Field, Input, Select, Textarea } from "./Field";
import { JsonEditor, JsonView, parsed, written } from "./Json";
import { type ControlProps, Group, useForm } from "./SchemaFrame";
import { EDITED_CHARS_MAX, type NumberRules, numberFrom, same, type TextRules } from "./schema";

const TEXT_TYPES: Readonly<Record<string, string>> = { date: "date", email: "email", uri: "url" };

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  "date-time": "2026-03-31T14:30:00Z",
  uri: "https://…",
  duration: "PT30M",
  time: "14:30:00",
};

const LINE_CHARS = 72;
const ROWS_MAX = 14;

function rowsOf(text: string): number {
  let rows = 0;
  for (const line of text.slice(0, 4_000).split("\n"))
    rows += Math.max(1, Math.ceil(line.length / LINE_CHARS));
  return Math.min(ROWS_MAX, rows);
}

export function TextControl({ shape, value, label, hint, error, actions, onChange }: ControlProps<"text">) {
  const { readOnly } = useForm();
  const text = typeof value === "string" ? value : "";
  return (
    <Field label={label} hint={hint ?? sizeHint(shape.rules, text)} error={error} actions={actions}>
      {(a11y) => {
        if (text.length > EDITED_CHARS_MAX)
          return (
            <p id={a11y.id} className="rounded-md bg-sunken p-2.5 text-xs text-ink-2">
              {bytes(text.length)} of text: it stays as it is, since it is too long to be edited here.
            </p>
          );
        const { format } = shape.rules;
        // A browser's control for dates shows nothing of a text that is none.
        const isShown = format !== "date" || text === "" || /^\d{4}-\d{2}-\d{2}$/.test(text);
        if (format === null)
          return (
            <Textarea
              {...a11y}
              readOnly={readOnly}
              rows={rowsOf(text)}
              value={text}
              onChange={(event) => onChange(event.target.value)}
              className="resize-y"
            />
          );
        return (
          <Input
            {...a11y}
            type={(isShown ? TEXT_TYPES[format] : undefined) ?? "text"}
            readOnly={readOnly}
            placeholder={PLACEHOLDERS[format]}
            value={text}
            onChange={(event) => onChange(event.target.value)}
          />
        );
      }}
    </Field>
  );
}

function sizeHint({ most }: TextRules, text: string): string | undefined {
  return most !== null && text.length > most * 0.8 ? `${text.length} of ${most} characters` : undefined;
}

function boundsHint({ min, max, above, below: under }: NumberRules): string | undefined {
  const from = min !== null ? `at least ${min}` : above !== null ? `more than ${above}` : null;
  const to = max !== null ? `at most ${max}` : under !== null ? `less than ${under}` : null;
  const both = [from, to].filter((one) => one !== null).join(", ");
  return both === "" ? undefined : `${both.charAt(0).toUpperCase()}${both.slice(1)}.`;
}

const asText = (value: unknown): string => (value === undefined ? "" : String(value));

/** What is typed stays as it was typed; the value is the number that it is, or the text as long as it is none. */
export function NumberControl({
  shape,
  value,
  label,
  hint,
  error,
  actions,
  onChange,
}: ControlProps<"number">) {
  const { readOnly } = useForm();
  const [typed, setTyped] = useState(() => asText(value));
  useEffect(() => {
    setTyped((before) => ((numberFrom(before) ?? before) === value ? before : asText(value)));
  }, [value]);
  return (
    <Field label={label} hint={hint ?? boundsHint(shape.rules)} error={error} actions={actions}>
      {(a11y) => (
        <Input
          {...a11y}
          inputMode={shape.rules.whole ? "numeric" : "decimal"}
          autoComplete="off"
          readOnly={readOnly}
          value={typed}
          className="tabular"
          onChange={(event) => {
            setTyped(event.target.value);
            onChange(numberFrom(event.target.value) ?? event.target.value);
          }}
        />
      )}
    </Field>
  );
}

const isDecimal = (text: string): boolean => /^\s*-?\d+(\.\d+)?\s*$/.test(text);

/** A decimal is kept as the text that it is, since its digits matter; what came as a number goes back as one. */
export function ScalarControl({
  shape,
  value,
  original,
  label,
  hint,
  error,
  actions,
  onChange,
}: ControlProps<"scalar">) {
  const { readOnly } = useForm();
  const [typed, setTyped] = useState(() => asText(value));
  useEffect(() => {
    setTyped((before) => (before === asText(value) || numberFrom(before) === value ? before : asText(value)));
  }, [value]);
  const asNumber = typeof (original ?? value) === "number";
  // The schema may take any text; where a number stood, another text is likely a slip.
  const slipped = original !== undefined && isDecimal(String(original)) && !isDecimal(typed);
  return (
    <Field
      label={label}
      hint={
        slipped ? (
          <span className="text-warn">It was a number; this is none.</span>
        ) : (
          (hint ?? boundsHint(shape.number))
        )
      }
      error={error}
      actions={actions}
    >
      {(a11y) => (
        <Input
          {...a11y}
          inputMode="decimal"
          autoComplete="off"
          dir="auto"
          readOnly={readOnly}
          value={typed}
          className="tabular"
          onChange={(event) => {
            const text = event.target.value;
            setTyped(text);
            onChange(asNumber ? (numberFrom(text) ?? text) : text);
          }}
        />
      )}
    </Field>
  );
}

export function BooleanControl({ value, label, hint, error, actions, onChange }: ControlProps<"boolean">) {
  const { readOnly } = useForm();
  return (
    <Field label={label} hint={hint} error={error} actions={actions}>
      {(a11y) => (
        <span className="flex h-7 items-center gap-2">
          <input
            {...a11y}
            type="checkbox"
            className="size-4 accent-[var(--c-accent)]"
            disabled={readOnly}
            checked={value === true}
            onChange={(event) => onChange(event.target.checked)}
          />
          <span aria-hidden className="text-xs text-ink-2">
            {value === true ? "true" : "false"}
          </span>
        </span>
      )}
    </Field>
  );
}

export function ChoiceControl({
  shape,
  value,
  label,
  hint,
  error,
  actions,
  onChange,
}: ControlProps<"choice">) {
  const { readOnly } = useForm();
  const at = shape.options.findIndex((one) => same(one, value));
  return (
    <Field label={label} hint={hint} error={error} actions={actions}>
      {(a11y) => (
        <Select
          {...a11y}
          disabled={readOnly || shape.options.length === 1}
          value={at}
          onChange={(event) => onChange(shape.options[Number(event.target.value)])}
        >
          {at < 0 && <option value={-1}>{brief(value, 80) || "Choose…"}</option>}
          {shape.options.map((option, index) => (
            <option key={index} value={index}>
              {typeof option === "string" ? inert(option) || "(empty)" : brief(option, 80) || "null"}
            </option>
          ))}
        </Select>
      )}
    </Field>
  );
}

const JSON_CHARS_MAX = 200_000;

export function JsonControl({
  value,
  path,
  name,
  label,
  hint,
  error,
  actions,
  onChange,
}: ControlProps<"json">) {
  const { readOnly, mark } = useForm();
  const [text, setText] = useState<string | null>(null);
  const shown = text ?? written(value);
  const problem = text === null ? null : parsed(text).error;
  const broken = problem !== null;
  useEffect(() => {
    mark(path, broken ? "unread" : null);
    return () => mark(path, null);
  }, [mark, path, broken]);
  const change = (next: string): void => {
    setText(next);
    const read = parsed(next);
    if (read.error === null) onChange(read.value);
  };
  // Set from outside (reset): what was typed is of the past.
  useEffect(() => {
    setText((before) => {
      if (before === null) return null;
      const read = parsed(before);
      return read.error === null && !same(read.value, value) ? null : before;
    });
  }, [value]);
  return (
    <Group label={label} hint={hint} error={problem ?? error} actions={actions}>
      {readOnly || shown.length > JSON_CHARS_MAX ? (
        <JsonView value={value} />
      ) : (
        <JsonEditor value={shown} onChange={change} label={`${name} as JSON`} minHeight="2.5rem" />
      )}
    </Group>
  );
}
