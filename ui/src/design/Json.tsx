/**
 * JSON as a tree. Only what is open is rendered, long lists in pieces and long texts cut, so that 5 MB of it cost no more
 * than their first screen. Whatever the values say, it is shown as text.
 */

import clsx from "clsx";
import { ChevronRight, Download } from "lucide-react";
import { Suspense, useMemo, useState } from "react";
import { bytes, plural } from "~/lib/format";
import { inert } from "~/lib/text";
import { Button } from "./Button";
import { CopyButton } from "./Facts";
import { Textarea } from "./Field";
import { lazyOr } from "./lazyOr";
import { isInexact } from "./schema";

const PIECE = 100;
const TEXT_CHARS_MAX = 2_000;
const OPEN_NODES = 40;

const CodeEditor = lazyOr<JsonEditorProps>(() => import("./CodeEditor"), PlainEditor);

export const written = (value: unknown): string => JSON.stringify(value, null, 2) ?? "null";

function weigh(value: unknown, most: number): number {
  if (typeof value !== "object" || value === null) return 1;
  let found = 1;
  for (const member of Object.values(value)) {
    found += weigh(member, most - found);
    if (found > most) return found;
  }
  return found;
}

export function JsonView({
  value,
  name = "value.json",
  className,
  actions = true,
}: {
  value: unknown;
  name?: string;
  className?: string;
  actions?: boolean;
}) {
  const open = useMemo(() => weigh(value, OPEN_NODES) <= OPEN_NODES, [value]);
  return (
    <div
      className={clsx(
        "group relative min-w-0 rounded-md bg-sunken p-2.5 font-mono text-xs leading-5",
        className,
      )}
    >
      {actions && (
        <div className="absolute right-1 top-1 z-10 flex rounded-md bg-sunken opacity-0 transition-opacity focus-within:opacity-100 group-hover:opacity-100">
          <CopyButton text={() => written(value)} label="Copy JSON" />
          <DownloadButton value={value} name={name} />
        </div>
      )}
      <div className="min-w-0 overflow-x-auto">
        <Node value={value} depth={0} openTo={open ? 9 : 1} />
      </div>
    </div>
  );
}

function DownloadButton({ value, name }: { value: unknown; name: string }) {
  return (
    <Button
      look="quiet"
      size="sm"
      aria-label="Download JSON"
      title="Download JSON"
      className="!size-6 !px-0"
      onClick={() => download(written(value), name, "application/json")}
    >
      <Download size={13} />
    </Button>
  );
}

