/** What a selected step was and recorded. Beside the steps where there is room, over them where there is not. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp, Camera, GitFork, Link2, MousePointerClick, X } from "lucide-react";
import { useEffect, useState } from "react";
import type { Run, Step } from "~/api/types";
import { Badge, Status } from "~/design/Badge";
import { Button, IconButton } from "~/design/Button";
import { CopyButton, Elapsed } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { KindIcon } from "~/design/Kind";
import { Empty, ErrorState, Skeleton } from "~/design/States";
import { TabPanel, Tabs } from "~/design/Tabs";
import { toast } from "~/design/Toasts";
import { cost, count, duration, plural } from "~/lib/format";
import { inert } from "~/lib/text";
import { QuestionCard } from "~/transcript/QuestionCard";
import { type StepTab, useSelection } from "../selection";
import type { SpanRow } from "../timeline/rows";
import { placeOf } from "../timeline/steps";
import { timelineOptions } from "../timeline/useTimeline";
import { spanName } from "../timeline/words";
import { EffectTab } from "./EffectTab";
import { OutputTab } from "./OutputTab";
import { PromptTab } from "./PromptTab";
import { useStep } from "./queries";
import { RunValues } from "./RunValues";

export function StepPanel({
  run,
  open,
  onClose,
  values,
}: {
  run: Run;
  open: SpanRow | null;
  onClose: (() => void) | null;
  /** Without a step, what the run was given and came to. */
  values: boolean;
}) {
  const { of, step } = useSelection();
  const seq = step === 0 ? null : step; // the place before the first step, which only a state has
  const asked = useResting(seq);
  const found = useStep(of, asked);
  if (open !== null) return <OpenStep row={open} onClose={onClose} />;
  if (seq === null && values) return <RunValues run={run} />;
  if (seq === null)
    return (
      <Empty icon={<MousePointerClick size={20} />} title="No step is chosen">
        Open one by its number to see what it recorded, and what a model was asked.
      </Empty>
    );
  if (found.isError)
    return <ErrorState error={found.error} onRetry={() => void found.refetch()} what={`Step ${seq}`} />;
  if (found.data === undefined)
    return (
      <div className="flex flex-col gap-3 p-4" role="status" aria-label="Loading the step">
        <Skeleton className="h-12" />
        <Skeleton className="h-8" />
        <Skeleton className="h-64" />
      </div>
    );
  return <Shown of={of} seq={seq} step={found.data} onClose={onClose} />;
}

const REST_MS = 60;

/** The step that is asked for once the selection rests. */
function useResting(seq: number | null): number | null {
  const [rested, setRested] = useState(seq);
  useEffect(() => {
    const timer = setTimeout(() => setRested(seq), REST_MS);
    return () => clearTimeout(timer);
  }, [seq]);
  return rested;
}

/** `of`: the run that it is a step of. Of a fork's first ones that is the fork, though another run wrote them. */
function Shown({
  of,
  seq,
  step,
  onClose,
}: {
  of: string;
  seq: number;
  step: Step;
  onClose: (() => void) | null;
}) {
  const { runId, search, change } = useSelection();
  const steps = useQuery(timelineOptions(of)).data;
  const at = steps === undefined ? -1 : placeOf(steps, step.seq);
  const status = at < 0 ? step.status : (steps?.outcome[at] ?? step.status);
  const own = of === runId;
  const tabs = [
    { value: "output" as const, label: step.error === null ? "Output" : "Error" },
    ...(step.kind === "model" ? [{ value: "prompt" as const, label: "Prompt" }] : []),
    ...(step.effect !== null ? [{ value: "effect" as const, label: "Effect" }] : []),
    { value: "raw" as const, label: "Raw" },
  ];
  const tab = tabs.find((one) => one.value === search.tab)?.value ?? "output";
  const copyLink = async (): Promise<void> => {
    const link = new URL(location.href);
    link.searchParams.delete("fork");
    await navigator.clipboard.writeText(link.href);
    toast("The link to this step is copied.");
  };
  return (
    <div className="flex min-h-0 grow flex-col">
      <header className="shrink-0 border-b border-line px-4 pb-2.5 pt-3">
        <div className="flex items-start gap-2">
          <div className="min-w-0 grow">
            <div className="flex min-w-0 items-center gap-2">
              <KindIcon kind={step.kind} size={15} />
              <h2 dir="auto" className="min-w-0 truncate text-base font-semibold">
                {inert(step.name)}
              </h2>
              <Status status={status} />
            </div>
            <div className="mt-0.5 flex min-w-0 items-center gap-1 text-xs text-ink-3">
              <span dir="auto" title={step.key} className="min-w-0 truncate font-mono">
                {inert(step.key)}
              </span>
              <CopyButton text={step.key} label="Copy the key" />
            </div>
          </div>
          <StepMover of={of} seq={seq} last={steps?.last ?? seq} />
          {onClose && (
            <IconButton label="Close the step" size="sm" onClick={onClose}>
              <X size={15} />
            </IconButton>
          )}
        </div>
        <StepFacts step={step} />
        {own && (
          <div className="mt-2 flex flex-wrap gap-1.5">
            <Button size="sm" icon={<Camera size={13} />} onClick={() => change({ view: "state" }, true)}>
              State here
            </Button>
            <Button size="sm" icon={<GitFork size={13} />} onClick={() => change({ fork: true })}>
              Fork from here
            </Button>
            <Button size="sm" look="quiet" icon={<Link2 size={13} />} onClick={() => void copyLink()}>
              Copy link
            </Button>
          </div>
        )}
      </header>
      <Tabs<StepTab>
        label="What of the step is shown"
        value={tab}
        tabs={tabs}
        onChange={(next) => change({ tab: next === "output" ? undefined : next })}
        className="flex min-h-0 grow flex-col"
      >
        <TabPanel
          value={tab}
          tabIndex={0}
          className="min-h-0 grow overflow-y-auto p-4 focus-visible:-outline-offset-2"
        >
          {tab === "output" && <OutputTab of={of} step={step} steps={steps} />}
          {tab === "prompt" && <PromptTab runId={of} seq={step.seq} />}
          {tab === "effect" && <EffectTab step={step} />}
          {tab === "raw" && <JsonView value={step} name={`step-${step.seq}.json`} />}
        </TabPanel>
      </Tabs>
    </div>
  );
}

