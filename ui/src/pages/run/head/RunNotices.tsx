import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { CircleX, Hourglass, OctagonPause } from "lucide-react";
import type { ReactNode } from "react";
import { hasEnded, type Run } from "~/api/types";
import { Time } from "~/design/Facts";
import { Waiting } from "~/design/Waiting";
import { inert } from "~/lib/text";

/** What somebody who opens the run has to know first: why it failed, what it waits for, that it was asked to stop. */
export function RunNotices({ run }: { run: Run }) {
  return (
    <div aria-live="polite" className="shrink-0">
      {run.error && (
        <Notice tone="bad" icon={<CircleX size={15} />}>
          <p className="font-medium text-bad">
            Failed: <span className="font-mono text-xs">{run.error.code}</span>
            {run.error.step && (
              <>
                {" "}
                at{" "}
                <Link
                  to="/runs/$runId"
                  params={{ runId: run.id }}
                  search={{ view: "timeline", q: run.error.step, outcome: "failed" }}
                  className="font-mono text-xs underline-offset-2 hover:underline"
                >
                  {inert(run.error.step)}
                </Link>
              </>
            )}
          </p>
          <p
            dir="auto"
            tabIndex={0}
            role="region"
            aria-label="Why it failed"
            className="max-h-24 overflow-y-auto text-ink [overflow-wrap:anywhere]"
          >
            {inert(run.error.message.slice(0, 2_000))}
          </p>
        </Notice>
      )}
      {run.waiting_on.length > 0 && !hasEnded(run) && (
        <Notice tone="warn" icon={<Hourglass size={15} />}>
          <p className="flex flex-wrap gap-x-1">
            <span className="font-medium text-warn">Waits for</span>
            {run.waiting_on.map((wait, index) => (
              <span key={index}>
                <Waiting wait={wait} />
                {index < run.waiting_on.length - 1 && ","}
              </span>
            ))}
          </p>
        </Notice>
      )}
      {run.phase === "behind" && run.queue_position !== null && (
        <Notice tone="plain" icon={<Hourglass size={15} />}>
          In the queue of its thread: {run.queue_position} before it.
        </Notice>
      )}
      {run.phase === "delayed" && (
        <Notice tone="plain" icon={<Hourglass size={15} />}>
          It begins <Time at={run.start_after} />.
        </Notice>
      )}
      {run.cancel_requested_at && (
        <Notice tone="plain" icon={<OctagonPause size={15} />}>
          <p dir="auto" className="[overflow-wrap:anywhere]">
            {hasEnded(run) ? "Cancelled" : "Asked to stop"} <Time at={run.cancel_requested_at} />
            {run.cancel_reason && <>: {inert(run.cancel_reason.slice(0, 1_000))}</>}
          </p>
        </Notice>
      )}
    </div>
  );
}

const TONES = {
  bad: "bg-bad-soft text-bad",
  warn: "bg-warn-soft text-warn",
  plain: "bg-mute-soft text-ink-2",
} as const;

function Notice({
  tone,
  icon,
  children,
}: {
  tone: keyof typeof TONES;
  icon: ReactNode;
  children: ReactNode;
}) {
  return (
    <div
      className={clsx("flex items-start gap-2 border-b border-line px-4 py-2 text-sm sm:px-5", TONES[tone])}
    >
      <span aria-hidden className="mt-0.5 shrink-0">
        {icon}
      </span>
      <div className="min-w-0 grow text-ink">{children}</div>
    </div>
  );
}
