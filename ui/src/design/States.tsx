/** What a page shows when there is nothing to show: not yet, nothing at all, or not to be had. */

import clsx from "clsx";
import { CircleX, SearchX, ShieldX, WifiOff } from "lucide-react";
import type { ReactNode } from "react";
import { messageOf, Problem } from "~/api/problem";
import { Button } from "./Button";

/** A place that will be filled; as high as what will stand there, so that nothing jumps. */
export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={clsx("animate-breathe rounded-md bg-mute-soft", className)} />;
}

export function SkeletonRows({ rows = 6, label = "Loading" }: { rows?: number; label?: string }) {
  return (
    <div role="status" aria-label={label} className="flex flex-col gap-2 p-3">
      {Array.from({ length: rows }, (_, index) => (
        <Skeleton key={index} className="h-8 w-full" />
      ))}
    </div>
  );
}

/** Nothing here, and what would bring something here. */
export function Empty({
  icon,
  title,
  children,
  action,
}: {
  icon?: ReactNode;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="mx-auto flex max-w-md flex-col items-center gap-2 px-4 py-12 text-center">
      {icon && (
        <div aria-hidden className="mb-1 rounded-full bg-mute-soft p-3 text-ink-3">
          {icon}
        </div>
      )}
      <h2 className="text-base font-semibold">{title}</h2>
      {children && <div className="text-sm text-ink-2">{children}</div>}
      {action && <div className="mt-2">{action}</div>}
    </div>
  );
}

/** Why there is nothing here, and a way on. An unknown id, a missing scope and a lost server each say what they are. */
export function ErrorState({
  error,
  onRetry,
  what = "This",
}: {
  error: unknown;
  onRetry?: () => void;
  what?: string;
}) {
  const problem = error instanceof Problem ? error : null;
  const kind = problem?.status ?? -1;
  const [icon, title] =
    kind === 404
      ? [<SearchX key="i" size={22} />, `${what} does not exist`]
      : kind === 403
        ? [<ShieldX key="i" size={22} />, "You may not see this"]
        : kind === 0
          ? [<WifiOff key="i" size={22} />, "The server cannot be reached"]
          : [<CircleX key="i" size={22} />, "This could not be loaded"];
  return (
    <div role="alert">
      <Empty
        icon={icon}
        title={title}
        action={onRetry && kind !== 404 && kind !== 403 && <Button onClick={onRetry}>Try again</Button>}
      >
        <p className="[overflow-wrap:anywhere]">
          {kind === 404
            ? "It was deleted, belongs to another tenant, or the address is wrong."
            : messageOf(error)}
        </p>
        {problem?.requestId && kind >= 500 && (
          <p className="mt-1 font-mono text-xs text-ink-3">request {problem.requestId}</p>
        )}
      </Empty>
    </div>
  );
}