function StepMover({ of, seq, last }: { of: string; seq: number; last: number }) {
  const { select } = useSelection();
  return (
    <div className="flex shrink-0 items-center">
      <span className="mr-1 whitespace-nowrap text-xs text-ink-3 tabular">
        {count(seq)} / {count(last)}
      </span>
      <IconButton label="Step before" size="sm" disabled={seq <= 1} onClick={() => select(of, seq - 1)}>
        <ArrowUp size={14} />
      </IconButton>
      <IconButton label="Next step" size="sm" disabled={seq >= last} onClick={() => select(of, seq + 1)}>
        <ArrowDown size={14} />
      </IconButton>
    </div>
  );
}

function StepFacts({ step }: { step: Step }) {
  const { usage } = step;
  const facts = [
    step.started_at && step.ended_at
      ? duration(Date.parse(step.ended_at) - Date.parse(step.started_at))
      : null,
    step.attempt > 1 ? `attempt ${step.attempt}` : null,
    step.tries > 1 ? plural(step.tries, "try", "tries") : null,
    usage ? `${count(usage.input_tokens)} in · ${count(usage.output_tokens)} out` : null,
    usage ? cost(usage.cost_micros, usage.priced) : null,
  ].filter((one) => one !== null);
  return (
    <div className="mt-1.5 flex flex-wrap items-center gap-x-3 gap-y-1 text-xs text-ink-2 tabular">
      {facts.map((fact) => (
        <span key={fact}>{fact}</span>
      ))}
      {step.approval_id && (
        <Link
          to="/approvals/$approvalId"
          params={{ approvalId: step.approval_id }}
          className="text-accent-text hover:underline"
        >
          The question
        </Link>
      )}
      {step.child_run_id && (
        <Link
          to="/runs/$runId"
          params={{ runId: step.child_run_id }}
          className="text-accent-text hover:underline"
        >
          The child run
        </Link>
      )}
    </div>
  );
}

/** Something that has begun and not ended: there is nothing recorded of it but that. */
function OpenStep({ row: { span, steps }, onClose }: { row: SpanRow; onClose: (() => void) | null }) {
  const since = new Date(steps.createdAt + span.from).toISOString();
  return (
    <div
      tabIndex={0}
      className="flex min-h-0 grow flex-col gap-3 overflow-y-auto p-4 focus-visible:-outline-offset-2"
    >
      <div className="flex items-center gap-2">
        <KindIcon kind={span.kind} size={15} />
        <h2 dir="auto" className="min-w-0 grow truncate text-base font-semibold">
          {inert(spanName(span))}
        </h2>
        {span.at >= 0 && <Badge tone="info">open</Badge>}
        {onClose && (
          <IconButton label="Close the step" size="sm" onClick={onClose}>
            <X size={15} />
          </IconButton>
        )}
      </div>
      <p className="font-mono text-xs text-ink-3 [overflow-wrap:anywhere]">{inert(span.key)}</p>
      {span.at < 0 ? (
        <p className="text-sm text-ink-2">
          {plural(span.steps, "step")} in this scope, {span.failed} failed. {count(span.tokens)} tokens,{" "}
          {cost(span.cost)}.
        </p>
      ) : (
        <p className="text-sm text-ink-2">
          It has begun and not ended: <Elapsed from={since} to={null} /> so far.
        </p>
      )}
      {span.approvalId && <QuestionCard approvalId={span.approvalId} />}
      <div className="flex gap-3 text-sm">
        {span.childRunId && (
          <Link
            to="/runs/$runId"
            params={{ runId: span.childRunId }}
            className="text-accent-text hover:underline"
          >
            Open the child run
          </Link>
        )}
      </div>
    </div>
  );
}
