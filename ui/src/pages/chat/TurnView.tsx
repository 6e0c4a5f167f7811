/** A turn: what a user said, and what a run made of it. Only the turn of which something was heard is drawn again. */

import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Bot, CircleSlash, CircleX, RotateCcw, Workflow } from "lucide-react";
import { memo, useMemo } from "react";
import type { Agent, Run } from "~/api/types";
import { ENDED } from "~/api/types";
import { startCall } from "~/builders/snippets";
import { Button } from "~/design/Button";
import { Elapsed } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { count } from "~/lib/format";
import { oneLine } from "~/lib/text";
import { blocksOf } from "~/transcript/blocks";
import { viewOfHistory, withHeard } from "~/transcript/history";
import { ModelText, PlainText } from "~/transcript/LongText";
import type { Block } from "~/transcript/model";
import type { RunView } from "~/transcript/runItems";
import { Transcript } from "~/transcript/Transcript";
import type { Acting } from "./acting";
import type { Turn } from "./conversation";
import type { Siblings } from "./siblings";
import { TurnFoot } from "./TurnFoot";
import { inputOf, UserMessage } from "./UserMessage";
import { STEPS_SHOWN, useRunSteps } from "./useThread";
import { useTurnRun } from "./useTurnRun";
import { Waits } from "./Waits";

export interface TurnProps {
  readonly turn: Turn;
  /** What was heard of its run; null: it is read from what is stored. */
  readonly view: RunView | null;
  readonly run: Run | null;
  readonly agents: readonly Agent[];
  readonly isLast: boolean;
  /** Null where nothing can be done but look. */
  readonly can: Acting | null;
  readonly siblings?: Siblings | null;
  readonly threadId?: string;
}

export const TurnView = memo(function TurnView(props: TurnProps) {
  const { turn, can } = props;
  const { user } = turn;
  const messageId = user?.messageId ?? null;
  const run = useTurnRun(turn.runId, props.run);
  const code =
    can === null || run === null || user === null
      ? null
      : () =>
          can.showCode(
            startCall({
              agent: run.agent,
              input: inputOf(user.parts),
              ...(props.threadId ? { thread_id: props.threadId } : {}),
            }),
          );
  return (
    <article
      data-turn
      aria-label={turn.voided ? "A turn that was taken back" : "A turn of the conversation"}
      className={clsx(
        "flex min-w-0 flex-col gap-1",
        turn.voided && "opacity-60",
        user === null && "-mt-4", // it goes on with what stands above
      )}
    >
      {user !== null && (
        <UserMessage
          said={user}
          onEdit={can === null || messageId === null ? null : (input) => can.edit(messageId, input)}
          onCode={code}
        />
      )}
      {turn.voided && <p className="text-xs text-ink-3">Taken back: no model sees this.</p>}
      {turn.runId !== null && <Answer {...props} run={run} runId={turn.runId} />}
      {turn.runId === null && <Working since={null} word="Starting" />}
    </article>
  );
});

function Answer({
  turn,
  view: listened,
  run,
  runId,
  agents,
  isLast,
  can,
  siblings,
}: TurnProps & { runId: string }) {
  // Until its events were told from the beginning, what is stored stands before what is heard.
  const view = listened?.begun ? listened : null;
  const status = listened?.status ?? run?.status ?? null;
  const ended =
    turn.inherited ||
    turn.goesOn ||
    (status !== null && ENDED.has(status)) ||
    (view === null && run === null);
  const rows = useRunSteps(view === null && (run?.steps ?? 0) > 0 ? runId : null);
  const shown = useMemo(() => {
    if (view !== null) return view;
    const last = turn.goesOn
      ? Math.max(0, ...turn.messages.map((one) => one.step_seq ?? 0))
      : Number.POSITIVE_INFINITY;
    const own = rows?.filter((row) => row.run_id === runId && row.seq <= last) ?? null;
    const stored = viewOfHistory(runId, turn.messages, own);
    return listened === null ? stored : withHeard(stored, listened);
  }, [view, listened, rows, runId, turn.messages, turn.goesOn]);
  const blocks = useMemo(() => blocksOf(shown, ended), [shown, ended]);
  const output = view !== null && status === "succeeded" ? unsaid(view, blocks) : undefined;
  const agent = agents.find((one) => one.id === run?.agent) ?? null;
  const error = listened?.error ?? (status === "failed" ? run?.error : null) ?? null;
  const isOver = !turn.goesOn && status !== null && ENDED.has(status);
  return (
    <div className="flex min-w-0 flex-col gap-2">
      {turn.user !== null && run !== null && <Speaker run={run} agent={agent} />}
      {blocks.length > 0 && (
        <div className="min-w-0 text-base">
          <Transcript blocks={blocks} runId={runId} />
        </div>
      )}
      {view === null && rows !== null && run !== null && run.steps > STEPS_SHOWN && !turn.goesOn && (
        <p className="text-xs text-ink-2">
          These are its first steps.{" "}
          <Link
            to="/runs/$runId"
            params={{ runId }}
            className="text-accent-text underline-offset-2 hover:underline"
          >
            All {count(run.steps)}
          </Link>
        </p>
      )}
      {output !== undefined && <Output value={output} />}
      {status === "queued" && run !== null && <Queued run={run} can={can} />}
      {status === "running" && !isWriting(blocks) && (
        <Working since={view?.queuedAt ?? run?.started_at ?? null} word="Working" />
      )}
      {status === "waiting" && run !== null && <Waits run={run} blocks={blocks} />}
      {isOver && status === "failed" && error !== null && (
        <Failed
          error={error}
          onRetry={can !== null && isLast && error.retryable ? () => void can.retry(runId) : null}
        />
      )}
      {isOver && status === "cancelled" && (
        <p className="flex min-w-0 items-center gap-1.5 text-xs text-ink-2">
          <CircleSlash size={14} aria-hidden className="shrink-0 text-ink-3" />
          Stopped
          {(view?.reason ?? run?.cancel_reason) && (
            <span dir="auto" className="min-w-0 truncate">
              : {oneLine(view?.reason ?? run?.cancel_reason ?? "", 200)}
            </span>
          )}
        </p>
      )}
      {(isOver || siblings) && (
        <TurnFoot
          turn={turn}
          run={run}
          blocks={blocks}
          can={can}
          siblings={siblings ?? null}
          isOver={isOver}
        />
      )}
    </div>
  );
}