/** Give the browser a file. */
export function download(content: BlobPart, name: string, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function Node({
  name,
  value,
  depth,
  openTo,
}: {
  name?: string | undefined;
  value: unknown;
  depth: number;
  openTo: number;
}) {
  if (typeof value === "object" && value !== null)
    return <Branch name={name} value={value} depth={depth} openTo={openTo} />;
  return (
    <div className="flex min-w-0 gap-1.5 pl-4">
      {name !== undefined && <Name name={name} />}
      <Leaf value={value} />
    </div>
  );
}

function Branch({
  name,
  value,
  depth,
  openTo,
}: {
  name?: string | undefined;
  value: object;
  depth: number;
  openTo: number;
}) {
  const [open, setOpen] = useState(depth < openTo);
  const [shown, setShown] = useState(PIECE);
  const list = Array.isArray(value);
  const members = list ? (value as readonly unknown[]) : Object.keys(value);
  const size = members.length;
  const label = list ? `[${size}]` : `{${size}}`;
  if (size === 0)
    return (
      <div className="flex gap-1.5 pl-4">
        {name !== undefined && <Name name={name} />}
        <span className="text-ink-3">{list ? "[]" : "{}"}</span>
      </div>
    );
  return (
    <div className="min-w-0">
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex min-h-6 min-w-6 max-w-full items-center gap-0.5 rounded-sm text-left hover:bg-hover"
      >
        <ChevronRight
          size={14}
          aria-hidden
          className={clsx("shrink-0 text-ink-3 transition-transform", open && "rotate-90")}
        />
        {name !== undefined && <Name name={name} />}
        <span className="pl-1 text-ink-3">{label}</span>
      </button>
      {open && (
        <div className="ml-[0.4rem] border-l border-line pl-1.5">
          {(list ? (value as readonly unknown[]).slice(0, shown) : (members as string[]).slice(0, shown)).map(
            (member, index) => {
              const key = list ? String(index) : (member as string);
              return (
                <Node
                  key={key}
                  name={key}
                  value={list ? member : (value as Record<string, unknown>)[key]}
                  depth={depth + 1}
                  openTo={openTo}
                />
              );
            },
          )}
          {size > shown && (
            <Button look="quiet" size="sm" onClick={() => setShown(shown + PIECE * 5)}>
              {plural(size - shown, "more", "more")}
            </Button>
          )}
        </div>
      )}
    </div>
  );
}

const Name = ({ name }: { name: string }) => (
  <span className="shrink-0 text-accent-text">{inert(name)}:</span>
);

function Leaf({ value }: { value: unknown }) {
  const [all, setAll] = useState(false);
  if (typeof value === "number" && isInexact(value))
    return (
      <span className="text-info" title="It has more digits than a browser keeps; this is rounded.">
        ≈ {String(value)}
      </span>
    );
  if (typeof value !== "string")
    return (
      <span className={clsx(typeof value === "number" ? "text-info" : "text-ink-3")}>{String(value)}</span>
    );
  const cut = !all && value.length > TEXT_CHARS_MAX;
  return (
    <span dir="auto" className="min-w-0 whitespace-pre-wrap text-ink [overflow-wrap:anywhere]">
      {inert(cut ? value.slice(0, TEXT_CHARS_MAX) : value)}
      {cut && <Cut text={value} onAll={() => setAll(true)} />}
    </span>
  );
}

/** The rest of a long text: shown on demand if the page can bear it, else as a file. */
const SHOW_ALL_CHARS_MAX = 400_000;

export function Cut({ text, onAll }: { text: string; onAll: () => void }) {
  return (
    <span className="font-sans">
      {"… "}
      {text.length <= SHOW_ALL_CHARS_MAX && (
        <Button look="quiet" size="sm" onClick={onAll}>
          Show all {bytes(text.length)}
        </Button>
      )}
      <Button look="quiet" size="sm" onClick={() => download(text, "text.txt", "text/plain")}>
        Download {bytes(text.length)}
      </Button>
    </span>
  );
}

export interface JsonEditorProps {
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly label: string;
  readonly minHeight?: string;
}

/** The same without colours and marks. */
function PlainEditor({ value, onChange, label }: JsonEditorProps) {
  return (
    <Textarea
      aria-label={label}
      rows={8}
      spellCheck={false}
      className="font-mono text-xs"
      value={value}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

/** An editor of JSON with its errors marked; loaded when it is first needed. */
export function JsonEditor(props: JsonEditorProps) {
  return (
    <Suspense
      fallback={
        <div
          className="h-32 animate-breathe rounded-md bg-mute-soft"
          role="status"
          aria-label="Loading the editor"
        />
      }
    >
      <CodeEditor {...props} />
    </Suspense>
  );
}

const TOO_EXACT =
  "A number here has more digits than a browser keeps. Write it as a text if that is taken, or send it over the API.";

/** The value that a text of JSON has, or what is wrong with it: also a number that would be sent as another one. */
export function parsed(
  text: string,
): { readonly value: unknown; readonly error: null } | { readonly value: undefined; readonly error: string } {
  try {
    const value: unknown = JSON.parse(text);
    return isInexact(value) ? { value: undefined, error: TOO_EXACT } : { value, error: null };
  } catch (error) {
    return { value: undefined, error: error instanceof Error ? error.message : "This is not JSON." };
  }
}
