/** Below an answer: what it cost, where it can be looked into, and what can be done with it. */

import { Link, useNavigate } from "@tanstack/react-router";
import { ChevronLeft, ChevronRight, RefreshCw } from "lucide-react";
import type { Run } from "~/api/types";
import { IconButton } from "~/design/Button";
import { CopyButton, Elapsed, UsageFacts } from "~/design/Facts";
import { textOfBlocks } from "~/transcript/blocks";
import type { Block } from "~/transcript/model";
import type { Acting } from "./acting";
import type { Turn } from "./conversation";
import type { Siblings } from "./siblings";

export function TurnFoot({
  turn,
  run,
  blocks,
  can,
  siblings,
  isOver,
}: {
  turn: Turn;
  run: Run | null;
  blocks: readonly Block[];
  can: Acting | null;
  siblings: Siblings | null;
  isOver: boolean;
}) {
  const last = lastAnswer(blocks);
  const answer = last?.messageId ?? turn.user?.messageId ?? null;
  const text = textOfBlocks(blocks);
  return (
    <div className="-ml-1 flex min-h-7 min-w-0 flex-wrap items-center gap-x-1 text-xs text-ink-3">
      {siblings !== null && <Switcher siblings={siblings} />}
      {isOver && text !== "" && <CopyButton text={text} label="Copy the answer" />}
      {isOver && can !== null && answer !== null && (
        <IconButton
          label="Answer anew, on a branch"
          size="sm"
          className="!size-6"
          onClick={() => void can.regenerate(answer)}
        >
          <RefreshCw size={13} />
        </IconButton>
      )}
      {isOver && run !== null && (
        <span className="flex min-w-0 flex-wrap items-center gap-x-2 pl-1">
          {run.usage.requests > 0 && <UsageFacts usage={run.usage} />}
          {run.started_at !== null && <Elapsed from={run.started_at} to={run.ended_at} />}
          <Link
            to="/runs/$runId"
            params={{ runId: run.id }}
            search={last?.seq ? { step: last.seq } : {}}
            className="text-accent-text underline-offset-2 hover:underline"
          >
            Run
          </Link>
        </span>
      )}
    </div>
  );
}

/** The last text that a model's step wrote. */
function lastAnswer(blocks: readonly Block[]): Extract<Block, { type: "text" }> | null {
  for (const block of [...blocks].reverse())
    if (block.type === "text" && block.messageId !== null && block.seq !== null) return block;
  return null;
}

function Switcher({ siblings }: { siblings: Siblings }) {
  const navigate = useNavigate();
  const { threads, at } = siblings;
  const go = (to: string | undefined): void => {
    if (to !== undefined) void navigate({ to: "/chat/$threadId", params: { threadId: to } });
  };
  return (
    <span role="group" aria-label="Ways that this went" className="flex items-center">
      <IconButton
        label="The way before"
        size="sm"
        className="!size-6"
        disabled={at === 0}
        onClick={() => go(threads[at - 1])}
      >
        <ChevronLeft size={14} />
      </IconButton>
      <span className="tabular" title={`Way ${at + 1} of ${threads.length}`}>
        {at + 1}/{threads.length}
      </span>
      <IconButton
        label="The next way"
        size="sm"
        className="!size-6"
        disabled={at === threads.length - 1}
        onClick={() => go(threads[at + 1])}
      >
        <ChevronRight size={14} />
      </IconButton>
    </span>
  );
}
