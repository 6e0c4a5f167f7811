/**
 * What was said in a run, in order, with the calls of tools where they were made. A run that is under way is heard; one that
 * has ended is read from its messages. A step that is chosen here is the one that the other views show.
 */

import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { MessagesSquare } from "lucide-react";
import { type MouseEvent, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { useRunEvents } from "~/api/hooks";
import { hasEnded, type Part, type Run, type RunEvent } from "~/api/types";
import { Button } from "~/design/Button";
import { Id } from "~/design/Facts";
import { Empty, ErrorState, SkeletonRows } from "~/design/States";
import { useMessages, useRunSteps } from "~/pages/chat/useThread";
import { blocksOf } from "~/transcript/blocks";
import { viewOfHistory } from "~/transcript/history";
import type { Block } from "~/transcript/model";
import { emptyRun, type RunView } from "~/transcript/runItems";
import { applied } from "~/transcript/runView";
import { BlockView, MessageParts } from "~/transcript/Transcript";
import { useSelection } from "./selection";
import { LargeValue } from "./step/LargeValue";

export function TranscriptView({ run }: { run: Run }) {
  const [heard, setHeard] = useState(!hasEnded(run));
  if (!heard && !hasEnded(run)) setHeard(true); // retried while it was looked at
  return heard ? <Heard run={run} /> : <Stored run={run} />;
}

const FLUSH_MS = 60;

function Heard({ run }: { run: Run }) {
  const [view, setView] = useState<RunView>(() => emptyRun(run.id));
  const waiting = useRef<RunEvent[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useRunEvents(run.id, 0, (event) => {
    waiting.current.push(event);
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      const events = waiting.current;
      waiting.current = [];
      setView((known) => applied(known, events));
    }, FLUSH_MS);
  });
  useEffect(() => () => clearTimeout(timer.current), []);
  const ended = hasEnded(run);
  const blocks = useMemo(() => blocksOf(view, ended), [view, ended]);
  return <Column run={run} blocks={blocks} />;
}

function Stored({ run }: { run: Run }) {
  const { rows, isPending, error, retry, hasOlder, isLoadingOlder, olderFailed, loadOlder } = useMessages(
    run.thread_id,
  );
  const steps = useRunSteps(run.id);
  const own = useMemo(() => rows.filter((message) => message.run_id === run.id), [rows, run.id]);
  const lacking = hasOlder && (own.length === 0 || rows[0]?.run_id === run.id);
  const isSought = own.length === 0 && hasOlder;
  useEffect(() => {
    if (isSought && !isLoadingOlder && !olderFailed) loadOlder();
  }, [isSought, isLoadingOlder, olderFailed, loadOlder]);
  const blocks = useMemo(() => {
    const said = own.filter((message) => message.role !== "user" || message.step_seq !== null);
    return blocksOf(viewOfHistory(run.id, said, steps), true);
  }, [own, steps, run.id]);
  if (error !== null) return <ErrorState error={error} onRetry={retry} what="This thread" />;
  if (isPending || (isSought && !olderFailed))
    return <SkeletonRows rows={8} label="Loading the transcript" />;
  return (
    <Column
      run={run}
      blocks={blocks}
      earlier={
        lacking && (
          <Button look="quiet" size="sm" busy={isLoadingOlder} onClick={loadOlder}>
            Load earlier messages
          </Button>
        )
      }
    />
  );
}

function Column({ run, blocks, earlier }: { run: Run; blocks: readonly Block[]; earlier?: ReactNode }) {
  const { step: chosenStep, of, select, runId } = useSelection();
  const step = of === runId ? chosenStep : null; // a child's steps have the same numbers
  const place = useRef<HTMLDivElement>(null);
  const shown = useRef<number | null>(null);
  useEffect(() => {
    if (step === null || shown.current === step) return;
    const found = place.current?.querySelector(`[data-seq="${step}"]`);
    if (!found) return;
    shown.current = step;
    found.scrollIntoView({ block: "nearest" });
  });
  /** Links to steps of this run select them here, instead of leaving the transcript. */
  const chosen = (event: MouseEvent): void => {
    const link = (event.target as Element).closest("a");
    if (link === null || event.metaKey || event.ctrlKey) return;
    const url = new URL(link.href, location.href);
    const seq = Number(url.searchParams.get("step"));
    if (!url.pathname.endsWith(`/runs/${runId}`) || !Number.isInteger(seq) || seq < 1) return;
    event.preventDefault();
    event.stopPropagation();
    shown.current = seq;
    select(runId, seq);
  };
  return (
    <div
      ref={place}
      tabIndex={0}
      role="log"
      aria-label="Transcript"
      onClickCapture={chosen}
      className="min-h-0 grow overflow-y-auto bg-canvas focus-visible:-outline-offset-2"
    >
      <div className="mx-auto flex max-w-3xl flex-col gap-3 px-4 py-5 sm:px-5">
        {run.forked_from && (
          <p className="text-xs text-ink-3">
            A fork: what was said before step {run.forked_from.at} stands in{" "}
            <Link
              to="/runs/$runId"
              params={{ runId: run.forked_from.run_id }}
              search={{ view: "transcript" }}
              className="text-accent-text hover:underline"
            >
              <Id id={run.forked_from.run_id} className="!text-inherit" />
            </Link>
            .
          </p>
        )}
        {(run.input !== null || run.input_cut !== null) && (
          <section aria-label="Input" className="ml-auto max-w-[85%] rounded-lg bg-mute-soft px-3 py-2">
            {run.input_cut === null ? (
              <MessageParts parts={inputParts(run.input)} />
            ) : (
              <LargeValue run={run} of="input" />
            )}
          </section>
        )}
        {earlier}
        {blocks.map((block) => (
          <Placed key={block.id} block={block} current={step !== null && seqsOf(block).includes(step)}>
            <BlockView block={block} runId={runId} />
          </Placed>
        ))}
        {blocks.length === 0 && (
          <Empty icon={<MessagesSquare size={20} />} title="Nothing was said yet">
            What the agent says, and the tools it calls, stand here as they come.
          </Empty>
        )}
      </div>
    </div>
  );
}

function Placed({ block, current, children }: { block: Block; current: boolean; children: ReactNode }) {
  const { runId } = useSelection();
  return (
    <div
      data-seq={block.seq ?? undefined}
      className={clsx(
        "group relative -ml-3 border-l-2 pl-2.5",
        current ? "border-accent" : "border-transparent",
      )}
    >
      {children}
      {block.seq !== null && block.type === "text" && (
        <Link
          to="/runs/$runId"
          params={{ runId }}
          search={{ step: block.seq }}
          className="text-2xs text-ink-3 hover:text-accent-text hover:underline"
        >
          Step {block.seq}
        </Link>
      )}
    </div>
  );
}

const seqsOf = (block: Block): readonly (number | null)[] =>
  block.type === "steps"
    ? block.steps.map((one) => one.seq)
    : [block.seq, block.type === "call" ? block.call.seq : null];

const inputParts = (input: unknown): readonly Part[] => {
  if (typeof input === "string") return [{ type: "text", text: input }];
  if (Array.isArray(input) && input.length > 0 && input.every((one) => typeof one?.type === "string"))
    return input as readonly Part[];
  return [{ type: "data", data: input }];
};
