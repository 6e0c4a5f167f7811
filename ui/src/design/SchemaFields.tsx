/** The controls of a `SchemaForm`, one for each shape that a schema can ask for. */

import clsx from "clsx";
import { ArrowDown, ArrowUp, Plus, RotateCcw, Trash2 } from "lucide-react";
import { createContext, type ReactNode, use, useEffect, useRef, useState } from "react";
import { bytes } from "~/lib/format";
import { brief, inert } from "~/lib/text";
import { Button, IconButton } from "./Button";
import { Field, Input, Select, Textarea } from "./Field";
import { JsonEditor, JsonView, parsed, written } from "./Json";
import {
  below,
  blank,
  EDITED_CHARS_MAX,
  fieldOf,
  isShown,
  type JsonSchema,
  type NumberRules,
  numberFrom,
  type Shape,
  same,
  type TextRules,
  type Variant,
  variantOf,
} from "./schema";

interface Form {
  readonly root: JsonSchema;
  readonly own: Readonly<Record<string, string>>;
  readonly server: Readonly<Record<string, string>>;
  readonly readOnly: boolean;
  readonly compares: boolean;
  readonly showErrors: boolean;
  readonly touched: ReadonlySet<string>;
  readonly touch: (path: string) => void;
  /** Whether what is typed at a path is no JSON, and the value an older one. */
  readonly mark: (path: string, broken: boolean) => void;
}

export const FormContext = createContext<Form | null>(null);

function useForm(): Form {
  const form = use(FormContext);
  if (form === null) throw new Error("A field stands in a form.");
  return form;
}

interface FieldProps {
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

type ControlProps<S extends Shape["kind"]> = Omit<FieldProps, "schema" | "bare"> & {
  readonly shape: Extract<Shape, { kind: S }>;
  readonly hint: ReactNode;
  readonly actions: ReactNode;
  readonly error: string | null;
  readonly label: ReactNode;
};

export function SchemaField(props: FieldProps) {
  const { name, path, schema, value, original, required, bare = false, onChange } = props;
  const form = useForm();
  const frame = useRef<HTMLDivElement>(null);
  const refocus = useRef(false);
  useEffect(() => {
    if (!refocus.current) return;
    refocus.current = false;
    frame.current?.querySelector<HTMLElement>(CONTROLS)?.focus();
  });
  /** For what replaces the control that had the focus. */
  const replace = (next: unknown): void => {
    refocus.current = true;
    onChange(next);
  };
  const field = fieldOf(schema, form.root);
  const changed = form.compares && !same(value, original);
  const told = form.showErrors || form.touched.has(path) || form.compares;
  const error = form.server[path] ?? (told ? form.own[path] : undefined) ?? null;
  const actions = form.readOnly ? null : (
    <Actions
      name={name}
      changed={changed && !bare}
      nullable={field.nullable && value !== null && value !== undefined}
      optional={!required && value !== undefined}
      onReset={() => replace(original)}
      onNull={() => replace(null)}
      onLeaveOut={() => replace(undefined)}
    />
  );
  const change = (next: unknown): void => {
    form.touch(path);
    onChange(next);
  };
  const common = {
    name,
    path,
    value,
    original,
    required,
    error,
    actions,
    onChange: change,
    hint: hintOf(field.description, changed, original),
    label: <Label name={name} required={required} changed={changed} />,
  };
  if (bare && (field.shape.kind === "object" || field.shape.kind === "union") && isShown(field.shape, value))
    return field.shape.kind === "object" ? (
      <Members {...common} shape={field.shape} />
    ) : (
      <UnionControl {...common} shape={field.shape} />
    );
  const { kind } = field.shape;
  const missing = value === undefined ? !(required && TYPED.has(kind)) : value === null && kind !== "null";
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: it only sees that its controls were left
    <div
      ref={frame}
      className={clsx("min-w-0", changed && !GROUPS.has(kind) && "-ml-2.5 border-l-2 border-accent pl-2")}
      onBlur={() => form.touch(path)}
    >
      {missing ? (
        <Missing
          {...common}
          onChange={replace}
          fresh={freshOf(schema, form.root, original)}
          nullable={field.nullable}
        />
      ) : (
        <Control {...common} shape={isShown(field.shape, value) ? field.shape : { kind: "json" }} />
      )}
    </div>
  );
}

const CONTROLS = "input, textarea, select, [contenteditable=true], button";
/** Needed, and typed or chosen: their controls stand there empty. */
const TYPED: ReadonlySet<Shape["kind"]> = new Set(["text", "number", "scalar", "choice"]);

/** What changed in them is marked at their members. */
const GROUPS: ReadonlySet<Shape["kind"]> = new Set(["object", "list", "union"]);

