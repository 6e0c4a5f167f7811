/** What a pane of details is made of: sections under small heads, and notices. */

import clsx from "clsx";
import { CircleAlert, Info } from "lucide-react";
import type { ReactNode } from "react";

export function Section({
  title,
  actions,
  children,
  className,
}: {
  title: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={clsx("min-w-0", className)}>
      <header className="mb-2 flex min-h-6 items-center gap-2">
        <h3 className="min-w-0 grow text-xs font-semibold text-ink-2">{title}</h3>
        {actions}
      </header>
      {children}
    </section>
  );
}

/** Something to know before going on. `alert` is read out at once. */
export function Notice({
  tone = "info",
  title,
  children,
  actions,
  alert = false,
}: {
  tone?: "info" | "warn" | "bad";
  title: ReactNode;
  children?: ReactNode;
  actions?: ReactNode;
  alert?: boolean;
}) {
  const Icon = tone === "info" ? Info : CircleAlert;
  return (
    <div
      role={alert ? "alert" : "note"}
      className={clsx(
        "flex min-w-0 gap-2.5 rounded-md px-3 py-2.5",
        tone === "info" ? "bg-info-soft" : tone === "warn" ? "bg-warn-soft" : "bg-bad-soft",
      )}
    >
      <Icon
        size={16}
        aria-hidden
        className={clsx(
          "mt-0.5 shrink-0",
          tone === "info" ? "text-info" : tone === "warn" ? "text-warn" : "text-bad",
        )}
      />
      <div className="min-w-0 grow">
        <p className="font-medium [overflow-wrap:anywhere]">{title}</p>
        {children && (
          <div className="mt-0.5 flex flex-col gap-1.5 text-xs text-ink-2 [overflow-wrap:anywhere]">
            {children}
          </div>
        )}
        {actions && <div className="mt-2 flex flex-wrap gap-2">{actions}</div>}
      </div>
    </div>
  );
}
