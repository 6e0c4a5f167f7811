import clsx from "clsx";
import { CircleCheck, CircleX, X } from "lucide-react";
import { useSyncExternalStore } from "react";
import { messageOf, Problem } from "~/api/problem";
import { IconButton } from "./Button";

interface Toast {
  readonly id: number;
  readonly tone: "good" | "bad";
  readonly text: string;
  readonly detail?: string | undefined;
}

const SHOWN_MS = 6_000;
const TOASTS_MAX = 4;
let toasts: readonly Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();

function change(next: readonly Toast[]): void {
  toasts = next.slice(-TOASTS_MAX);
  for (const listener of listeners) listener();
}

const dismiss = (id: number): void => change(toasts.filter((one) => one.id !== id));

function show(toast: Omit<Toast, "id">): void {
  last += 1;
  const id = last;
  change([...toasts, { ...toast, id }]);
  if (toast.tone === "good") setTimeout(() => dismiss(id), SHOWN_MS);
}

/** Say that something was done; it goes by itself. */
export const toast = (text: string): void => show({ tone: "good", text });

/** Say why something was not done; it stays until it is read. */
export function toastError(what: string, error: unknown): void {
  const id = error instanceof Problem && error.requestId ? ` (request ${error.requestId})` : "";
  show({
    tone: "bad",
    text: what,
    detail: `${messageOf(error)}${error instanceof Problem && error.status >= 500 ? id : ""}`,
  });
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <section
      aria-label="Notifications"
      aria-live="polite"
      className="pointer-events-none fixed bottom-3 right-3 z-[60] flex w-[min(24rem,calc(100vw-1.5rem))] flex-col gap-2"
    >
      {shown.map(({ id, tone, text, detail }) => (
        <div
          key={id}
          role={tone === "bad" ? "alert" : "status"}
          className="pointer-events-auto flex items-start gap-2 rounded-md border border-line bg-raised px-3 py-2 shadow-pop"
        >
          <span className={clsx("mt-0.5", tone === "bad" ? "text-bad" : "text-good")} aria-hidden>
            {tone === "bad" ? <CircleX size={16} /> : <CircleCheck size={16} />}
          </span>
          <div className="min-w-0 grow">
            <p className="font-medium">{text}</p>
            {detail && <p className="mt-0.5 text-xs text-ink-2 [overflow-wrap:anywhere]">{detail}</p>}
          </div>
          <IconButton label="Dismiss" size="sm" onClick={() => dismiss(id)}>
            <X size={14} />
          </IconButton>
        </div>
      ))}
    </section>
  );
}
