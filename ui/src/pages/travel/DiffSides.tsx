import { Link, useNavigate } from "@tanstack/react-router";
import clsx from "clsx";
import { GitFork } from "lucide-react";
import { useRun } from "~/api/hooks";
import type { Diff } from "~/api/types";
import { Status } from "~/design/Badge";
import { Id } from "~/design/Facts";
import { inert } from "~/lib/text";

export interface Asked {
  readonly at?: number;
  readonly other_at?: number;
}

export const LETTERS = ["A", "B"] as const;

export const Letter = ({ of }: { of: 0 | 1 }) => (
  <span
    className={clsx(
      "inline-flex size-5 shrink-0 items-center justify-center rounded-sm text-2xs font-semibold",
      of === 0 ? "bg-mute-soft text-ink-2" : "bg-accent-soft text-accent-text",
    )}
  >
    {LETTERS[of]}
  </span>
);

export function Sides({ diff, asked }: { diff: Diff; asked: Asked }) {
  return (
    <div className="grid gap-3 md:grid-cols-2">
      <SideHead side={diff.this} of={0} other={diff.other.run_id} at={asked.at} />
      <SideHead side={diff.other} of={1} other={diff.this.run_id} at={asked.other_at} />
    </div>
  );
}

function SideHead({
  side,
  of,
  other,
  at,
}: {
  side: Diff["this"];
  of: 0 | 1;
  other: string;
  at: number | undefined;
}) {
  const navigate = useNavigate();
  const run = useRun(side.run_id);
  const from = run.data?.forked_from;
  const steps = run.data?.steps ?? side.at;
  const look = (text: string): void =>
    void navigate({
      to: ".",
      replace: true,
      search: ((before: object) => ({
        ...before,
        [of === 0 ? "at" : "other_at"]: text === "" ? undefined : Math.min(steps, Math.max(0, Number(text))),
      })) as never,
    });
  return (
    <section
      aria-label={`Run ${LETTERS[of]}`}
      className="flex min-w-0 flex-wrap items-center gap-x-3 gap-y-2 rounded-lg border border-line bg-surface px-3 py-2.5"
    >
      <Letter of={of} />
      <div className="min-w-0 grow">
        <div className="flex min-w-0 flex-wrap items-center gap-x-2">
          <Link
            to="/runs/$runId"
            params={{ runId: side.run_id }}
            className="rounded-sm font-medium text-ink hover:underline"
          >
            {inert(side.agent)} <Id id={side.run_id} />
          </Link>
          <Status status={side.status} quiet />
        </div>
        <p className="flex items-center gap-1 text-xs text-ink-3">
          {from == null ? (
            "not a fork"
          ) : (
            <>
              <GitFork size={12} aria-hidden />
              {from.run_id === other ? "fork of the other one" : "a fork"},{" "}
              {from.at === 0 ? "from its start" : `from step ${from.at}`}
            </>
          )}
        </p>
      </div>
      <label className="flex items-center gap-1.5 text-xs text-ink-2">
        up to step
        <input
          type="number"
          min={0}
          max={steps}
          value={at ?? ""}
          placeholder={String(side.at)}
          onChange={(event) => look(event.target.value)}
          className="h-7 w-16 rounded-md border border-line-2 bg-surface px-1.5 text-xs text-ink tabular placeholder:text-ink-3"
        />
        <span className="tabular">of {steps}</span>
      </label>
    </section>
  );
}