/** What "give a value" begins with: what it was, else a blank one. */
function freshOf(schema: JsonSchema, root: JsonSchema, original: unknown): unknown {
  if (original !== undefined && original !== null) return original;
  const { shape } = fieldOf(schema, root);
  const made = blank(schema, root);
  if (made !== undefined && made !== null) return made;
  switch (shape.kind) {
    case "boolean":
      return false;
    case "list":
      return [];
    case "object":
      return {};
    case "choice":
      return shape.options[0];
    case "union":
      return blank(shape.variants[0]?.schema, root) ?? {};
    case "json":
      return null;
    default:
      return "";
  }
}

function hintOf(description: string | null, changed: boolean, original: unknown): ReactNode {
  const was =
    changed && original !== undefined && (typeof original !== "object" || original === null)
      ? `Was ${original === null ? "null" : brief(original, 120) || "empty"}.`
      : null;
  if (was === null) return description === null ? undefined : inert(description);
  return description === null ? was : `${inert(description)} ${was}`;
}

const Label = ({ name, required, changed }: { name: string; required: boolean; changed: boolean }) => (
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

function Actions({
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

/** A field that holds nothing yet: left out, or null. Numbers, texts and choices are typed into at once. */
function Missing({
  fresh,
  nullable,
  ...common
}: Omit<ControlProps<"json">, "shape"> & { fresh: unknown; nullable: boolean }) {
  const { readOnly } = useForm();
  const { value, required, label, hint, error, actions, name, onChange } = common;
  return (
    <Field label={label} hint={hint} error={error} actions={actions}>
      {(a11y) => (
        <div className="flex min-h-8 items-center gap-2 rounded-md border border-dashed border-line-2 px-2.5">
          <span className="grow text-xs text-ink-3">{value === null ? "null" : "not given"}</span>
          {!readOnly && value === undefined && nullable && required && (
            <Button look="quiet" size="sm" onClick={() => onChange(null)}>
              null
            </Button>
          )}
          {!readOnly && (
            <Button
              id={a11y.id}
              aria-describedby={a11y["aria-describedby"]}
              look="quiet"
              size="sm"
              aria-label={`Give a value for ${name}`}
              onClick={() => onChange(fresh)}
            >
              Give a value
            </Button>
          )}
        </div>
      )}
    </Field>
  );
}

function Control(props: Omit<ControlProps<"json">, "shape"> & { shape: Shape }) {
  const { shape, ...rest } = props;
  switch (shape.kind) {
    case "text":
      return <TextControl {...rest} shape={shape} />;
    case "number":
      return <NumberControl {...rest} shape={shape} />;
    case "scalar":
      return <ScalarControl {...rest} shape={shape} />;
    case "boolean":
      return <BooleanControl {...rest} shape={shape} />;
    case "choice":
      return <ChoiceControl {...rest} shape={shape} />;
    case "list":
      return <ListControl {...rest} shape={shape} />;
    case "object":
      return (
        <Group {...rest}>
          <Members {...rest} shape={shape} />
        </Group>
      );
    case "union":
      return (
        <Group {...rest}>
          <UnionControl {...rest} shape={shape} />
        </Group>
      );
    default:
      return <JsonControl {...rest} shape={{ kind: "json" }} />;
  }
}

/** Fields that belong together, under the name of what holds them. */
function Group({
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

const isMembers = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function withMember(
  of: Readonly<Record<string, unknown>>,
  name: string,
  value: unknown,
): Record<string, unknown> {
  const { [name]: _, ...rest } = of;
  if (value === undefined) return rest;
  return name in of ? { ...of, [name]: value } : { ...rest, [name]: value };
}

function Members({ shape, value, original, path, onChange }: ControlProps<"object">) {
  const held = isMembers(value) ? value : {};
  const before = isMembers(original) ? original : {};
  const known = new Set(shape.members.map((member) => member.name));
  const others = [...new Set([...Object.keys(held), ...Object.keys(before)])].filter((n) => !known.has(n));
  const field = (name: string, schema: JsonSchema, required: boolean): ReactNode => (
    <SchemaField
      key={name}
      name={name}
      path={below(path, name)}
      schema={schema}
      value={held[name]}
      original={before[name]}
      required={required}
      onChange={(next) => onChange(withMember(held, name, next))}
    />
  );
  if (shape.members.length + others.length === 0)
    return <p className="text-xs text-ink-3">It has no members.</p>;
  return (
    <div className="flex min-w-0 flex-col gap-3.5">
      {shape.members.map((member) => field(member.name, member.schema, member.required))}
      {others.map((name) => field(name, true, false))}
    </div>
  );
}

function UnionControl({ shape, value, original, path, name, onChange }: ControlProps<"union">) {
  const { root, readOnly } = useForm();
  const at = variantOf(shape.variants, value, root);
  const chosen: Variant | undefined = shape.variants[at];
  return (
    <div className="flex min-w-0 flex-col gap-3">
      <Field label="Kind">
        {(a11y) => (
          <Select
            {...a11y}
            disabled={readOnly}
            value={at}
            onChange={(event) =>
              onChange(blank(shape.variants[Number(event.target.value)]?.schema, root) ?? {})
            }
          >
            {shape.variants.map((variant, index) => (
              <option key={index} value={index}>
                {inert(variant.label)}
              </option>
            ))}
          </Select>
        )}
      </Field>
      {chosen && (
        <SchemaField
          key={at}
          name={name}
          path={path}
          schema={chosen.schema}
          value={value}
          original={original}
          required
          bare
          onChange={onChange}
        />
      )}
    </div>
  );
}

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

function TextControl({ shape, value, label, hint, error, actions, onChange }: ControlProps<"text">) {
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
            type={TEXT_TYPES[format] ?? "text"}
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
function NumberControl({ shape, value, label, hint, error, actions, onChange }: ControlProps<"number">) {
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
function ScalarControl({
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

function BooleanControl({ value, label, hint, error, actions, onChange }: ControlProps<"boolean">) {
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

function ChoiceControl({ shape, value, label, hint, error, actions, onChange }: ControlProps<"choice">) {
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

const ITEMS_PIECE = 50;

function ListControl(props: ControlProps<"list">) {
  const { shape, value, original, path, name, onChange } = props;
  const { root, readOnly } = useForm();
  const [shown, setShown] = useState(ITEMS_PIECE);
  const items = Array.isArray(value) ? (value as readonly unknown[]) : [];
  const before = Array.isArray(original) ? (original as readonly unknown[]) : [];
  const replaced = (at: number, next: unknown): unknown[] =>
    next === undefined ? items.toSpliced(at, 1) : items.toSpliced(at, 1, next);
  const move = (at: number, by: number): void => {
    const next = [...items];
    next.splice(at + by, 0, ...next.splice(at, 1));
    onChange(next);
  };
  return (
    <Group {...props}>
      <ol className="flex min-w-0 flex-col gap-3">
        {items.slice(0, shown).map((item, at) => (
          <li key={at} className="flex min-w-0 items-start gap-1">
            <div className="min-w-0 grow">
              <SchemaField
                name={`${name} ${at + 1}`}
                path={below(path, at)}
                schema={shape.item}
                value={item}
                original={before[at]}
                required
                onChange={(next) => onChange(replaced(at, next))}
              />
            </div>
            {!readOnly && (
              <ItemActions
                name={`${name} ${at + 1}`}
                first={at === 0}
                last={at === items.length - 1}
                onUp={() => move(at, -1)}
                onDown={() => move(at, 1)}
                onRemove={() => onChange(items.toSpliced(at, 1))}
              />
            )}
          </li>
        ))}
      </ol>
      {items.length > shown && (
        <Button look="quiet" size="sm" onClick={() => setShown(shown + ITEMS_PIECE * 4)}>
          {items.length - shown} more
        </Button>
      )}
      {!readOnly && (shape.most === null || items.length < shape.most) && (
        <Button
          look="quiet"
          size="sm"
          className={clsx(items.length > 0 && "mt-2")}
          icon={<Plus size={13} aria-hidden />}
          aria-label={`Add to ${name}`}
          onClick={() => onChange([...items, freshOf(shape.item, root, undefined)])}
        >
          Add
        </Button>
      )}
    </Group>
  );
}

function ItemActions({
  name,
  first,
  last,
  onUp,
  onDown,
  onRemove,
}: {
  name: string;
  first: boolean;
  last: boolean;
  onUp: () => void;
  onDown: () => void;
  onRemove: () => void;
}) {
  return (
    <span className="mt-5 flex shrink-0">
      <IconButton size="sm" label={`Move ${name} up`} disabled={first} onClick={onUp}>
        <ArrowUp size={13} />
      </IconButton>
      <IconButton size="sm" label={`Move ${name} down`} disabled={last} onClick={onDown}>
        <ArrowDown size={13} />
      </IconButton>
      <IconButton size="sm" label={`Remove ${name}`} onClick={onRemove}>
        <Trash2 size={13} />
      </IconButton>
    </span>
  );
}

const JSON_CHARS_MAX = 200_000;

function JsonControl({ value, path, name, label, hint, error, actions, onChange }: ControlProps<"json">) {
  const { readOnly, mark } = useForm();
  const [text, setText] = useState<string | null>(null);
  const shown = text ?? written(value);
  const problem = text === null ? null : parsed(text).error;
  const broken = problem !== null;
  useEffect(() => {
    mark(path, broken);
    return () => mark(path, false);
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
