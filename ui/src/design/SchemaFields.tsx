/** A field of a `SchemaForm`: the control for the shape that its schema asks for, or that it holds nothing yet. */

import clsx from "clsx";
import { useEffect, useRef } from "react";
import { Button } from "./Button";
import { Field } from "./Field";
import {
  BooleanControl,
  ChoiceControl,
  JsonControl,
  NumberControl,
  ScalarControl,
  TextControl,
} from "./SchemaControls";
import { Actions, type ControlProps, type FieldProps, Group, hintOf, Label, useForm } from "./SchemaFrame";
import { ListControl, Members, UnionControl } from "./SchemaGroups";
import { blank, fieldOf, fitsKind, isShown, type JsonSchema, type Shape, same } from "./schema";

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
  const missing = isMissing(field.shape, value, required);
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

/** Whether it holds nothing that its control could show: left out, or null where null is not one of its values. */
export function isMissing(shape: Shape, value: unknown, required: boolean): boolean {
  if (value === undefined) return !(required && TYPED.has(shape.kind));
  return value === null && shape.kind !== "json" && !fitsKind(shape, null);
}

const CONTROLS = "input, textarea, select, [contenteditable=true], button";
/** Needed, and typed or chosen: their controls stand there empty. */
const TYPED: ReadonlySet<Shape["kind"]> = new Set(["text", "number", "scalar", "choice"]);

/** What changed in them is marked at their members. */
const GROUPS: ReadonlySet<Shape["kind"]> = new Set(["object", "list", "union"]);

/** What "give a value" begins with: what it was, else a blank one. */
export function freshOf(schema: JsonSchema, root: JsonSchema, original: unknown): unknown {
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
