/** Messages as they stood: what a user said apart from what the run made of it. */

import { useMemo } from "react";
import type { Message } from "~/api/types";
import { blocksOf } from "~/transcript/blocks";
import { viewOfHistory } from "~/transcript/history";
import { MessageParts, Transcript } from "~/transcript/Transcript";

export function Talk({ runId, messages }: { runId: string; messages: readonly Message[] }) {
  return (
    <ol className="flex min-w-0 flex-col gap-3">
      {turnsOf(messages).map((turn) => (
        <li key={turn[0]?.id} className="min-w-0">
          {turn[0]?.role === "user" ? <Asked message={turn[0]} /> : <Made runId={runId} messages={turn} />}
        </li>
      ))}
    </ol>
  );
}

/** A user's message alone; what stands between two of them together. */
function turnsOf(messages: readonly Message[]): readonly (readonly Message[])[] {
  const turns: Message[][] = [];
  for (const message of messages) {
    const open = turns.at(-1);
    if (message.role === "user" || open === undefined || open[0]?.role === "user") turns.push([message]);
    else open.push(message);
  }
  return turns;
}

const Asked = ({ message }: { message: Message }) => (
  <div className="ml-auto w-fit max-w-[85%] rounded-lg bg-accent-soft px-3 py-2">
    <span className="sr-only">User: </span>
    <MessageParts parts={message.parts} />
  </div>
);

function Made({ runId, messages }: { runId: string; messages: readonly Message[] }) {
  const blocks = useMemo(() => blocksOf(viewOfHistory(runId, messages, null), true), [runId, messages]);
  return <Transcript blocks={blocks} runId={runId} />;
}
