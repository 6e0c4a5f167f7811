/** The first step at which two runs are not the same, with what each of them recorded there. */

import { Link } from "@tanstack/react-router";
import { Equal, Split } from "lucide-react";
import type { Diff } from "~/api/types";
import { Status } from "~/design/Badge";
import { KindIcon } from "~/design/Kind";
import { plural } from "~/lib/format";
import { oneLine } from "~/lib/text";
import { Against } from "./Against";
import { Letter } from "./DiffSides";
import { differsIn } from "./differing";
import { outputOf } from "./forking";

export function Same({ diff }: { diff: Diff }) {
  return (
    <section className="flex items-start gap-3 rounded-lg border border-line bg-good-soft px-4 py-3">
      <Equal size={20} aria-hidden className="mt-0.5 shrink-0 text-good" />
      <div>
        <h2 className="text-base font-semibold text-good">
          {diff.identical ? "The two are identical" : "Every step is the same"}
        </h2>
        <p className="text-sm text-ink-2">
          {diff.identical
            ? `All ${plural(diff.this.at, "step")}, the outputs and the published states are the same.`
            : diff.same_output
              ? "So are the outputs. Only the published states differ, below."
              : "The outputs are not: below."}
        </p>
      </div>
    </section>
  );
}

export function Parting({ diff }: { diff: Diff }) {
  const { divergence } = diff;
  if (divergence === null) return null;
  const kept = Math.max(0, (divergence.this ?? divergence.other)?.seq ?? 1) - 1;
  return (
    <section className="overflow-hidden rounded-lg border border-line-2 bg-surface">
      <header className="flex items-start gap-3 border-b border-line bg-warn-soft px-4 py-3">
        <Split size={20} aria-hidden className="mt-0.5 shrink-0 text-warn" />
        <div className="min-w-0">
          <h2 className="flex flex-wrap items-center gap-x-1.5 text-base font-semibold">
            They part at
            <span className="inline-flex min-w-0 items-center gap-1.5">
              <KindIcon kind={divergence.kind} />
              <span className="[overflow-wrap:anywhere]">{oneLine(divergence.name, 80)}</span>
            </span>
          </h2>
          <p className="text-sm text-ink-2">
            {differsIn(divergence.differs, divergence.kind)}{" "}
            {kept === 0
              ? "It is the first step."
              : kept === 1
                ? "The step before it is the same."
                : `The ${kept} steps before it are the same.`}
          </p>
        </div>
      </header>
      <div className="p-4">
        <Against
          one={{ label: <PartingStep diff={diff} of={0} />, value: recordedBy(divergence.this) }}
          two={{ label: <PartingStep diff={diff} of={1} />, value: recordedBy(divergence.other) }}
        />
      </div>
    </section>
  );
}

type DiffStep = NonNullable<NonNullable<Diff["divergence"]>["this"]>;

const recordedBy = (step: DiffStep | null): unknown => {
  if (step === null) return undefined;
  if (step.output_cut) return "It is too large to be shown here: open the step.";
  return step.error ?? outputOf(step);
};

function PartingStep({ diff, of }: { diff: Diff; of: 0 | 1 }) {
  const step = of === 0 ? diff.divergence?.this : diff.divergence?.other;
  const side = of === 0 ? diff.this : diff.other;
  return (
    <span className="flex min-w-0 items-center gap-2">
      <Letter of={of} />
      {step == null ? (
        "had come to its end"
      ) : (
        <>
          <KindIcon kind={step.kind} />
          <Link
            to="/runs/$runId"
            params={{ runId: side.run_id }}
            search={{ view: "journal", step: step.seq }}
            className="min-w-0 truncate text-accent-text underline"
          >
            step {step.seq}, {oneLine(step.name, 60)}
          </Link>
          {step.status !== "succeeded" && <Status status={step.status} quiet />}
        </>
      )}
    </span>
  );
}
