/** The controls for what holds other fields: an object, a list, one of several kinds. */

import clsx from "clsx";
import { ArrowDown, ArrowUp, Plus, Trash2 } from "lucide-react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { inert } from "~/lib/text";
import { Button, IconButton } from "./Button";
import { Field, Select } from "./Field";
import { freshOf, SchemaField } from "./SchemaFields";
import { type ControlProps, Group, useForm } from "./SchemaFrame";
import {
  below,
  blank,
  errorsOf,
  isMembers,
  type JsonSchema,
  memberOf,
  same,
  type Variant,
  variantOf,
} from "./schema";

function withMember(
  of: Readonly<Record<string, unknown>>,
  name: string,
  value: unknown,
): Record<string, unknown> {
  const { [name]: _, ...rest } = of;
  if (value === undefined) return rest;
  return name in of ? { ...of, [name]: value } : { ...rest, [name]: value };
}

export function Members({ shape, value, original, path, onChange }: ControlProps<"object">) {
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
      value={memberOf(held, name)}
      original={memberOf(before, name)}
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

export function UnionControl({ shape, value, original, path, name, onChange }: ControlProps<"union">) {
  const { root, readOnly, mark } = useForm();
  // What is chosen stays chosen while it is filled in, though what is there so far may look like another kind.
  const [picked, setPicked] = useState<{ readonly at: number; readonly value: unknown } | null>(null);
  const at =
    picked !== null && same(picked.value, value) ? picked.at : variantOf(shape.variants, value, root);
  const chosen: Variant | undefined = shape.variants[at];
  const unfinished = chosen !== undefined && Object.keys(errorsOf(chosen.schema, value, root)).length > 0;
  useEffect(() => {
    mark(`${path}#kind`, unfinished ? "unfinished" : null);
    return () => mark(`${path}#kind`, null);
  }, [mark, path, unfinished]);
  const change = (index: number, next: unknown): void => {
    setPicked({ at: index, value: next });
    onChange(next);
  };
  return (
    <div className="flex min-w-0 flex-col gap-3">
      <Field label="Kind">
        {(a11y) => (
          <Select
            {...a11y}
            disabled={readOnly}
            value={at}
            onChange={({ target }) => {
              const index = Number(target.value);
              change(index, blank(shape.variants[index]?.schema, root) ?? {});
            }}
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
          onChange={(next) => change(at, next)}
        />
      )}
    </div>
  );
}

const ITEMS_PIECE = 50;

export function ListControl(props: ControlProps<"list">) {
  const { shape, value, original, path, name, onChange } = props;
  const { root, readOnly } = useForm();
  const [shown, setShown] = useState(ITEMS_PIECE);
  const items = Array.isArray(value) ? (value as readonly unknown[]) : [];
  const before = Array.isArray(original) ? (original as readonly unknown[]) : [];
  const ids = useItemIds(items.length);
  const remove = (at: number): void => {
    ids.splice(at, 1);
    onChange(items.toSpliced(at, 1));
  };
  const move = (at: number, by: number): void => {
    ids.splice(at + by, 0, ...ids.splice(at, 1));
    const next = [...items];
    next.splice(at + by, 0, ...next.splice(at, 1));
    onChange(next);
  };
  return (
    <Group {...props}>
      <ol className="flex min-w-0 flex-col gap-3">
        {items.slice(0, shown).map((item, at) => (
          <li key={ids[at]} className="flex min-w-0 items-start gap-1">
            <div className="min-w-0 grow">
              <SchemaField
                name={`${name} ${at + 1}`}
                path={below(path, at)}
                schema={shape.item}
                value={item}
                original={before[at]}
                required
                onChange={(next) =>
                  next === undefined ? remove(at) : onChange(items.toSpliced(at, 1, next))
                }
              />
            </div>
            {!readOnly && (
              <ItemActions
                name={`${name} ${at + 1}`}
                first={at === 0}
                last={at === items.length - 1}
                onUp={() => move(at, -1)}
                onDown={() => move(at, 1)}
                onRemove={() => remove(at)}
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

/** A name for each item, which goes along when it moves: what is typed in it and is no value yet stays with it. */
function useItemIds(size: number): number[] {
  const known = useRef<{ readonly ids: number[]; next: number }>({ ids: [], next: 0 });
  const { ids } = known.current;
  while (ids.length < size) ids.push(known.current.next++);
  ids.length = size;
  return ids;
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
