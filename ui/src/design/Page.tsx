/** The frame that every page has: a title, what can be done here, and panels. */

import clsx from "clsx";
import { type ReactNode, useEffect } from "react";
import { useArrival } from "./arrival";

/** The head of a page. `title` is also the document's. */
export function PageHeader({
  title,
  lead,
  actions,
  crumbs,
  oneRow = false,
}: {
  title: string;
  lead?: ReactNode;
  actions?: ReactNode;
  crumbs?: ReactNode;
  /** A long title is cut before the actions go to a row of their own. */
  oneRow?: boolean;
}) {
  useEffect(() => {
    document.title = `${title} · Holdfast`;
  }, [title]);
  const heading = useArrival();
  return (
    <header className="flex min-h-13 shrink-0 flex-wrap items-center gap-x-3 gap-y-1 border-b border-line bg-surface px-4 py-2 sm:px-5">
      <div className={clsx("min-w-0 grow", oneRow && "basis-40")}>
        {crumbs && <div className="text-xs text-ink-3">{crumbs}</div>}
        <div className="flex min-w-0 flex-wrap items-center gap-x-2.5 gap-y-1">
          <h1 ref={heading} tabIndex={-1} className="min-w-0 truncate rounded-sm text-lg font-semibold">
            {title}
          </h1>
          {lead}
        </div>
      </div>
      {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
    </header>
  );
}

/** A page that scrolls as one. */
export function PageBody({ children, className }: { children: ReactNode; className?: string }) {
  return (
    <div tabIndex={0} className="min-h-0 grow overflow-y-auto focus-visible:-outline-offset-2">
      <div className={clsx("mx-auto flex max-w-[88rem] flex-col gap-4 p-4 sm:p-5", className)}>
        {children}
      </div>
    </div>
  );
}

export function Panel({
  title,
  actions,
  children,
  className,
  flush = false,
}: {
  title?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
  flush?: boolean;
}) {
  return (
    <section className={clsx("min-w-0 rounded-lg border border-line bg-surface", className)}>
      {title && (
        <header className="flex min-h-10 items-center gap-2 border-b border-line px-4 py-1.5">
          <h2 className="min-w-0 grow truncate text-sm font-semibold">{title}</h2>
          {actions}
        </header>
      )}
      <div className={flush ? undefined : "p-4"}>{children}</div>
    </section>
  );
}

/** A number that matters, and what it counts. */
export function Stat({
  label,
  value,
  hint,
  tone,
}: {
  label: string;
  value: ReactNode;
  hint?: ReactNode;
  tone?: "warn" | "bad";
}) {
  return (
    <div className="min-w-0">
      <div className="text-xs text-ink-2">{label}</div>
      <div
        className={clsx(
          "mt-0.5 truncate text-xl font-semibold tabular",
          tone === "bad" ? "text-bad" : tone === "warn" ? "text-warn" : "text-ink",
        )}
      >
        {value}
      </div>
      {hint && <div className="mt-0.5 truncate text-xs text-ink-3">{hint}</div>}
    </div>
  );
}
