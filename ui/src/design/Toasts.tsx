/** What was done, or was not, told in a corner. A word of success goes by itself; everything else stays until it is read. */

import clsx from "clsx";
import { CircleCheck, CircleX, Info, X } from "lucide-react";
import { useEffect, useState, useSyncExternalStore } from "react";
import { messageOf, Problem } from "~/api/problem";
import { Button, IconButton } from "./Button";
import { added, type Toast } from "./toasting";

const SHOWN_MS = 6_000;
let toasts: readonly Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();

function change(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

const dismiss = (id: number): void => change(toasts.filter((one) => one.id !== id));

function show(toast: Omit<Toast, "id">): void {
  last += 1;
  change(added(toasts, { ...toast, id: last }));
}

/** Say that something was done; it goes by itself. */
export const toast = (text: string): void => show({ tone: "good", text });

/** Say what somebody may do about something; it stays. */
export const toastToDo = (text: string, label: string, run: () => void): void =>
  show({ tone: "info", text, action: { label, run } });

/** Say why something was not done; it stays until it is read. */
export function toastError(what: string, error: unknown): void {
  const id = error instanceof Problem && error.requestId ? ` (request ${error.requestId})` : "";
  show({
    tone: "bad",
    text: what,
    detail: `${messageOf(error)}${error instanceof Problem && error.status >= 500 ? id : ""}`,
  });
}

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** Two regions that are always there, so that aids have heard of them before something is said in them. */
export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  const [held, setHeld] = useState(false);
  const failures = shown.filter((one) => one.tone === "bad");
  const others = shown.filter((one) => one.tone !== "bad");
  return (
    <section
      aria-label="Notifications"
      data-toasts
      onPointerEnter={() => setHeld(true)}
      onPointerLeave={() => setHeld(false)}
      onFocus={() => setHeld(true)}
      onBlur={() => setHeld(false)}
      className="pointer-events-none fixed bottom-3 right-3 z-[60] flex w-[min(24rem,calc(100vw-1.5rem))] flex-col"
    >
      <div role="alert" aria-live="assertive" aria-atomic="false" className="flex flex-col">
        {failures.map((one) => (
          <Card key={one.id} toast={one} held />
        ))}
      </div>
      <div role="status" aria-live="polite" aria-atomic="false" className="flex flex-col">
        {others.map((one) => (
          <Card key={one.id} toast={one} held={held || one.action !== undefined} />
        ))}
      </div>
    </section>
  );
}

/** `held`: it does not go by itself; nor does one that somebody points at. */
function Card({ toast: { id, tone, text, detail, action }, held }: { toast: Toast; held: boolean }) {
  useEffect(() => {
    if (held) return;
    const timer = setTimeout(() => dismiss(id), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [id, held]);
  const Icon = tone === "bad" ? CircleX : tone === "good" ? CircleCheck : Info;
  return (
    <div className="pointer-events-auto mt-2 flex items-start gap-2 rounded-md border border-line bg-raised px-3 py-2 shadow-pop">
      <Icon
        size={16}
        aria-hidden
        className={clsx(
          "mt-0.5 shrink-0",
          tone === "bad" ? "text-bad" : tone === "good" ? "text-good" : "text-info",
        )}
      />
      <div className="min-w-0 grow">
        <p className="font-medium [overflow-wrap:anywhere]">{text}</p>
        {detail && <p className="mt-0.5 text-xs text-ink-2 [overflow-wrap:anywhere]">{detail}</p>}
        {action && (
          <Button size="sm" look="primary" className="mt-1.5" onClick={action.run}>
            {action.label}
          </Button>
        )}
      </div>
      <IconButton label="Dismiss" size="sm" onClick={() => dismiss(id)}>
        <X size={14} />
      </IconButton>
    </div>
  );
}

/** A press on a toast is none beside the dialog that is open below it. */
export const isOnToast = (target: EventTarget | null): boolean =>
  target instanceof Element && target.closest("[data-toasts]") !== null;