/** The output of a run, unless it is what its last message said. */
function unsaid(view: RunView, blocks: readonly Block[]): unknown {
  const { output } = view;
  if (output === null || output === undefined) return undefined;
  if (typeof output !== "string") return output;
  return blocks.some((block) => block.type === "text" && output.endsWith(block.text)) ? undefined : output;
}

const isWriting = (blocks: readonly Block[]): boolean => {
  const last = blocks.at(-1);
  if (last === undefined) return false;
  if (last.type === "text" || last.type === "thinking") return last.streaming;
  if (last.type === "call") return last.call.state === "running" || last.call.state === "writing";
  return (
    last.type === "steps" && last.steps.some((step) => step.state === "running" || step.state === "waiting")
  );
};

function Speaker({ run, agent }: { run: Run; agent: Agent | null }) {
  const Icon = agent?.kind === "workflow" ? Workflow : Bot;
  return (
    <h2 className="flex min-w-0 items-center gap-1.5 text-xs font-semibold text-ink-2">
      <Icon size={14} aria-hidden className="shrink-0 text-ink-3" />
      <span className="min-w-0 truncate">{oneLine(agent?.name ?? run.agent, 80)}</span>
      {run.acting_agent !== run.agent && (
        <span className="min-w-0 truncate font-normal text-ink-3">→ {oneLine(run.acting_agent, 80)}</span>
      )}
    </h2>
  );
}

function Output({ value }: { value: unknown }) {
  if (typeof value === "string")
    return (
      <div className="text-base">
        <ModelText text={value} streaming={false} />
      </div>
    );
  return <JsonView value={value} name="output.json" />;
}

function Queued({ run, can }: { run: Run; can: Acting | null }) {
  const behind = run.queue_position;
  return (
    <div className="flex flex-wrap items-center gap-2 text-xs text-ink-2">
      <span className="animate-breathe">
        {run.phase === "behind" && behind !== null
          ? `Queued: ${behind === 1 ? "one run goes" : `${behind} runs go`} first`
          : run.phase === "delayed"
            ? "Queued for later"
            : "Queued: waits for a worker"}
      </span>
      {can !== null && run.phase !== "ready" && (
        <Button look="quiet" size="sm" onClick={() => void can.stop(run.id)}>
          Take it out
        </Button>
      )}
    </div>
  );
}

function Working({ since, word }: { since: string | null; word: string }) {
  return (
    <p className="flex h-6 items-center gap-2 text-xs text-ink-3">
      <span aria-hidden className="size-1.5 animate-breathe rounded-full bg-info" />
      {word}… {since !== null && <Elapsed from={since} to={null} />}
    </p>
  );
}

function Failed({
  error,
  onRetry,
}: {
  error: { readonly code: string; readonly message: string; readonly retryable: boolean };
  onRetry: (() => void) | null;
}) {
  return (
    <div
      role="alert"
      className="flex min-w-0 flex-wrap items-start gap-2 rounded-md bg-bad-soft px-3 py-2 text-sm"
    >
      <CircleX size={16} aria-hidden className="mt-0.5 shrink-0 text-bad" />
      <div className="min-w-0 grow basis-48">
        <p className="font-medium text-bad">
          The run failed: <span className="font-mono text-xs">{oneLine(error.code, 80)}</span>
        </p>
        <PlainText text={error.message} className="text-ink-2" />
      </div>
      {onRetry !== null && (
        <Button size="sm" icon={<RotateCcw size={13} />} onClick={onRetry}>
          Retry
        </Button>
      )}
    </div>
  );
}
