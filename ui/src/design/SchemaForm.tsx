/**
 * A form made from a JSON schema. Its value is any JSON, changed member by member; the plain rules are checked here and
 * the rest by the server, whose `errors` (by path, see `pathOf`) show beside the same fields. The whole can be edited as
 * JSON instead. With `original`, what was changed is marked and can be put back.
 */

import { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "react";
import { plural } from "~/lib/format";
import { JsonEditor, parsed, written } from "./Json";
import { SchemaField } from "./SchemaFields";
import { type Flaw, type Form, FormContext } from "./SchemaFrame";
import { Segmented } from "./Segmented";
import { errorsOf, fieldOf, type JsonSchema, same } from "./schema";

export interface SchemaFormProps {
  /** null or true: nothing is known of the value, and it is edited as JSON. */
  readonly schema: JsonSchema;
  readonly value: unknown;
  readonly onChange: (value: unknown) => void;
  /** What the server found wrong, by path. */
  readonly errors?: Readonly<Record<string, string>> | undefined;
  readonly readOnly?: boolean;
  /** What the value was at first: changes to it are marked and can be reset. */
  readonly original?: unknown;
  /** Show what is wrong everywhere, not only where somebody was already. */
  readonly showErrors?: boolean;
  /** Whether it could be sent: no plain rule is broken, and the JSON is JSON. */
  readonly onValid?: ((valid: boolean) => void) | undefined;
  /** What the value is called, for who cannot see where it stands. */
  readonly label?: string;
}

type View = "form" | "json";

export function SchemaForm(props: SchemaFormProps) {
  const { schema, value, onValid, label = "Value" } = props;
  const known = fieldOf(schema, schema).shape.kind !== "json";
  const [view, setView] = useState<View>("form");
  const [text, setText] = useState<string | null>(null);
  const own = useMemo(() => errorsOf(schema, value), [schema, value]);
  const [flaws, setFlaws] = useState<ReadonlyMap<string, Flaw>>(new Map());
  const mark = useCallback((path: string, flaw: Flaw | null): void => {
    setFlaws((before) => {
      if ((before.get(path) ?? null) === flaw) return before;
      const next = new Map(before);
      if (flaw === null) next.delete(path);
      else next.set(path, flaw);
      return next;
    });
  }, []);
  const shown = known ? view : "json";
  const unread = shown === "json" && text !== null && text.trim() !== "" && parsed(text).error !== null;
  const valid = !unread && flaws.size === 0 && Object.keys(own).length === 0;
  // At once: what is shown as wrong must not be sent by a key that comes right behind.
  useLayoutEffect(() => onValid?.(valid), [valid, onValid]);
  // What is not asked for any more cannot be wrong.
  useLayoutEffect(() => () => onValid?.(true), [onValid]);
  const look = (next: View): void => {
    // What is typed and cannot be read would be lost.
    if (unread || [...flaws.values()].includes("unread")) return;
    setText(null);
    setView(next);
  };
  return (
    <div className="flex min-w-0 flex-col gap-3" role="group" aria-label={label}>
      {known && (
        <Segmented
          label={`How to edit: ${label}`}
          value={shown}
          onChange={look}
          options={[
            { value: "form", label: "Form" },
            { value: "json", label: "JSON" },
          ]}
        />
      )}
      {shown === "form" ? (
        <Fields {...props} own={own} mark={mark} />
      ) : (
        <AsJson {...props} label={label} own={own} text={text} onText={setText} />
      )}
    </div>
  );
}

function Fields({
  schema,
  value,
  onChange,
  errors,
  readOnly = false,
  original,
  showErrors = false,
  label = "Value",
  own,
  mark,
}: SchemaFormProps & {
  own: Readonly<Record<string, string>>;
  mark: Form["mark"];
}) {
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const form = useMemo(
    () => ({
      root: schema,
      own,
      server: errors ?? {},
      readOnly,
      compares: original !== undefined,
      showErrors,
      touched,
      mark,
      touch: (path: string) =>
        setTouched((before) => (before.has(path) ? before : new Set([...before, path]))),
    }),
    [schema, own, errors, readOnly, original, showErrors, touched, mark],
  );
  return (
    <FormContext value={form}>
      {errors?.[""] && <p className="text-xs text-bad">{errors[""]}</p>}
      <SchemaField
        name={label}
        path=""
        schema={schema}
        value={value}
        original={original}
        required
        bare
        onChange={onChange}
      />
    </FormContext>
  );
}

const EDITED_TEXT_CHARS_MAX = 400_000;
const NOTHING = { value: undefined, error: null } as const;

function AsJson({
  value,
  errors = {},
  readOnly = false,
  label = "Value",
  own,
  text,
  onText,
  onChange,
}: SchemaFormProps & {
  own: Readonly<Record<string, string>>;
  text: string | null;
  onText: (text: string | null) => void;
}) {
  const problems = useId();
  const given = useRef(value);
  // Set from outside (reset, or the question changed): what was typed is of the past.
  useEffect(() => {
    if (same(given.current, value)) return;
    given.current = value;
    onText(null);
  }, [value, onText]);
  const shown = text ?? (value === undefined ? "" : written(value));
  const { error } = text === null || text.trim() === "" ? { error: null } : parsed(text);
  const wrong = Object.entries({ ...own, ...errors });
  const change = (next: string): void => {
    onText(next);
    const read = next.trim() === "" ? NOTHING : parsed(next);
    if (read.error !== null) return;
    given.current = read.value;
    onChange(read.value);
  };
  if (readOnly || shown.length > EDITED_TEXT_CHARS_MAX)
    return (
      <pre
        tabIndex={0}
        className="max-h-80 overflow-auto whitespace-pre-wrap rounded-md bg-sunken p-2.5 font-mono text-xs [overflow-wrap:anywhere]"
      >
        {shown.slice(0, 20_000)}
        {shown.length > 20_000 && `… (${plural(shown.length, "character")}: too long to be edited here)`}
      </pre>
    );
  return (
    <div className="flex min-w-0 flex-col gap-1.5">
      <JsonEditor value={shown} onChange={change} label={`${label} as JSON`} />
      <ul id={problems} aria-live="polite" className="flex flex-col gap-0.5 text-xs text-bad">
        {error !== null && <li>{error}</li>}
        {error === null &&
          wrong.map(([path, said]) => (
            <li key={path} className="[overflow-wrap:anywhere]">
              {path !== "" && <span className="font-mono">{path.slice(1)}: </span>}
              {said}
            </li>
          ))}
      </ul>
    </div>
  );
}
