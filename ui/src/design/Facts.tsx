/** Small facts, each shown in one way everywhere: times, durations, ids, costs, keys. */

import clsx from "clsx";
import { Check, Copy } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import type { Usage } from "~/api/types";
import { between, cost, duration, exact, relative, short } from "~/lib/format";
import { caps } from "~/lib/hotkeys";
import { useNow } from "~/lib/ticking";
import { IconButton } from "./Button";
import { toastError } from "./Toasts";

/** When, relative to now; the exact time on hover. */
export function Time({ at, className }: { at: string | null; className?: string }) {
  const now = useNow(at !== null);
  if (at === null) return <span className={clsx("text-ink-3", className)}>—</span>;
  const ms = Date.parse(at);
  return (
    <time
      dateTime={at}
      title={`${exact(ms)} · ${at}`}
      className={clsx("whitespace-nowrap tabular", className)}
    >
      {relative(ms, now)}
    </time>
  );
}

/** How long; counts on while there is no end. */
export function Elapsed({
  from,
  to,
  className,
}: {
  from: string | null;
  to: string | null;
  className?: string;
}) {
  const now = useNow(from !== null && to === null);
  const ms = from === null ? null : to === null ? Math.max(0, now - Date.parse(from)) : between(from, to);
  return <span className={clsx("whitespace-nowrap tabular", className)}>{duration(ms)}</span>;
}

export function UsageFacts({ usage }: { usage: Usage }) {
  return (
    <span
      className="whitespace-nowrap tabular"
      title={`${usage.requests} model calls · ${usage.input_tokens} tokens in · ${usage.output_tokens} out`}
    >
      {short(usage.input_tokens + usage.output_tokens)} tokens · {cost(usage.cost_micros, usage.priced)}
    </span>
  );
}

export function CopyButton({
  text,
  label = "Copy",
  size = 13,
}: {
  text: string | (() => string);
  label?: string;
  size?: number;
}) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1_200);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async (): Promise<void> => {
    try {
      await copied(typeof text === "string" ? text : text());
      setDone(true);
    } catch (error) {
      toastError("It was not copied.", error);
    }
  };
  return (
    <IconButton label={done ? "Copied" : label} size="sm" onClick={() => void copy()} className="!size-6">
      {done ? <Check size={size} className="text-good" /> : <Copy size={size} />}
    </IconButton>
  );
}

/** Browsers lend the clipboard over HTTPS and to this machine alone; elsewhere the old way is left. */
async function copied(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  const before = document.activeElement;
  area.value = text;
  // Within a dialog the focus may not leave it.
  (before?.closest("[role=dialog]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (before instanceof HTMLElement) before.focus();
  if (!done) throw new Error("The browser does not lend its clipboard to this address.");
}

/** An id: its kind and its last characters, which differ between neighbours; whole on hover and when copied. */
export function Id({ id, copy = false, className }: { id: string; copy?: boolean; className?: string }) {
  const [kind = "", rest = ""] = id.split("_");
  return (
    <span
      className={clsx(
        "inline-flex items-center gap-0.5 whitespace-nowrap font-mono text-xs text-ink-2",
        className,
      )}
      title={id}
    >
      {rest === "" ? id : `${kind}_…${rest.slice(-6)}`}
      {copy && <CopyButton text={id} label={`Copy ${id}`} />}
    </span>
  );
}

export function Kbd({ keys }: { keys: string }) {
  return (
    <span className="inline-flex items-center gap-1">
      {caps(keys).map((chord, index) => (
        <kbd
          key={index}
          className="inline-flex h-[1.125rem] min-w-[1.125rem] items-center justify-center rounded-sm border border-line-2 bg-surface px-1 font-sans text-2xs text-ink-2"
        >
          {chord.join(" ")}
        </kbd>
      ))}
    </span>
  );
}

/** A named fact of a list of facts. */
export function Fact({ label, children }: { label: ReactNode; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <dt className="text-2xs font-medium uppercase tracking-wide text-ink-3">{label}</dt>
      <dd className="mt-0.5 min-w-0 text-sm [overflow-wrap:anywhere]">{children}</dd>
    </div>
  );
}
